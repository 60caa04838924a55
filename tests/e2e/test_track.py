"""A campaign that other programs work at: laid out, looked at, adopted."""

import json
import shutil
import subprocess

import pytest
import xarray as xr

from campaign.adapters.lock import CampaignLock
from campaign.cli import main
from campaign.examine import audit_campaign
from campaign.layout import Layout
from campaign.status import read_status
from campaign.track import update
from tests.e2e.commands import QUICK, campaign

CONFIG = """
campaign: {name: rc}
design: {parameters: {R: [1000, 2000, 5000]}}
generator: command
execution: {max_retries: 0}
strategy:
  overrides:
    command:
      argv: [sh, -c, "echo fc={{ 1000000 / R }} > out.txt"]
      products: [out.txt]
      measure: {fc: {regex: "fc=(.*)", file: out.txt}}
outputs: {artifacts: simorc}
"""


@pytest.fixture
def built(here):
    """The directory of a campaign that is laid out, and nothing else."""
    (here / "rc.yaml").write_text(CONFIG)
    assert main(["build", "rc.yaml"]) == 0
    return here / "campaigns" / "v1.0_rc"


def leave(root, name, content):
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_it_is_laid_out_and_not_twice(built):
    assert json.loads((built / "config_0002.json").read_text())["R"] == 5000
    assert (built / "run_status.csv").read_text().count("pending") == 3
    assert not list((built / "catalogs").iterdir())
    _, err = campaign("build", "rc.yaml", code=2)
    assert "exists" in err
    assert "--force" in err
    assert "would be moved to" in campaign("build", "rc.yaml", "--force", "--dry-run")[0]
    (built / "note.txt").write_text("mine")
    out, _ = campaign("build", "rc.yaml", "--force")
    (aside,) = built.parent.glob("v1.0_rc.replaced-*")
    assert str(aside) in out
    assert (aside / "note.txt").read_text() == "mine"
    assert not (built / "note.txt").exists()


def test_nothing_is_moved_that_is_in_use_or_no_campaign(built):
    lock = CampaignLock(built / "metadata")
    _, err = campaign("build", "rc.yaml", "--force", code=5)
    assert "held by another coordinator" in err
    lock.release()
    (built / "metadata" / "manifest.json").unlink()
    _, err = campaign("build", "rc.yaml", "--force", code=2)
    assert "holds no campaign" in err


def test_what_others_made_is_adopted_and_the_rest_is_run(built):
    leave(built, "case_1/case_1_results.txt", "fc=1000\n")
    leave(built, "case_1/run_status.json", {
        "case_id": 1, "status": "completed", "timestamp_iso": "2025-01-15T10:30:45Z", "simulation_duration": 2.5,
        "result_file": "case_1_results.txt", "error_message": None, "parameters": {"R": 1000},
    })  # fmt: skip
    leave(built, "case_2/out.txt", "fc=500\n")
    leave(built, "result_0001.json", {"fc": 500.0, "result_file": "case_2/out.txt"})
    before = sorted(path for path in built.rglob("*") if path.is_file())
    out, _ = campaign("track", "rc.yaml")
    assert "2 results found" in out
    assert sorted(path for path in built.rglob("*") if path.is_file()) == before
    told = json.loads(campaign("track", "rc.yaml", "--update", "--json")[0])
    assert told == {"updated": True, "found": ["R_1000", "R_2000"], "refused": []}
    out, _ = campaign("run", "rc.yaml", *QUICK)
    assert "3 completed (1 completed in this run)" in out
    results = xr.open_zarr(built / "results.zarr").load()
    assert results.fc.values.tolist() == [1000, 500, 200]
    assert results.duration.values[0] == 2.5
    assert (built / "catalogs" / "R_1000" / "out.txt").read_text() == "fc=1000\n"
    assert audit_campaign(built, hashed=True).findings == ()
    assert "3 of 3 products" in campaign("verify", str(built))[0]
    assert "0 results" in campaign("track", "rc.yaml", "--update")[0]


def test_one_that_can_not_be_trusted_does_not_hold_up_the_others(built):
    leave(built, "a", "fc=1000")
    leave(built, "result_0000.json", '{"fc": 1000, "result_file": "a", "duration_s": Infinity}')
    leave(built, "result_0001.json", {"fc": 500, "result_file": "x" * 300})
    tracked = update(built)
    assert tracked.found == ["R_1000"]
    assert len(tracked.refused) == 1


