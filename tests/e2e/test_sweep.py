"""Any design, any executable: from the command line to the dataset and what is told of it."""

import json
import math
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from campaign import manifest
from campaign import sweep as open_sweep
from campaign.errors import UsageError
from campaign.opening import lay_out, read_config
from tests.conftest import wait_for
from tests.e2e.commands import QUICK, campaign

STUDY = """
def trapezoid(n, power=3):
    h = 1 / n
    return h * (0.5 + sum((i * h) ** power for i in range(1, n)))


def bowl(x, y):
    return {"height": (x - 0.3) ** 2 + (y + 1) ** 2, "side": 1 if x > 0.3 else -1}


def noisy(seed, level):
    import random

    return random.Random(seed).gauss(level, 0.1)
"""


def test_a_sweep_goes_on_where_it_stopped_and_is_read_by_its_parameters(here):
    words = (
        "sweep", "--name", "rc", "--params", "R:1000,2000", "--params", "C:log:1e-12:1e-10:3", *QUICK,
        "--product", "out.txt", "--measure", r"tau=regex:tau=(\S+)", "--",
        "sh", "-c", "echo {{ R }} > out.txt; echo tau={{ R * C }}",
    )  # fmt: skip
    campaign(*words)
    root = here / "campaigns" / "v1.0_rc"
    results = xr.open_zarr(root / "results.zarr").load()
    assert dict(results.sizes) == {"R": 2, "C": 3}
    assert np.allclose(results.tau, results.R * results.C)
    assert (root / "catalogs" / "R_2000_C_1e-11" / "out.txt").read_text() == "2000\n"
    assert str(results.product.sel(R=2000, C=1e-11).item()) == "catalogs/R_2000_C_1e-11/out.txt"
    out, _ = campaign(*words)
    assert "0 completed in this run" in out
    _, err = campaign(*words[:4], "R:1000,3000", *words[5:], code=2)
    assert "rc.yaml is there and says something else" in err
    out, _ = campaign("verify", str(root))
    assert "6 of 6 products" in out
    (root / "catalogs" / "R_2000_C_1e-11" / "out.txt").write_text("spoilt")
    campaign("verify", str(root), "--requeue", code=6)
    campaign(*words)
    assert (root / "catalogs" / "R_2000_C_1e-11" / "out.txt").read_text() == "2000\n"


needs_ngspice = pytest.mark.skipif(shutil.which("ngspice") is None, reason="needs ngspice")


@needs_ngspice
@pytest.mark.parametrize("kind", ["binary", "ascii"])
def test_cut_off_frequencies_of_a_circuit_are_those_of_its_formula(here, kind):
    campaign("init", "rc.yaml", "--template", "spice")
    netlist = (here / "rc.yaml").read_text().replace(".control\n", f".control\n            set filetype={kind}\n")
    (here / "rc.yaml").write_text(netlist)
    campaign("run", "rc.yaml", *QUICK)
    root = here / "campaigns" / "v1.0_rc_low-pass"
    results = xr.open_zarr(root / "results.zarr").load()
    assert dict(results.sizes) == {"R": 3, "C": 4}
    exact = 1 / (2 * math.pi * results.R * results.C)
    assert np.allclose(results.fc, exact.transpose(*results.fc.dims), rtol=1e-3)
    assert np.allclose(results.peak, 1, rtol=1e-6)
    assert results.fc.attrs["units"] == "Hz"
    assert (
        (root / "catalogs" / "R_1000_C_1e-12" / "rc.raw").read_bytes().startswith(b"Title: rc low-pass, r_1000_c_1e-12")
    )
    header = (root / "metadata.csv").read_text().splitlines()[0]
    assert header == "case_id,result_file,R,C"
    assert "12 of 12 products" in campaign("verify", str(root))[0]


@needs_ngspice
def test_a_circuit_that_can_not_be_simulated_says_why(here):
    campaign("init", "rc.yaml", "--template", "spice")
    (here / "rc.yaml").write_text(
        (here / "rc.yaml").read_text().replace("R1 in out {{ R }}", "R1 in out {{ R }} nonsense(")
    )
    campaign("run", "rc.yaml", *QUICK, "--set", "execution.max_retries=0", code=4)
    failures = json.loads(campaign("status", "rc.yaml", "--json")[0])["failures"]
    assert failures
    assert all(failure["message"].startswith("ngspice ended with exit status 1: ") for failure in failures)


