"""The YAML of a campaign: what loads, and how mistakes are told."""

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from campaign.cli.init import TEMPLATES
from campaign.config import json_schema
from campaign.core.model import Shape
from campaign.errors import ConfigError
from campaign.generators import find
from campaign.plan import make_plan
from tests.conftest import load

REPOSITORY = Path(__file__).parents[2]

DOCUMENT = """
campaign:
  name: "First Production Run"
  version: "v1.0"
  description: "Initial 40K run for Roman GRS covariance analysis"

science:
  realizations: 2000
  snapshots: 20
  redshifts: [1.1, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.1]
  galaxy_model: "rgrspit_diffsky_v2.1"
  simulation_suite: "AbacusSummit_small"

execution:
  batch_size: 100           # Jobs per SLURM array
  max_retries: 3
  retry_backoff: "exponential"
  timeout_hours: 2

resources:
  job_type: "gpu_intensive"
  memory_requirement: "high"
  account: "m4943"

outputs:
  base_path: "/pscratch/sd/m/malvarez/campaigns/v1.0"
  naming_scheme: "mock_{cosmology}_{phase}_{redshift}"
  compression: "gzip"
  metadata_format: "json"
"""
MINIMAL = "campaign: {name: small}\nscience: {realizations: 2, redshifts: [1.0, 2.0]}\n"


@pytest.fixture
def write(tmp_path):
    def put(text, name="campaign.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return put


def problems(path, *settings, **keywords):
    with pytest.raises(ConfigError) as caught:
        load(path, *settings, **keywords)
    return caught.value.problems


def test_the_document_loads_as_it_is_written(write):
    config = load(write(DOCUMENT))
    assert [len(axis.values) for axis in config.axes] == [2000, 20]
    assert config.directory == "/pscratch/sd/m/malvarez/campaigns/v1.0/v1.0_first_production_run"
    assert config.options["galaxy_model"] == "rgrspit_diffsky_v2.1"
    assert config.options["simulation_suite"] == "AbacusSummit_small"
    assert config.options["compression"] == "gzip"
    assert config.execution.timeout_s == 7200
    assert config.resources.shape.memory_bytes == 8 * 2**30


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_templates_load_and_fit_the_published_schema(template, monkeypatch):
    monkeypatch.setenv("SCRATCH", "/scratch")
    source = files("campaign.config") / "templates" / f"{template}.yaml"
    config = load(Path(str(source)))
    jsonschema.validate(json.loads(json.dumps(dict(config.document))), json_schema())


def test_the_published_schema_is_the_one_in_the_repository():
    assert json.loads((REPOSITORY / "configs" / "campaign.schema.json").read_text()) == json_schema()


def test_every_mistake_is_told_at_once_with_its_place(write):
    path = write(
        "campaign: {name: wrong, version: 1.0}\n"
        "science:\n"
        "  realisations: 2\n"
        "  redshifts: [1.0, -2.0]\n"
        "execution:\n"
        "  batch_size: many\n"
        "  retry_backoff: exponental\n"
        "outputs: {compresion: gzip}\n"
    )
    found = {p.key: p for p in problems(path)}
    assert found["campaign.version"].where == f"{path}:1:34"
    assert found["science.realisations"].where == f"{path}:3:3"
    assert found["science.realisations"].suggestion == "realizations"
    assert found["science.redshifts.1"].where == f"{path}:4:20"
    assert found["execution.batch_size"].found == "'many'"
    assert found["execution.batch_size"].allowed == "a valid integer, or 'auto'"
    assert found["execution.batch_size"].where == f"{path}:6:15"
    assert found["execution.retry_backoff"].suggestion == "exponential"
    assert found["outputs.compresion"].suggestion == "compression"
    assert len(found) == 6


def test_mistakes_of_meaning_are_told_together(write):
    path = write(
        "campaign: {name: wrong}\n"
        "science: {realizations: [1, 1], redshifts: [1.0, 1.0001], snapshots: 3}\n"
        "execution: {order: redshift-major}\n"
        "resources: {job_type: gpu_intensiv, memory_requirement: huge}\n"
        "strategy: {defaults: {min_mas: 1.0e12}, overrides: {galaxies: {n_gen: 0}}}\n"
        "jobs: [{where: {redshif: 1.0}}, {where: {redshift: 9.0}}, {where: {realization: 1}, options: {cleand: false}}]\n"
    )
    found = {p.key: p for p in problems(path)}
    assert found["science.realizations"].found == "1 twice"
    assert found["science.redshifts"].found == "two that agree in three decimals"
    assert found["science.snapshots"].found == "3, but there are 2 redshifts"
    assert found["execution.order"].suggestion == "redshift_major"
    assert found["resources.job_type"].suggestion == "gpu_intensive"
    assert found["resources.memory_requirement"].allowed == "low, medium, high"
    assert found["min_mas"].suggestion == "min_mass"
    assert found["min_mas"].where == f"{path}:5:23"
    assert found["n_gen"].where == f"{path}:5:71"
    assert found["jobs.0.where.redshif"].suggestion == "redshift"
    assert found["jobs.1.where.redshift"].found == "9.0"


@pytest.mark.parametrize(
    ("text", "where", "found"),
    [
        ("campaign: [1,\n", ":2:1", "did not find expected node"),
        ("a: 1\na: 2\n", ":2:1", 'duplicate key "a" with value "2" (original value: "1")'),
        ("- 1\n", ":1:1", "[1]"),
        ("", ":1:1", "nothing"),
    ],
)
def test_what_is_not_yaml_is_told_by_line(write, text, where, found):
    (problem,) = problems(write(text))
    assert problem.where.endswith(where)
    assert found in problem.found or "expected" in problem.found


def test_a_file_that_is_not_there_is_told(tmp_path):
    (problem,) = problems(tmp_path / "nowhere.yaml")
    assert problem.found == "No such file or directory"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", (0, 1, 2)),
        ("[5, 2, 9]", (5, 2, 9)),
        ("{start: 10, count: 3, step: 5}", (10, 15, 20)),
        ("{count: 2, include: [7, 1, 7]}", (0, 1, 7)),
        ("{values: [4, 3], include: [0]}", (4, 3, 0)),
    ],
)
def test_realizations_are_a_count_a_range_or_a_list(write, text, expected):
    config = load(write(f"campaign: {{name: r}}\nscience: {{realizations: {text}, redshifts: [1.0]}}\n"))
    assert config.axes[0].values == expected


