"""What a user types, and what comes back."""

import json
import subprocess
import sys

import pytest

from campaign import cli

HEAVY = ("dask", "distributed", "jax", "zarr", "xarray", "h5py", "bokeh", "pydantic", "rich", "ruamel.yaml")


def campaign(*arguments):
    return cli.main([str(a) for a in arguments])


def imported_by(code):
    """Heavy modules that a fresh interpreter has loaded after `code`."""
    program = f"import sys\n{code}\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


def test_help_imports_nothing_heavy():
    code = "import contextlib, io\nfrom campaign.cli import main\nwith contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main(['--help'])"
    assert imported_by(code) == "[]"
    assert imported_by("import campaign, campaign.core.lifecycle, campaign.core.design, campaign.errors") == "[]"


def test_a_status_imports_nothing_heavy():
    assert imported_by("import campaign.cli.status, campaign.guard") == "[]"


def test_the_coordinator_does_not_import_what_jobs_need():
    assert "jax" not in imported_by(
        "import campaign.run, campaign.execute, campaign.gather; from campaign.generators import find; find('galaxies')"
    )


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        campaign(verb, "--help")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: campaign {verb}" in shown
    assert len(shown.splitlines()) > 5


def test_a_wrong_verb_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as ended:
        campaign("destroy")
    assert ended.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_init_writes_a_configuration_that_is_valid(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    assert campaign("init", path) == 0
    assert campaign("validate", path) == 0
    assert "8 realizations x 3 redshifts" in capsys.readouterr().out


def test_init_lays_out_the_campaign_of_a_configuration(scripted_yaml, tmp_path, capsys):
    path = scripted_yaml()
    assert campaign("init", path) == 0
    root = tmp_path / "campaigns" / "v1.0_scripted"
    assert {p.name for p in root.iterdir()} == {"metadata", "catalogs", "staging", "logs", "cache", "qa"}
    manifest = json.loads((root / "metadata" / "manifest.json").read_text())
    assert {"created", "user", "host", "git", "configuration_sha256", "axes", "method", "jobs"} <= set(manifest)
    assert campaign("status", root) == 0
    assert "0 of 12 completed" in capsys.readouterr().out


def test_validate_tells_mistakes_and_the_exit_code(scripted_yaml, capsys):
    path = scripted_yaml()
    assert campaign("validate", path, "--set", "execution.ordr=block") == 2
    assert "did you mean 'order'?" in capsys.readouterr().err
    assert campaign("validate", path, "--set", "execution.ordr=block", "--json") == 2
    told = json.loads(capsys.readouterr().out)
    assert told["problems"][0]["suggestion"] == "order"
    assert campaign("validate", path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["valid"] is True
    assert campaign("validate") == 2


def test_plan_shows_the_jobs_in_every_form(scripted_yaml, capsys):
    path = scripted_yaml()
    assert campaign("plan", path, "--csv") == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].startswith("batch,job,name,realization,redshift,seed")
    assert len(rows) == 13
    assert campaign("plan", path, "--json", "--limit", "2") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["size"], told["batches"], len(told["jobs"])) == (12, 4, 2)
    assert campaign("plan", path, "--limit", "1") == 0
    assert "11 more" in capsys.readouterr().out


def test_estimate_says_what_it_knows(scripted_yaml, capsys):
    path = scripted_yaml()
    assert campaign("estimate", path) == 0
    assert "if every job took its whole time-out" in capsys.readouterr().out
    assert campaign("estimate", path, "--seconds-per-job", "42", "--bytes-per-job", "1e9", "--json") == 0
    cost = json.loads(capsys.readouterr().out)
    assert cost["wall_s"] == 252.0
    assert cost["core_hours"] == pytest.approx(12 * 42 / 3600)
    assert cost["storage_bytes"] == 12e9


