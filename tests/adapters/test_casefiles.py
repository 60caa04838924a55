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
    assert not (root / "case_3").exists()
    assert {path.name for path in root.glob("*_????.json")} == {
        "config_0000.json", "config_0001.json", "config_0002.json", "result_0000.json", "result_0001.json",
    }  # fmt: skip
    tracked = json.loads((root / "campaign.json").read_text())
    assert tracked["counts"] == {"completed": 1, "failed": 1, "pending": 1}
    assert [job["status"] for job in tracked["jobs"]] == ["completed", "failed", "pending"]


@pytest.mark.parametrize(
    "lost", ["run_status.csv", "metadata.csv", "campaign.json", "config_0001.json", "case_1", "result_0001.json"]
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


def test_a_result_that_somebody_else_put_there_stays(world):
    root, _, files, records = world
    files.create()
    (root / "case_1").mkdir()
    (root / "case_1" / "case_1_results.raw").write_text("theirs")
    files.write(records, STATES)
    assert (root / "case_1" / "case_1_results.raw").read_text() == "theirs"
