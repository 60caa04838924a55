"""Files of cases: the example of the simorc documents, to the letter, and what happens to what others put beside them."""

import json
import shutil
from dataclasses import replace
from datetime import datetime

import pytest

from campaign.adapters.casefiles import CaseFiles
from campaign.attempt import blank_record
from campaign.core.model import Failure, Outcome, Product, State
from campaign.opening import lay_out, read_config

CONFIG = """
campaign: {name: rc}
design:
  method: cases
  cases:
    - {R: 1000, C: 1.0e-12, vdda: 3.3, temp: 25}
    - {R: 2000, C: 1.0e-12, vdda: 3.3, temp: 25}
    - {R: 1000, C: 2.0e-12, vdda: 3.3, temp: 25}
generator: command
strategy: {overrides: {command: {products: [rc.raw]}}}
outputs: {naming_scheme: sequential}
"""

METADATA = """\
case_id,result_file,R,C,vdda,temp
1,case_1/case_1_results.raw,1000,1e-12,3.3,25
2,case_2/case_2_results.raw,2000,1e-12,3.3,25
3,case_3/case_3_results.raw,1000,2e-12,3.3,25
"""

RUN_STATUS = """\
case_id,R,C,vdda,temp,status,timestamp_iso,simulation_duration,result_file,error_message
1,1000,1e-12,3.3,25,completed,2025-01-15T10:30:45Z,2.34,case_1/case_1_results.raw,
2,2000,1e-12,3.3,25,failed,2025-01-15T10:31:02Z,0.12,case_2/case_2_results.raw,Convergence error
3,1000,2e-12,3.3,25,pending,,,,
"""

CASE_1 = {
    "case_id": 1,
    "status": "completed",
    "timestamp_iso": "2025-01-15T10:30:45Z",
    "simulation_duration": 2.34,
    "result_file": "case_1_results.raw",
    "error_message": None,
    "parameters": {"R": 1000, "C": 1e-12, "vdda": 3.3, "temp": 25},
}


@pytest.fixture
def world(tmp_path):
    """(directory, plan, its case files, records of the example)."""
    (tmp_path / "c.yaml").write_text(CONFIG)
    plan = lay_out(*read_config(tmp_path / "c.yaml"))
    kept = tmp_path / "catalogs" / "job_0000" / "rc.raw"
    kept.parent.mkdir(parents=True)
    kept.write_text("raw")
    return tmp_path, plan, CaseFiles(tmp_path, plan, {"name": "rc"}), [done(plan), failed(plan)]


def ended(plan, job, when, seconds, **known):
    began_ms = round((datetime.fromisoformat(when).timestamp() - seconds) * 1000)
    return replace(blank_record(plan.task(job, 1, 0), "1", began_ms), duration_s=seconds, **known)


def done(plan):
    product = Product("catalogs/job_0000/rc.raw", 3, "0" * 64)
    return ended(plan, 0, "2025-01-15T10:30:45+00:00", 2.34, outcome=Outcome.COMPLETED, products=(product,))


def failed(plan):
    failure = Failure("JobError", "C501", "Convergence error")
    return ended(plan, 1, "2025-01-15T10:31:02+00:00", 0.12, outcome=Outcome.FAILED, failure=failure)


STATES = {0: State.COMPLETED, 1: State.FAILED}


def test_the_example_of_the_documents(world):
    root, _, files, records = world
    assert not files.ready
    files.create()
    files.write(records, STATES)
    assert (root / "metadata.csv").read_text() == METADATA
    assert (root / "run_status.csv").read_text() == RUN_STATUS
    case = (root / "case_1" / "run_status.json").read_text()
    assert list(json.loads(case).items()) == list(CASE_1.items())
    assert (root / "case_1" / "case_1_results.raw").read_text() == "raw"
    assert not (root / "case_2" / "case_2_results.raw").is_symlink()
    assert json.loads((root / "case_3" / "run_status.json").read_text())["status"] == "pending"
    assert {path.name for path in root.glob("*_????.json")} == {
        "config_0000.json", "config_0001.json", "config_0002.json", "result_0000.json", "result_0001.json",
    }  # fmt: skip
    tracked = json.loads((root / "campaign.json").read_text())
    assert tracked["counts"] == {"completed": 1, "failed": 1, "pending": 1}
    assert [job["status"] for job in tracked["jobs"]] == ["completed", "failed", "pending"]


@pytest.mark.parametrize(
    "lost",
    [
        "run_status.csv",
        "metadata.csv",
        "campaign.json",
        "config_0001.json",
        "case_1",
        "case_3",
        "case_2/run_status.json",
        "result_0001.json",
    ],
)
def test_what_is_lost_is_noticed(world, lost):
    root, plan, files, records = world
    files.create()
    files.write(records, STATES)
    assert CaseFiles(root, plan, {}).ready
    shutil.rmtree(root / lost) if (root / lost).is_dir() else (root / lost).unlink()
    assert not CaseFiles(root, plan, {}).ready