@pytest.mark.parametrize("verb", ["status", "retry", "monitor"])
def test_a_campaign_that_is_not_there_is_told(verb, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert campaign(verb, tmp_path / "empty") == 2
    told = capsys.readouterr().err
    assert "->" in told


def test_errors_are_json_where_json_was_asked_for(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert campaign("status", tmp_path / "empty", "--json") == 2
    assert json.loads(capsys.readouterr().out)["error"] == "campaign.missing"


def test_monitor_ends_when_nobody_runs(scripted_yaml, tmp_path, capsys):
    campaign("init", scripted_yaml())
    assert campaign("monitor", tmp_path / "campaigns" / "v1.0_scripted") == 0
    assert "0 of 12 completed" in capsys.readouterr().out


def test_the_document_s_galaxy_model_is_refused_where_it_is_not_installed(tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text(
        "campaign: {name: r}\nscience: {realizations: 1, redshifts: [1.0], galaxy_model: rgrspit_diffsky_v2.1}\n"
        f"outputs: {{base_path: {tmp_path}}}\n"
    )
    assert campaign("run", path) == 2
    assert "needs rgrspit_diffsky, which is not installed" in capsys.readouterr().err


def test_a_campaign_is_found_by_its_directory_from_anywhere(scripted_yaml, tmp_path, capsys, monkeypatch):
    path = scripted_yaml()
    path.write_text(path.read_text().replace(str(tmp_path / "campaigns"), "campaigns"))
    monkeypatch.chdir(tmp_path)
    campaign("init", path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    root = tmp_path / "campaigns" / "v1.0_scripted"
    capsys.readouterr()
    assert campaign("plan", root, "--json") == 0
    assert json.loads(capsys.readouterr().out)["directory"] == str(root)
    moved = tmp_path / "moved"
    moved.mkdir()
    root.rename(moved / "v1.0_scripted")
    assert campaign("plan", moved / "v1.0_scripted", "--json") == 0
    assert json.loads(capsys.readouterr().out)["directory"] == str(moved / "v1.0_scripted")
    (moved / "v1.0_scripted").rename(moved / "other")
    assert campaign("plan", moved / "other") == 2
    assert "name it back" in capsys.readouterr().err


def test_a_dry_run_refuses_what_the_run_would_refuse(scripted_yaml, capsys):
    path = scripted_yaml()
    campaign("init", path)
    assert campaign("run", path, "--dry-run", "--set", "science.seed=9") == 2
    assert "science.seed: 0 -> 9" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["foo", "127.0.0.1:", "127.0.0.1:99999", ":8787"])
def test_addresses_are_checked(scripted_yaml, address, capsys):
    with pytest.raises(SystemExit) as ended:
        campaign("run", scripted_yaml(), "--dashboard", address)
    assert ended.value.code == 2
    assert "HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [("plan", "--limit", "-3"), ("estimate", "--seconds-per-job", "nan"), ("estimate", "--seconds-per-job", "-4")],
)
def test_numbers_are_checked(scripted_yaml, arguments):
    verb, *options = arguments
    with pytest.raises(SystemExit) as ended:
        campaign(verb, scripted_yaml(), *options)
    assert ended.value.code == 2


def test_a_ledger_that_is_gone_is_told(scripted_yaml, tmp_path, capsys):
    campaign("init", scripted_yaml())
    root = tmp_path / "campaigns" / "v1.0_scripted"
    (root / "batches" / "000").mkdir(parents=True)
    (root / "batches" / "000" / "batch_000000.zip").touch()
    assert campaign("status", root) == 1
    assert "rebuilt from batches/" in capsys.readouterr().err


@pytest.fixture
def broken_plugin(tmp_path, monkeypatch):
    """Installs generators that can't be used, as a user's half-written package would be."""
    info = tmp_path / "site" / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[campaign.generators]\nnothing = half_written:Nothing\nsyntax = half_written_too:X\nwrong = half_written:Wrong\n"
    )
    (tmp_path / "site" / "half_written.py").write_text(
        "from campaign.testing.scripted import Scripted\n"
        "class Wrong(Scripted):\n"
        "    name = 'wrong'\n"
        "    def variables(self, config): raise ValueError('bad variables')\n"
    )
    (tmp_path / "site" / "half_written_too.py").write_text("def (:\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.mark.parametrize(
    ("name", "words"),
    [("nothing", "has no attribute 'Nothing'"), ("syntax", "SyntaxError"), ("wrong", "bad variables")],
)
def test_a_generator_that_is_broken_is_told(broken_plugin, scripted_yaml, name, words, capsys):
    path = scripted_yaml()
    path.write_text(path.read_text().replace("generator: scripted", f"generator: {name}"))
    assert campaign("validate", path) == 2
    assert words in capsys.readouterr().err


def test_inputs_that_cases_lack_are_counted(tmp_path, capsys):
    path = tmp_path / "my.yaml"
    path.write_text(
        f"campaign: {{name: x}}\ndesign: {{method: cases, cases: [{{realization: 1, redshift: 0.5}}, {{realization: 2, redshift: 1.0}}]}}\ngenerator: scripted\n"
        f"strategy: {{defaults: {{inputs: {tmp_path / 'absent'}}}}}\noutputs: {{base_path: {tmp_path}}}\n"
    )
    assert cli.main(["plan", str(path)]) == 0
    assert "missing input: 2 jobs, 2 of 2 cases" in capsys.readouterr().out