def test_our_own_files_are_not_taken_for_those_of_others(built):
    campaign("run", "rc.yaml", *QUICK)
    for path in built.rglob("batch_*.zip"):
        path.write_bytes(b"spoilt")
    (built / "metadata" / "campaign.db").unlink()
    assert update(built).found == []
    assert read_status(Layout(built)).counts == {"pending": 3}


def test_what_others_made_survives_a_run_that_does_not_look(built):
    leave(built, "case_1/case_1_results.txt", "MINE")
    leave(built, "case_1/run_status.json", {"status": "completed", "result_file": "case_1_results.txt", "note": "mine"})
    leave(built, "result_0000.json", {"note": "mine"})
    shutil.rmtree(built / "results.zarr")
    campaign("run", "rc.yaml", *QUICK)
    assert (built / "case_1" / "case_1_results.theirs.txt").read_text() == "MINE"
    for name in ("case_1/run_status.theirs.json", "result_0000.theirs.json"):
        assert json.loads((built / name).read_text())["note"] == "mine"
    assert (built / "case_1" / "case_1_results.txt").read_text() == "fc=1000.0\n"


def test_a_circuit_may_be_simulated_by_hand(here):
    if shutil.which("ngspice") is None:
        pytest.skip("needs ngspice")
    assert main(["init", "rc.yaml", "--template", "spice"]) == 0
    assert main(["build", "rc.yaml"]) == 0
    root = here / "campaigns" / "v1.0_rc_low-pass"
    case, config = root / "case_4", json.loads((root / "config_0003.json").read_text())
    done = subprocess.run(config["argv"], cwd=case, capture_output=True, text=True, check=True)
    (fc,) = [line.split("=")[1] for line in done.stdout.splitlines() if line.startswith("fc ")]
    (case / "rc.raw").rename(case / "case_4_results.raw")
    status = json.loads((case / "run_status.json").read_text())
    leave(root, "case_4/run_status.json", {**status, "status": "completed", "result_file": "case_4_results.raw"})
    (why,) = update(root).refused
    assert "fc can't be read of rc.raw" in why
    leave(root, "result_0003.json", {"fc": float(fc)})
    assert update(root).found == ["R_1000_C_1e-09"]


def test_a_result_that_is_refused_has_an_exit_code(built):
    leave(built, "result_0000.json", "{")
    out, _ = campaign("track", "rc.yaml", code=6)
    assert "1 can't be trusted" in out


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"result_0000.json": "{"}, "can't be read"),
        ({"result_0000.json": "[1]"}, "holds no mapping"),
        ({"result_0000.json": {"fc": 1000.0}}, "no `result_file`"),
        ({"result_0000.json": {"fc": 1000.0, "result_file": "gone"}}, "names gone, which is not there"),
        ({"result_0000.json": {"fc": 1.0, "result_file": "../../c.yaml"}}, "leaves the campaign's directory"),
        ({"result_0000.json": {"fc": 1.0, "result_file": "/etc/passwd"}}, "leaves the campaign's directory"),
        ({"result_0000.json": {"fc": 9.0, "parameters": {"R": 2000}, "result_file": "a"}, "a": "fc=9"}, "of another job: R is 2000, not 1000"),
        ({"result_0000.json": {"fc": 999.0, "result_file": "a"}, "a": "fc=1000"}, "fc is 1000.0 in the file, not 999.0"),
        ({"result_0000.json": {"result_file": "a"}, "a": "nonsense"}, "nothing in out.txt matches"),
        ({"result_0000.json": {"fc": "high", "result_file": "a"}, "a": "fc=1000"}, "does not fit its declared type"),
        ({"case_1/run_status.json": {"status": "completed", "parameters": 3}}, "`parameters` is no mapping"),
        ({"result_0000.json": {"fc": 1.0, "result_file": "x" * 300}}, "File name too long"),
    ],
)  # fmt: skip
def test_what_can_not_be_trusted_is_refused(built, files, why):
    for name, content in files.items():
        leave(built, name, content)
    tracked = update(built)
    assert tracked.found == []
    (said,) = tracked.refused
    assert why in said
    assert read_status(Layout(built)).counts == {"pending": 3}


def test_cases_that_others_failed_are_not_looked_at(built):
    leave(built, "case_1/run_status.json", {"status": "failed", "error_message": "diverged"})
    assert "0 results" in campaign("track", "rc.yaml", "--update")[0]