def test_a_scattered_design_is_one_dimension_of_cases(here):
    pytest.importorskip("scipy")
    (here / "study.py").write_text(STUDY)
    (here / "bowl.yaml").write_text(
        "campaign: {name: bowl}\n"
        "design: {method: sobol, samples: 32, parameters: {x: '0:1', y: {values: '-2:0', units: m}}}\n"
        "generator: function\n"
        "strategy: {overrides: {function: {call: 'study.py:bowl', returns: {height: {units: m2}, side: {dtype: i8}}}}}\n"
    )
    campaign("run", "bowl.yaml", *QUICK)
    root = here / "campaigns" / "v1.0_bowl"
    results = xr.open_zarr(root / "results.zarr").load()
    assert dict(results.sizes) == {"case": 32}
    assert results.y.attrs["units"] == "m"
    assert np.allclose(results.height, (results.x - 0.3) ** 2 + (results.y + 1) ** 2)
    told = json.loads(campaign("aggregate", str(root), "--metric", "height", "--json")[0])
    best = told["lowest"][0]
    assert best["height"] == told["minimum"] == pytest.approx(float(results.height.min()))
    assert set(best) == {"x", "y", "height"}
    known = json.loads((root / "metadata" / "manifest.json").read_text())
    assert (known["method"], known["parameters"]["y"]["size"], known["parameters"]["y"]["units"]) == ("sobol", 32, "m")
    assert -2 < known["parameters"]["y"]["min"] < known["parameters"]["y"]["max"] < 0
    campaign("run", "bowl.yaml", *QUICK, "--set", "design.samples=48")
    assert xr.open_zarr(root / "results.zarr").sizes["case"] == 48


def test_a_ladder_finds_the_order_of_its_solver(here):
    (here / "study.py").write_text(STUDY)
    campaign("sweep", "--params", "n:ladder:8:2:4", "--params", "power:2,3", "--function", "study.py:trapezoid", *QUICK)
    root = here / "campaigns" / "v1.0_trapezoid"
    told = json.loads(campaign("converge", str(root), "--metric", "value", "--along", "n", "--cells", "--json")[0])
    assert [ladder["at"] for ladder in told["ladders"]] == [{"power": 2}, {"power": 3}]
    for ladder, exact in zip(told["ladders"], (1 / 3, 1 / 4), strict=True):
        assert ladder["observed_order"] == pytest.approx(2, abs=0.01)
        assert ladder["extrapolated"] == pytest.approx(exact, abs=1e-6)
    assert json.loads((root / "convergence_analysis.json").read_text()) == {"analyses": [told]}
    campaign("converge", str(root), "--metric", "duration", "--along", "n", "--cells")
    kept = json.loads((root / "convergence_analysis.json").read_text())["analyses"]
    assert [one["metric"] for one in kept] == ["value", "duration"]
    _, err = campaign("converge", str(root), "--metric", "value", "--along", "n", "--at", "power=7", code=2)
    assert "power has no value 7, but 2, 3" in err
    _, err = campaign("converge", str(root), "--metric", "value", "--along", "n", "--cells", "--plot")
    assert "drawn: " in err
    assert (root / "qa" / "summary_plots" / "convergence_value.png").read_bytes().startswith(b"\x89PNG")
    _, err = campaign("converge", str(root), "--metric", "value", "--along", "n", "--plot", "x.doc", code=2)
    assert "x.doc can't be drawn" in err
    _, err = campaign("converge", str(root), "--metric", "value", "--along", "m", code=2)
    assert "no dimension 'm', but n, power" in err


@pytest.mark.parametrize("template", ["ladder", "calibration"])
def test_what_the_templates_promise(here, template):
    campaign("init", "my.yaml", "--template", template)
    if template == "calibration":
        pytest.importorskip("scipy")
        told = json.loads(campaign("calibrate", "my.yaml", "--metric", "chi2", "--json", *QUICK)[0].splitlines()[-1])
        assert told["best_parameters"] == pytest.approx({"a": 0.3, "b": 20}, rel=0.1)
        return
    campaign("run", "my.yaml", *QUICK)
    told = json.loads(campaign("converge", "my.yaml", "--metric", "x", "--along", "dt", "--json")[0])
    for rung in told["ladders"]:
        assert rung["observed_order"] == pytest.approx(1, abs=0.05)
        assert rung["extrapolated"] == pytest.approx(math.exp(-rung["at"]["k"]), rel=5e-3)