@pytest.mark.parametrize("text", ["0", "-1", "[]", "{start: 1}", "{count: 1, values: [1]}", "two", "[1, -1]", "true"])
def test_other_realizations_are_refused(write, text):
    found = problems(write(f"campaign: {{name: r}}\nscience: {{realizations: {text}, redshifts: [1.0]}}\n"))
    assert all(p.key.startswith("science.realizations") for p in found)


def test_layers_win_in_their_order(write):
    path = write(MINIMAL + "execution: {batch_size: 10, max_retries: 7}\n")
    env = {"CAMPAIGN__EXECUTION__BATCH_SIZE": "20", "CAMPAIGN__EXECUTION__TIMEOUT_HOURS": "0.5"}
    config = load(path, "execution.batch_size=30", environment=env)
    assert (config.execution.batch_size, config.execution.max_retries) == (30, 7)
    assert config.execution.timeout_s == 1800


def test_overrides_are_told_by_their_own_name(write):
    path = write(MINIMAL)
    (from_option,) = problems(path, "execution.batch_sise=3")
    assert from_option.where == "--set execution.batch_sise=3"
    assert from_option.suggestion == "batch_size"
    (from_environment,) = problems(path, environment={"CAMPAIGN__EXECUTION__BATCH_SIZE": "x"})
    assert from_environment.where == "environment variable CAMPAIGN__EXECUTION__BATCH_SIZE"
    (malformed,) = problems(path, "batch_size")
    assert malformed.allowed == "KEY.KEY=VALUE"


def test_variables_are_expanded_and_must_be_set(write):
    path = write(MINIMAL + "outputs: {base_path: '${HERE}/out'}\n")
    assert load(path, environment={"HERE": "/data"}).directory == "/data/out/v1.0_small"
    (problem,) = problems(path, environment={})
    assert problem.key == "outputs.base_path"
    assert "export HERE" in problem.allowed


def test_machines_give_defaults_and_a_campaign_wins(write):
    config = load(write("machine: nersc\n" + MINIMAL))
    assert config.resources.job_type == "gpu_intensive"
    assert (config.resources.shape.threads, config.resources.shape.gpus_per_rank) == (32, 1)
    assert config.slurm.mpi == "cray_shasta"
    assert config.options["simulation_root"].startswith("/global/cfs/")
    own = load(write("machine: nersc\n" + MINIMAL + "strategy: {overrides: {galaxies: {simulation_root: /mine}}}\n"))
    assert own.options["simulation_root"] == "/mine"
    (problem,) = problems(write("machine: nersk\n" + MINIMAL))
    assert problem.suggestion == "nersc"