def test_another_run_knows_what_was_told(world):
    root, plan, files, records = world
    files.create()
    files.write(records[:1], {0: State.COMPLETED})
    later = CaseFiles(root, plan, {"name": "rc"})
    assert later.ready
    later.write(records[1:], {1: State.FAILED})
    assert (root / "run_status.csv").read_text() == RUN_STATUS


def test_a_case_that_is_sent_back_is_pending_again(world):
    root, _, files, records = world
    files.create()
    files.write(records, STATES)
    files.write([replace(records[0], outcome=Outcome.REVOKED)], {0: State.PENDING})
    assert json.loads((root / "case_1" / "run_status.json").read_text())["status"] == "pending"
    assert not (root / "case_1" / "case_1_results.raw").is_symlink()
    assert not (root / "result_0000.json").exists()


def test_states_are_known_to_the_next_run_as_they_were(world):
    root, plan, files, records = world
    files.create()
    timed_out = replace(records[1], outcome=Outcome.TIMEOUT)
    files.write([records[0], timed_out], {0: State.COMPLETED, 1: State.TIMEOUT, 2: State.MISSING_INPUT})
    before = [(root / name).read_text() for name in ("run_status.csv", "campaign.json")]
    later = CaseFiles(root, plan, {"name": "rc"})
    assert later.ready
    later.publish()
    assert [(root / name).read_text() for name in ("run_status.csv", "campaign.json")] == before
    assert json.loads(before[1])["counts"] == {"completed": 1, "timeout": 1, "missing_input": 1}


def test_a_message_is_one_line_whatever_was_said(world):
    root, plan, files, records = world
    files.create()
    failure = Failure("JobError", "C501", 'it said:\r\n"no, no"\n\tdiverged')
    files.write([records[0], replace(records[1], failure=failure)], STATES)
    line = (root / "run_status.csv").read_text().splitlines()[2]
    assert line.endswith('case_2/case_2_results.raw,"it said: ""no, no"" diverged"')
    assert CaseFiles(root, plan, {}).ready


THEIRS = {"status": "completed", "timestamp_iso": "2020-01-01T00:00:00Z", "parameters": {"R": 2000}}


def test_what_somebody_else_made_is_never_lost(world):
    root, plan, files, records = world
    files.create()
    files.write(records, STATES)
    (root / "case_2" / "run_status.json").write_text(json.dumps(THEIRS))
    (root / "result_0001.json").write_text(json.dumps({"fc": 1.0}))
    (root / "case_1" / "case_1_results.raw").unlink()
    (root / "case_1" / "case_1_results.raw").write_text("theirs")
    again = CaseFiles(root, plan, {"name": "rc"})
    again.create()  # as after the loss of the tables
    assert json.loads((root / "case_2" / "run_status.json").read_text()) == THEIRS
    again.write([], {1: State.PENDING})  # as after a retry
    assert json.loads((root / "result_0001.json").read_text()) == {"fc": 1.0}
    again.write(records, STATES)
    kept = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*.theirs.*")}
    assert kept == {
        "case_2/run_status.theirs.json": json.dumps(THEIRS), "result_0001.theirs.json": json.dumps({"fc": 1.0}),
        "case_1/case_1_results.theirs.raw": "theirs",
    }  # fmt: skip
    assert (root / "run_status.csv").read_text() == RUN_STATUS
    assert (root / "case_1" / "case_1_results.raw").read_text() == "raw"


def test_a_campaign_of_other_cases_leaves_no_old_ones(world, tmp_path):
    root, _, files, records = world
    files.create()
    files.write(records, STATES)
    (tmp_path / "d.yaml").write_text(
        CONFIG.replace("- {R: 1000, C: 1.0e-12, vdda: 3.3, temp: 25}", "- {R: 7, C: 1.0e-12, vdda: 3.3, temp: 25}", 1)
    )
    CaseFiles(root, lay_out(*read_config(tmp_path / "d.yaml")), {"name": "rc"}).create()
    case = json.loads((root / "case_1" / "run_status.json").read_text())
    assert (case["status"], case["parameters"]["R"]) == ("pending", 7)
    assert not list(root.glob("result_*.json"))


def test_what_a_case_is_given_lies_in_its_directory(world):
    root, plan, _, _ = world
    files = CaseFiles(
        root, plan, {}, lambda job: ({"argv": ["x", str(job)]}, {"deck/in.cir": f"R {plan.point(job)['R']}"})
    )
    files.create()
    assert (root / "case_2" / "deck" / "in.cir").read_text() == "R 2000"
    assert json.loads((root / "config_0001.json").read_text())["argv"] == ["x", "1"]
    (root / "case_2" / "deck" / "in.cir").write_text("mine")
    files.create()
    assert (root / "case_2" / "deck" / "in.cir").read_text() == "mine"