def test_an_ensemble_knows_its_mean_and_whether_it_is_enough(here):
    (here / "study.py").write_text(STUDY)
    campaign("sweep", "--params", "level:1,5", "--realizations", "40", "--function", "study.py:noisy", *QUICK)
    root = here / "campaigns" / "v1.0_noisy"
    told = json.loads(campaign("ensemble", str(root), "--tolerance", "0.02", "--json", "--plot", "e.svg")[0])
    assert "<svg" in (here / "e.svg").read_text()
    for entry in told["metrics"]["value"]:
        low, high = entry["mean_interval"]
        assert low < entry["mean"] < high
        assert entry["mean"] == pytest.approx(entry["at"]["level"], abs=0.1)
        assert entry["std"] == pytest.approx(0.1, abs=0.05)
        assert entry["convergence"]["enough"] <= 40
    assert json.loads((root / "statistics.json").read_text()) == told


ENOUGH = """
campaign: {name: noise}
science: {realizations: 400}
design: {parameters: {level: [1, 5]}}
generator: function
strategy: {overrides: {function: {call: "study.py:noisy"}}}
execution: {enough: {metric: value, tolerance: 0.02, realizations: 8}, batch_size: 5, order: realization_major}
"""


def test_a_run_ends_where_there_are_enough_and_goes_on_without_the_rule(here):
    (here / "study.py").write_text(STUDY)
    (here / "noise.yaml").write_text(ENOUGH)
    root = here / "campaigns" / "v1.0_noise"
    out, _ = campaign("run", "noise.yaml", *QUICK)
    assert "there are enough realizations" in out
    values = xr.open_zarr(root / "results.zarr").value.load()
    done = values.count("realization")
    error = values.std("realization", ddof=1) / np.sqrt(done)
    assert bool((error <= 0.04 * abs(values.mean("realization"))).all())  # what still ran may have undone some of it
    assert 8 <= int(done.min()) <= int(done.max()) < 400
    looser = ("--set", "execution.enough.tolerance=0.05")
    assert "(0 completed in this run)" in campaign("run", "noise.yaml", *QUICK, *looser)[0]
    stricter = ("--set", "execution.enough.tolerance=0.01")
    assert "(0 completed in this run)" not in campaign("run", "noise.yaml", *QUICK, *stricter)[0]
    assert int(xr.open_zarr(root / "results.zarr").value.count("realization").max()) > int(done.max())
    campaign("run", "noise.yaml", *QUICK, "--set", "execution.enough=null")
    assert int(xr.open_zarr(root / "results.zarr").value.count()) == 800


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{realizations: 1}", "greater than or equal to 2"),
        ("{metric: value}", "`metric` and `tolerance` belong together"),
        ("{}", "give `realizations`"),
        ("{metric: height, tolerance: 0.1}", "'height' is no measured number"),
    ],
)
def test_rules_that_mean_nothing_are_refused(here, rule, said):
    (here / "study.py").write_text(STUDY)
    (here / "noise.yaml").write_text(ENOUGH.replace("{metric: value, tolerance: 0.02, realizations: 8}", rule))
    with pytest.raises(UsageError, match=said):
        lay_out(*read_config(here / "noise.yaml"))


@pytest.mark.parametrize("setting", ["execution.enough.realizations=3", "execution.missing_input=skip_realization"])
def test_rules_about_realizations_need_some(here, setting):
    (here / "c.yaml").write_text("campaign: {name: x}\ndesign: {parameters: {a: [1, 2]}}\ngenerator: command\n")
    with pytest.raises(UsageError, match=setting.partition("=")[0].rpartition(".realizations")[0] or "missing_input"):
        read_config(here / "c.yaml", [setting])


def test_ranks_are_for_generators_that_know_them(here):
    (here / "c.yaml").write_text("campaign: {name: x}\ndesign: {parameters: {a: [1, 2]}}\ngenerator: command\n")
    with pytest.raises(UsageError, match="'command' have one rank, not 4"):
        lay_out(*read_config(here / "c.yaml", ["resources.ranks_per_job=4"]))