def test_a_machine_file_of_ones_own(write):
    write("job_types: {tiny: {threads_per_rank: 3}}\ndefaults: {resources: {job_type: tiny}}\n", "mine.yaml")
    assert load(write("machine: mine.yaml\n" + MINIMAL)).resources.shape.threads == 3


def test_the_strategy_map_is_resolved_defaults_then_overrides(write):
    path = write(
        MINIMAL
        + "generator: galaxies\n"
        + "strategy: {defaults: {min_mass: 2.0e12, log_subhalo_mass_min: 11.5}, overrides: {galaxies: {min_mass: 3.0e12},"
        + " scripted: {seconds: 9.0}}}\n"
    )
    config = load(path)
    assert config.options["min_mass"] == 3e12
    assert config.options["log_subhalo_mass_min"] == 11.5


def test_an_unknown_generator_is_refused_with_what_is_there(write):
    (problem,) = problems(write(MINIMAL + "generator: galaxie\n"))
    assert problem.key == "generator"
    assert "installed: command, function, galaxies, idle, measuring, scripted, stage" in problem.allowed


def test_a_date_where_a_text_is_meant_is_told(write):
    found = problems(write("campaign: {name: 2026-01-01}\nscience: {realizations: 1, redshifts: [1.0]}\n"))
    assert any("quotes" in p.allowed for p in found)


def test_yaml_tags_construct_nothing(write):
    found = problems(
        write(
            "campaign: {name: !!python/object/apply:os.system ['true']}\nscience: {realizations: 1, redshifts: [1.0]}\n"
        )
    )
    assert found


@pytest.mark.parametrize("size", ["4 GiB", "4096 MiB", "4294967296"])
def test_sizes_are_numbers_with_units(write, size):
    config = load(write(MINIMAL + f"resources: {{memory_per_slot: {size}}}\n"))
    assert config.resources.shape.memory_bytes == 4 * 2**30


def test_a_size_without_sense_is_refused(write):
    (problem,) = problems(write(MINIMAL + "resources: {memory_per_slot: 4 elephants}\n"))
    assert "4 GiB" in problem.allowed


def test_mistakes_of_form_do_not_hide_mistakes_of_meaning(write):
    path = write(
        MINIMAL
        + "execution: {batch_sise: 1}\n"
        + "strategy: {overrides: {galaxis: {min_mass: 1.0e12}, galaxies: {min_mas: 1.0}}}\n"
        + "resources: {job_type: huge}\n"
        + "jobs: [{where: {redshif: 1.0}}]\n"
    )
    found = {p.key: p for p in problems(path)}
    assert set(found) == {
        "execution.batch_sise", "strategy.overrides.galaxis", "min_mas", "resources.job_type", "jobs.0.where.redshif"
    }  # fmt: skip
    assert found["strategy.overrides.galaxis"].suggestion == "galaxies"


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("execution.timeout_hours=.inf", "execution.timeout_hours"),
        ("execution.retry_delay_s=.nan", "execution.retry_delay_s"),
        ("strategy.defaults.min_mass=.inf", "min_mass"),
        ("science.realizations=[4294967296]", "science.realizations.0"),
        ("science.realizations={start: 4294967295, count: 2}", "science.realizations"),
        ("outputs.base_path=~nobody_of_that_name/x", "outputs.base_path"),
        ("outputs.base_path=${NOT_SET_AT_ALL}/x", "outputs.base_path"),
        ("campaign.name=2026-01-01", "campaign.name"),
        ('campaign.name="\\e[31mred"', "campaign.name"),
        ('campaign.description="\\e]0;title\\a"', "campaign.description"),
    ],
)
def test_values_without_sense_are_refused_where_they_are_given(write, setting, key):
    assert key in {p.key for p in problems(write(MINIMAL), setting)}


def test_an_empty_variable_is_as_good_as_none(write):
    path = write(MINIMAL + "outputs: {base_path: '${HERE}/out'}\n")
    (problem,) = problems(path, environment={"HERE": ""})
    assert "empty" in problem.found


