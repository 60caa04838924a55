"""Faults and what follows from each: files that are spoilt, processes that die, jobs that misbehave."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

import campaign
from campaign import crashpoints, examine
from campaign.core.model import State
from campaign.errors import StorageError
from campaign.testing import faults
from campaign.testing.torture import POISON, Torture
from tests.conftest import PLUGINS
from tests.e2e.committing import commit_everything

INFLICTED = {fault.name: fault for fault in faults.FAULTS}
RUN_FACTS = ["attempt", "batch", "start_time", "duration", "node"]


def fault(name, what, follows, *more):
    return pytest.param(name, *more, marks=pytest.mark.fault(what, follows), id=name)


def science(directory):
    return xr.open_zarr(directory / "results.zarr").load()


def same_science(one, other):
    xr.testing.assert_identical(one.drop_vars(RUN_FACTS), other.drop_vars(RUN_FACTS))


REBUILT, KEPT = "rebuilt from `batches/` at the next start, cell for cell", "kept in `quarantine/` with the reason"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        fault("duplicate_artifact", "a batch is staged twice", "the copy is dropped; the dataset is the same", 0),
        fault("torn_artifact", "a staged artifact ends in the middle", KEPT, 1),
        fault("flipped_artifact", "a bit of a staged artifact flips", KEPT, 1),
        fault("artifact_without_fingerprints", "an artifact lacks `task_fingerprint`", f"refused, {KEPT}", 1),
        fault("damaged_chunk", "a bit of a chunk of the dataset flips", REBUILT, 0),
        fault("deleted_ledger", "the ledger is deleted", REBUILT, 0),
        fault("damaged_ledger", "the ledger is overwritten with nonsense", f"{KEPT}; {REBUILT}", 1),
        fault("deleted_dataset", "the dataset is deleted", REBUILT, 0),
    ],
)
def test_a_spoilt_file_costs_nothing(ran, stream, name, kept):
    before = science(ran)
    assert INFLICTED[name].inflict(ran, stream)
    examine.consolidate(ran)
    if name == "damaged_chunk":  # it is met where something is written beside it, or by a rebuild
        examine.consolidate(ran, rebuild=True)
    xr.testing.assert_identical(before, science(ran))
    found = campaign.audit(ran, hashed=True)
    assert found.sound
    assert len(found.quarantined) == kept
    assert all(entry["why"] for entry in found.quarantined)


@pytest.mark.parametrize(
    "name",
    [
        fault("flipped_batch", "a bit of a committed artifact flips", f"{KEPT}; its jobs run again and give the same"),
        fault(
            "damaged_product", "a bit of a product flips", "found by `campaign verify`, whose --requeue makes it again"
        ),
    ],
)
def test_what_is_lost_is_made_again(ran, stream, run_again, name):
    before = science(ran)
    assert INFLICTED[name].inflict(ran, stream)
    if name == "flipped_batch":
        assert not campaign.audit(ran).sound
        (ran / "metadata" / "campaign.db").unlink()  # a rebuild reads every batch
        for journal in (ran / "staging").glob("journal*/*"):  # or what it held would be taken from there
            journal.unlink()
    else:
        count, damage = examine.verify_products(ran)
        assert len(examine.revoke(ran, damage, count)) == 1
    outcome = run_again(ran)
    assert outcome.completed_now > 0
    assert outcome.counts == {"completed": 11, "failed": 1}
    same_science(before, science(ran))
    assert campaign.audit(ran, hashed=True).sound


COORDINATOR = [
    point for point in crashpoints.POINTS if point.partition(".")[0] not in ("attempt", "journal", "archive")
]


@pytest.fixture(scope="session")
def grown(_ran, tmp_path_factory):
    """What an undisturbed coordinator makes of the campaign."""
    target = tmp_path_factory.mktemp("grown") / "v1.0_scripted"
    shutil.copytree(_ran / "campaigns" / "v1.0_scripted", target)
    commit_everything(target)
    return science(target)


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    [
        fault(p, f"a coordinator dies when {crashpoints.POINTS[p]}", "the next one ends as if undisturbed")
        for p in COORDINATOR
    ],
)
def test_a_coordinator_dies_at_a_named_point(ran, grown, point):
    words = [sys.executable, str(Path(__file__).with_name("committing.py")), str(ran)]
    environment = {**os.environ, crashpoints.VARIABLE: point}
    killed = subprocess.run(words, env=environment, check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    commit_everything(ran)
    same_science(grown, science(ran))
    found = campaign.audit(ran, hashed=True)
    assert found.sound, found.findings
    assert found.counts == {"completed": 15, "failed": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "reached"),
    [
        fault("attempt.linked", "slots die whenever a third product is in place and not reported",
              "the jobs run again, unblamed; the products are the same", 3),
        fault("journal.started", "workers die whenever they have begun a ninth job", "the jobs run again, unblamed", 9),
        fault("journal.ended", "workers die whenever a ninth job has ended and was not reported",
              "the ends are read from their journals", 9),
    ],
)  # fmt: skip
def test_slots_and_workers_die_at_a_named_point(scripted_yaml, tmp_path, point, reached):
    words = [sys.executable, "-m", "campaign.run", scripted_yaml(), "--plain", "--dashboard", "off"]
    environment = {**os.environ, crashpoints.VARIABLE: f"{point}:{reached}"}
    done = subprocess.run(words, env=environment, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    directory = tmp_path / "campaigns" / "v1.0_scripted"
    found = campaign.audit(directory, hashed=True)
    assert found.sound, found.findings
    assert found.counts == {"completed": 12}
    if point != "journal.ended":
        assert "slot.killed" in done.stderr or "job.interrupted" in done.stderr


@pytest.mark.fault("the directory can't be written", "refused with the path; nothing that was done is lost")
def test_a_directory_that_can_not_be_written_is_told(ran, run_again):
    before = science(ran)
    try:
        with faults.unwritable(ran):
            with pytest.raises(StorageError, match=r"can't be written(.|\n)*nothing that was done is lost"):
                run_again(ran, "science.realizations=8")
            assert campaign.audit(ran, hashed=True).sound
    except PermissionError:
        pytest.skip("making a directory unwritable for root needs a mount")
    same_science(before, science(ran))
    assert run_again(ran, "science.realizations=8").completed_now == 4


@pytest.mark.slow
@pytest.mark.fault(
    "coordinators, workers and slots die of SIGKILL all along, projections are damaged, jobs are poisoned and hang",
    "every job ends as it must, every cell is right, a reader never sees anything else",
)
def test_torture(tmp_path):
    report = Torture(
        tmp_path, realizations=20, redshifts=10, kills=4, poisoned=len(POISON), batch_size=20, peace_s=1.5
    ).run()
    assert report.clean, report.to_json()
    assert report.kills["coordinator"] >= 4
    assert report.at_points
    assert report.reads > 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        fault("raise", "a job raises", "tried again as often as allowed, then failed, alone", State.FAILED),
        fault("segfault", "a job crashes its slot every time", "failed after its retries, alone", State.FAILED),
        fault("exit", "a job calls `os._exit`", "failed after its retries, alone", State.FAILED),
        fault("kill", "a job's slot is killed every time", "failed after ten more attempts, alone", State.FAILED),
        fault("hang", "a job hangs", "ended at its time-out, tried again with more time, then timed out", State.TIMEOUT),
        fault("leak", "a job takes ever more memory", "ended at its limit, tried again with more, then failed", State.FAILED),
        fault("garbage", "a product is garbage", "thrown away, made again as often as allowed, then failed", State.FAILED),
        fault("no_product", "a product is not written", "tried again as often as allowed, then failed", State.FAILED),
        fault("nan", "a measurement is not finite", "completed; the value is missing in the dataset", State.COMPLETED),
        fault("fatal", "an input has values that are not finite", "failed at once: it would be the same again", State.FAILED),
        fault("missing_input", "an input vanishes while a campaign runs", "missing_input, until it is back", State.MISSING_INPUT),
        fault("slow", "a job takes longer than others", "waited for up to its time-out", State.COMPLETED),
    ],
)  # fmt: skip
def test_a_job_that_misbehaves_harms_no_other(misbehaved, outcome, state):
    names = list(OUTCOMES)
    statuses = misbehaved.status.to_numpy().reshape(-1)
    job = names.index(outcome)
    assert State(statuses[job]) is state
    assert (statuses[len(names) :] == State.COMPLETED).all(), "its neighbours"


OUTCOMES = (
    "raise", "segfault", "exit", "kill", "hang", "leak", "garbage", "no_product", "nan", "fatal", "missing_input", "slow",
)  # fmt: skip


@pytest.fixture(scope="session")
def misbehaved(tmp_path_factory):
    """The dataset of one campaign in which twelve jobs misbehave, each in its way, every time."""
    root = tmp_path_factory.mktemp("misbehaved")
    script = ", ".join(f"r{n:04d}/mock_z0.500: [{outcome}]" for n, outcome in enumerate(OUTCOMES))
    path = root / "scripted.yaml"
    path.write_text(f"""
campaign: {{name: misbehaved}}
science: {{realizations: 40, redshifts: [0.5]}}
generator: scripted
strategy: {{defaults: {{script: {{{script}}}}}}}
execution: {{batch_size: 5, max_retries: 1, retry_delay_s: 0.05, timeout_hours: 0.0006, max_failure_rate: 0.9}}
resources: {{slots: 2, memory_per_slot: 250 MiB}}
outputs: {{base_path: {root}/campaigns}}
""")
    words = [sys.executable, "-m", "campaign.run", path, "--plain", "--dashboard", "off"]
    environment = {**os.environ, "PYTHONPATH": str(PLUGINS)}
    done = subprocess.run(words, env=environment, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 4, done.stderr
    assert "30 completed" in done.stdout, done.stdout
    directory = Path(root / "campaigns" / "v1.0_misbehaved")
    assert campaign.audit(directory, hashed=True).sound
    return science(directory)