@pytest.mark.parametrize("sampler", ["space-filling", "optuna"])
def test_a_calibration_finds_a_known_minimum(here, sampler):
    pytest.importorskip("scipy")
    if sampler == "optuna":
        pytest.importorskip("optuna")
    (here / "study.py").write_text(STUDY)
    (here / "fit.yaml").write_text(
        "campaign: {name: fit}\n"
        "design: {method: lhs, samples: 40, parameters: {x: '-4:4', y: {values: '-4:4', units: m}}}\n"
        "generator: function\n"
        "strategy: {overrides: {function: {call: 'study.py:bowl', returns: {height: {}, side: {}}}}}\n"
    )
    words = ("calibrate", "fit.yaml", "--metric", "height", "--rounds", "4", "--sampler", sampler, "--json", *QUICK)
    told = json.loads(campaign(*words)[0].strip().splitlines()[-1])
    assert told["best_parameters"]["x"] == pytest.approx(0.3, abs=0.15)
    assert told["best_parameters"]["y"] == pytest.approx(-1, abs=0.15)
    assert [entry["cases"] for entry in told["iterations"]] == [40] * 4
    root = here / "campaigns" / "v1.0_fit"
    assert json.loads((root / "best_parameters.json").read_text()) == told
    assert (root / "v1.0_iteration_04" / "results.zarr").exists()
    again = json.loads(campaign(*words, "--plot")[0].strip().splitlines()[-1])
    assert again == told
    assert (root / "qa" / "summary_plots" / "calibration_height.png").exists()
    _, err = campaign(*words, "--maximize", code=2)
    assert "holds a calibration with maximize False, not True" in err
    assert json.loads((root / "best_parameters.json").read_text()) == told
    _, err = campaign("status", "fit.yaml", code=2)
    assert "is a calibration" in err


FIT = """
campaign: {name: fit}
design: {method: lhs, samples: 4, parameters: {n: 'int:1:3'}}
generator: command
strategy: {overrides: {command: {argv: [sh, -c, "ACTION"], measure: {loss: {regex: "loss=(.*)"}}}}}
execution: {max_retries: 0, max_failure_rate: 1}
"""


def test_calibrations_that_can_not_be(here, monkeypatch):
    pytest.importorskip("scipy")
    (here / "fit.yaml").write_text(FIT.replace("ACTION", "exit 4"))
    _, err = campaign("calibrate", "fit.yaml", "--metric", "los", *QUICK, code=2)
    assert "nothing called 'los' is measured" in err
    campaign("calibrate", "fit.yaml", "--metric", "loss", *QUICK, "--dry-run")
    assert not (here / "campaigns").exists()
    _, err = campaign("calibrate", "fit.yaml", "--metric", "loss", *QUICK, code=2)
    assert "no case of iteration_01 has a loss" in err
    monkeypatch.setenv("CAMPAIGN__OUTPUTS__BASE_PATH", str(here / "elsewhere"))
    (here / "fit.yaml").write_text(FIT.replace("ACTION", "echo loss={{ n }}"))
    told = json.loads(campaign("calibrate", "fit.yaml", "--metric", "loss", "--json", *QUICK)[0].splitlines()[-1])
    assert told["best_parameters"] == {"n": 1}
    assert (here / "elsewhere" / "v1.0_fit" / "v1.0_iteration_01" / "results.zarr").exists()
    assert not list((here / "elsewhere").glob("v1.0_iteration*"))


@pytest.mark.parametrize("naming", ["sequential", "parameters", "hierarchical", "hash"])
def test_names_lead_back_to_their_jobs(here, naming):
    words = ("sweep", "--params", "a:1,2", "--params", "way:up,over/there", "--naming", naming, *QUICK)
    campaign(*words, "--", "true")
    plan = lay_out(*read_config(here / "true.yaml"))
    names = [plan.name(job) for job in range(plan.size)]
    assert len(set(names)) == plan.size == 4
    assert [plan.named(name) for name in names] == [0, 1, 2, 3]
    assert not any(".." in name or name.startswith("/") for name in names)