def test_later_job_sections_win_also_where_they_say_what_the_campaign_says(write):
    config = load(
        write(
            MINIMAL
            + "jobs:\n"
            + "- {where: {realization: [0, 1]}, options: {min_mass: 5.0e12, synthetic: {box_size: 90.0}}}\n"
            + "- {where: {realization: 1}, options: {min_mass: 1.0e12, synthetic: {cell_size: 3.0}}}\n"
        )
    )
    plan = make_plan(config, find("galaxies"), lambda _: True)
    options = {r: plan.task(job, 1, 0).config for r, job in ((0, 0), (1, 2))}
    assert (options[0]["min_mass"], options[1]["min_mass"]) == (5e12, 1e12)
    assert options[0]["synthetic"]["box_size"] == options[1]["synthetic"]["box_size"] == 90.0
    assert (options[0]["synthetic"]["cell_size"], options[1]["synthetic"]["cell_size"]) == (4.0, 3.0)


def test_any_number_of_job_sections_is_possible(write):
    sections = "".join(f"- {{where: {{realization: {r}}}, timeout_hours: {r + 1}}}\n" for r in range(80))
    text = "campaign: {name: many}\nscience: {realizations: 80, redshifts: [1.0]}\njobs:\n" + sections
    plan = make_plan(load(write(text)), find("galaxies"), lambda _: True)
    assert [plan.task(job, 1, 0).timeout_s for job in (0, 79)] == [3600.0, 80 * 3600.0]


def test_a_frozen_configuration_means_the_same_anywhere(write, tmp_path, monkeypatch):
    write("job_types: {tiny: {threads_per_rank: 3}}\ndefaults: {resources: {job_type: tiny}}\n", "mine.yaml")
    config = load(write("machine: mine.yaml\n" + MINIMAL + "outputs: {base_path: here}\n"))
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    again = load(write(json.dumps(dict(config.document)), "else/frozen.yaml"))
    assert (again.document, again.directory, again.options) == (config.document, config.directory, config.options)
    assert again.resources.shape.threads == 3


def test_shapes_of_jobs_and_what_slurm_is_asked(write):
    text = MINIMAL + (
        "resources: {ranks_per_job: 8, nodes_per_job: 2, threads_per_rank: 3, gpus_per_rank: 1, memory_per_slot: 4 GiB}\n"
        "slurm: {walltime: 90, nodes: 4}\n"
        "jobs: [{where: {realization: 0}, resources: {ranks_per_job: 16, warm: false}}]\n"
    )
    config = load(write(text))
    assert config.resources.shape == Shape(8, 2, 3, 1, 4 * 2**30)
    assert config.slurm.walltime == "90"
    assert config.overrides[0].shape == {"ranks": 16, "warm": False}


@pytest.mark.parametrize(
    ("extra", "key", "words"),
    [
        ("resources: {ranks_per_job: 3, nodes_per_job: 2}", "resources.ranks_per_job", "a multiple of 2"),
        (
            "jobs: [{where: {realization: 0}, resources: {nodes_per_job: 3, ranks_per_job: 4}}]",
            "jobs.0.resources.ranks_per_job",
            "a multiple of 3",
        ),
        ("resources: {cluster: provisioned}", "slurm.cpus_per_node", "CPUs of a one-node job"),
        ("resources: {cluster: slurm}", "resources.cluster", "provisioned"),
        ("slurm: {nodes: 2, nodes_min: 3}", "slurm.nodes_min", "at most slurm.nodes"),
        ("slurm: {walltime: tomorrow}", "slurm.walltime", ""),
        ("slurm: {qos: 'regular; rm -rf /'}", "slurm.qos", ""),
        ("slurm: {mpi: 'pmi2 --overlap'}", "slurm.mpi", ""),
        ("execution: {duration_axis: redshfit}", "execution.duration_axis", "redshift"),
        ("execution: {walltime_quantile: 1.5}", "execution.walltime_quantile", ""),
        ("execution: {max_failure_rate: 0}", "execution.max_failure_rate", ""),
        ("execution: {policy: {timout: {max_retries: 1}}}", "execution.policy.timout", ""),
        ("execution: {policy: {crash: {time_factor: 2}}}", "execution", ""),
    ],
)
def test_what_slurm_could_not_do_is_refused(write, extra, key, words):
    with pytest.raises(ConfigError) as refused:
        load(write(MINIMAL + extra + "\n"))
    (problem,) = refused.value.problems
    assert problem.key == key
    assert words in problem.allowed