def test_names_that_are_numbers_let_a_campaign_grow_at_its_end_only(here):
    (here / "study.py").write_text(STUDY)
    words = ("--function", "study.py:trapezoid", "--naming", "sequential", *QUICK)
    campaign("sweep", "--params", "n:2,4", "--params", "power:2", *words)
    path = here / "trapezoid.yaml"
    campaign("run", str(path), *QUICK, "--set", "design.parameters.n=2,4,8")
    _, err = campaign("run", str(path), *QUICK, "--set", "design.parameters.n=1,2,4,8,16", code=2)
    assert "another configuration" in err
    assert manifest.next_version("v1.0") in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--params", "a:1,2", "--params", "a:3", "--", "true"), "--params names a twice"),
        (("--params", "a:1,2", "--returns", "b", "--", "true"), "--returns belongs to --function"),
        (("--params", "a:1,2"), "nothing to run"),
        (("--params", "a:1,2", "--function", "m:f", "--", "true"), "both a program and a function"),
        (("--params", "a", "--", "true"), "not NAME:VALUES"),
        (("--params", "a:1:2:0", "--", "true"), "2 to 10,000,000 values"),
        (("--params", "a:1:1:3", "--", "true"), "begins and ends at 1"),
        (("--params", "a:1,2", "--measure", "v=xml:a", "--", "true"), "'xml' is no kind of measurement"),
        (("--params", "a:1,2", "--measure", "v", "--", "true"), "not NAME=..."),
        (("--params", "a:1,2", "--", "echo", "{{ b }}"), "'b' is undefined"),
        (("--params", "a:1,2", "--file", "x=none.j2", "--", "true"), "none.j2 can't be read"),
        (("--params", f"a:{'x' * 9000}", "--", "true"), "at most 1,000 characters"),
        (("--params", "status:1,2", "--", "true"), "means nothing else"),
    ],
)
def test_what_can_not_be_swept_is_refused_in_words(here, words, said):
    _, err = campaign(
        "sweep",
        *words[: words.index("--") if "--" in words else None],
        *QUICK,
        *words[words.index("--") if "--" in words else len(words) :],
        code=2,
    )
    assert said in err
    assert "Traceback" not in err
    assert "realizations, redshifts or" not in err
    assert not list(here.iterdir())


def test_a_typo_can_be_corrected_and_a_dry_run_writes_nothing(here):
    campaign("sweep", "--params", "a:1:2:0", *QUICK, "--", "true", code=2)
    campaign("sweep", "--params", "a:1:2:3", *QUICK, "--dry-run", "--", "true")
    assert not list(here.iterdir())
    campaign(
        "sweep",
        "--params",
        "a[m]:1:2:3",
        "--name",
        "my / sweep",
        *QUICK,
        "--measure",
        "b[s]=regex:(.*)",
        "--",
        "echo",
        "{{ a }}",
    )
    assert (here / "my_sweep.yaml").exists()
    results = xr.open_zarr(here / "campaigns" / "v1.0_my_sweep" / "results.zarr")
    assert (results.a.attrs["units"], results.b.attrs["units"], results.a.attrs["long_name"]) == ("m", "s", "a")


def test_a_function_may_return_a_mapping(here):
    (here / "study.py").write_text(STUDY)
    words = ("sweep", "--params", "x:0,1", "--params", "y:0,1", "--function", "study.py:bowl", *QUICK)
    _, err = campaign(*words, "--set", "execution.max_retries=0", code=4)
    assert "returned height, side, and `returns` names value" in err
    campaign(*words, "--name", "again", "--returns", "height[m2]", "--returns", "side")
    results = xr.open_zarr(here / "campaigns" / "v1.0_again" / "results.zarr").load()
    assert results.height.attrs["units"] == "m2"
    assert results.side.values.tolist() == [[-1, -1], [1, 1]]


def test_a_sweep_from_python_gives_its_dataset(here):
    (here / "study.py").write_text(STUDY)
    asked = {"x": np.linspace(0, 1, 3), "y": {"values": (-1, 0), "units": "m"}}
    returns = {"height": {"units": "m2"}, "side": {"dtype": "i8"}}
    for _ in range(2):
        ds = open_sweep("study.py:bowl", asked, returns=returns, settings=["resources.slots=2"])
        assert np.allclose(ds.height, (ds.x - 0.3) ** 2 + (ds.y + 1) ** 2)
        assert (ds.y.attrs["units"], ds.height.attrs["units"], dict(ds.height.sizes)) == ("m", "m2", {"x": 3, "y": 2})
    with pytest.raises(UsageError, match="is there and says something else"):
        open_sweep("study.py:bowl", {"x": "0:1:5", "y": [0]}, returns=returns)
    with pytest.raises(UsageError, match="can't be called with z"):
        open_sweep("study.py:bowl", {"z": [1, 2]}, name="other", returns=returns)


def test_what_a_program_said_last_stands_in_the_first_line(here):
    words = ("sweep", "--params", "a:1,2", *QUICK, "--set", "execution.max_retries=0", "--name", "x", "--")
    _, err = campaign(*words, "sh", "-c", "echo first; printf 'it \\033[31mdiverged\\n'; exit 3", code=4)
    assert "sh ended with exit status 3: it \N{REPLACEMENT CHARACTER}[31mdiverged" in err
    assert "\033" not in err
    told, _ = campaign("status", "x.yaml", "--verbose")
    assert "first" in told


def test_a_killed_run_of_programs_with_products_goes_on(here):
    words = [
        sys.executable,
        "-m",
        "campaign",
        "sweep",
        "--params",
        "a:int:1:6",
        "--name",
        "k",
        "--product",
        "o.txt",
        *QUICK,
    ]
    run = subprocess.Popen([*words, "--", "sh", "-c", "echo {{ a }} > o.txt; sleep 1"], stderr=subprocess.DEVNULL)
    unfinished = here / "campaigns" / "v1.0_k" / "staging" / "products"
    wait_for(lambda: unfinished.exists() and list(unfinished.glob("*/o.txt")))
    run.kill()
    run.wait()
    out, _ = campaign("run", "k.yaml", *QUICK)
    assert "6 completed" in out
    assert not list(unfinished.iterdir())


def test_galaxies_have_no_other_axes(here):
    (here / "c.yaml").write_text("campaign: {name: x}\nscience: {realizations: 2}\ndesign: {parameters: {a: [1, 2]}}\n")
    with pytest.raises(UsageError, match="for each realization and redshift, not for realization, a"):
        lay_out(*read_config(here / "c.yaml"))


SIMORC = """
campaign: {name: rc}
design: {parameters: {R: [1000, 2000], C: [1.0e-12]}}
generator: command
execution: {max_retries: 0}
strategy:
  overrides:
    command:
      argv: [sh, -c, "test {{ R }} = 1000 || { echo Convergence error; exit 1; }; echo {{ R * C }} > rc.raw; echo tau={{ R * C }}"]
      products: [rc.raw]
      measure: {tau: {regex: "tau=(.*)"}}
outputs: {artifacts: simorc, naming_scheme: "{job}"}
"""


def test_other_tools_can_follow_case_by_case(here):
    (here / "rc.yaml").write_text(SIMORC)
    campaign("run", "rc.yaml", *QUICK, code=4)
    root = here / "campaigns" / "v1.0_rc"
    assert (root / "metadata.csv").read_text() == (
        "case_id,result_file,R,C\n1,case_1/case_1_results.raw,1000,1e-12\n2,case_2/case_2_results.raw,2000,1e-12\n"
    )
    header, done, failed = (root / "run_status.csv").read_text().splitlines()[:3]
    assert header == "case_id,R,C,status,timestamp_iso,simulation_duration,result_file,error_message"
    assert re.fullmatch(
        r"1,1000,1e-12,completed,20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ,[0-9.e-]+,case_1/case_1_results.raw,", done
    )
    assert failed.startswith("2,2000,1e-12,failed,")
    assert "Convergence error" in (root / "run_status.csv").read_text()
    case = json.loads((root / "case_1" / "run_status.json").read_text())
    assert list(case) == [
        "case_id", "status", "timestamp_iso", "simulation_duration", "result_file", "error_message", "parameters",
    ]  # fmt: skip
    assert case["parameters"] == {"R": 1000, "C": 1e-12}
    assert case["error_message"] is None
    assert json.loads((root / "config_0001.json").read_text())["R"] == 2000
    assert json.loads((root / "result_0000.json").read_text())["results"] == {"tau": 1e-9}
    tracked = json.loads((root / "campaign.json").read_text())
    assert tracked["counts"] == {"completed": 1, "failed": 1}
    manifest_ = json.loads((root / "manifest.json").read_text())
    assert manifest_["parameters"]["R"] == {"size": 2, "units": "1", "min": 1000, "max": 2000}
    assert {"created", "user", "host", "git", "started_in", "versions", "configuration_sha256", "method"} <= set(
        manifest_
    )
    for name in ("run_status.csv", "campaign.json"):
        before = (root / name).read_text()
        (root / name).unlink()
        campaign("run", "rc.yaml", *QUICK, code=4)
        assert (root / name).read_text() == before
