"""Commit, recovery and the projections: whatever is lost or damaged, the truth in batches/ brings it back."""

import itertools
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from campaign.adapters.artifacts import ArtifactStore
from campaign.adapters.dataset import ZarrStore
from campaign.adapters.journal import JournalDirectory, JournalFile
from campaign.adapters.ledger import SqliteLedger
from campaign.attempt import run_attempt
from campaign.core.lifecycle import Row
from campaign.core.model import State
from campaign.gather import Gatherer
from campaign.generators import find
from campaign.plan import MissingInput

RUN_FACTS = ["attempt", "batch", "start_time", "duration", "node"]


class World:
    """A campaign's stores in a directory, opened again and again as after a crash."""

    def __init__(self, plan, root, clock):
        self.plan, self.root, self.clock = plan, root, clock
        self.generator = find("scripted")
        self.journals = JournalDirectory(root / "journal")
        self.ledger = None

    def open(self):
        if self.ledger is not None:
            self.ledger.close()
        artifacts = ArtifactStore(self.root)
        artifacts.prepare()
        self.artifacts = artifacts
        self.ledger = SqliteLedger(self.root / "campaign.db")
        store = ZarrStore(self.root / "results.zarr", self.plan.grid.axes, self.generator.variables({}), {})
        self.gatherer = Gatherer(self.plan, artifacts, self.ledger, store, dict)
        self.recovery = self.gatherer.recover(self.journals)
        return self.gatherer

    def record(self, job, attempt=1, batch=0, verdict=None):
        record = run_attempt(self.plan.task(job, attempt, batch), self.generator, self.root, self.clock)
        word = verdict or ("completed" if record.outcome == "completed" else "failed")
        return replace(record, verdict=word)

    def dataset(self):
        return xr.open_zarr(self.root / "results.zarr").load()


@pytest.fixture
def world(scripted_plan, tmp_path, clock):
    plan = scripted_plan(options="{script: {r0002/mock_z1.000: [raise]}}")
    world = World(plan, tmp_path / "campaign", clock)
    world.root.mkdir()
    yield world
    world.ledger.close()


def commit_everything(world, gatherer):
    for number, jobs in world.plan.batches():
        gatherer.commit([(number, [world.record(int(j), batch=number) for j in jobs])])
    gatherer.flush()


def same_science(one, other):
    xr.testing.assert_identical(one.drop_vars(RUN_FACTS), other.drop_vars(RUN_FACTS))


@pytest.fixture
def expected(world):
    """The dataset of the whole campaign, undisturbed."""
    commit_everything(world, world.open())
    return world.dataset()


def test_what_is_committed_is_in_the_dataset(expected):
    assert int((expected.status == State.COMPLETED).sum()) == 11
    assert expected.status.sel(realization=2, redshift=1.0).item() == State.FAILED
    assert expected.error_code.sel(realization=2, redshift=1.0).item() == "generator.raised"
    assert np.isnan(expected["mean"].sel(realization=2, redshift=1.0))
    assert expected.seed.dtype == np.int64
    assert expected.status.attrs["flag_meanings"].split()[3] == "completed"


def test_every_cell_holds_its_own_job(world, expected):
    for job in range(world.plan.size):
        point = world.plan.grid.point(job)
        cell = expected.sel(**point)
        assert cell.task_fingerprint.item() == world.plan.fingerprints[job].decode()
        if cell.status == State.COMPLETED:
            assert cell["count"].item() == world.plan.seeds[job] % 1000
            assert cell.spectrum.values.tolist() == [float((int(world.plan.seeds[job]) >> n) % 101) for n in range(4)]


@pytest.mark.parametrize("victims", [["campaign.db"], ["results.zarr"], ["campaign.db", "results.zarr"]])
def test_projections_are_rebuilt_from_the_batches(world, expected, victims):
    world.ledger.close()
    world.ledger = None
    for victim in victims:
        path = world.root / victim
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    gatherer = world.open()
    same_science(world.dataset(), expected)
    assert gatherer.table.row(world.plan.grid.where({"realization": [2], "redshift": [1.0]})[0]).state is State.FAILED
    assert world.recovery.adopted == (4 if "campaign.db" in victims else 0)


def test_gathering_twice_is_gathering_once(world, expected):
    gatherer = world.open()
    commit_everything(world, gatherer)
    same_science(world.dataset(), expected)
    assert world.artifacts.numbers() == [0, 1, 2, 3]


def test_a_damaged_chunk_is_refilled(world, expected):
    chunk = next(
        p for p in (world.root / "results.zarr" / "spectrum").rglob("*") if p.is_file() and p.parent.name != "spectrum"
    )
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 4
    chunk.write_bytes(data)
    gatherer = world.open()
    gatherer.commit([(gatherer.reserve(), [world.record(6, attempt=2, batch=9)])])
    gatherer.flush()
    same_science(world.dataset(), expected)


def test_a_damaged_batch_is_set_aside_and_its_jobs_run_again(world, expected):
    world.ledger.close()
    world.ledger = None
    (world.root / "campaign.db").unlink()
    path = world.artifacts.path(1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    gatherer = world.open()
    assert world.recovery.quarantined == 1
    assert int((gatherer.table.state == State.PENDING).sum()) == 3
    assert gatherer.next_number == 4


def test_staged_artifacts_of_a_killed_coordinator_are_adopted(world):
    gatherer = world.open()
    world.artifacts.seal(0, [world.record(0)], {})
    (world.artifacts.staging / f"batch_000005_{0:032x}.zip").write_bytes(b"PK torn")
    gatherer = world.open()
    assert (world.recovery.adopted, world.recovery.quarantined) == (1, 1)
    assert gatherer.table.row(0).state is State.COMPLETED
    assert world.dataset().status.values.reshape(-1)[0] == State.COMPLETED


def test_journals_of_killed_workers_are_settled(world):
    world.open()
    journal = JournalFile(world.journals.file("w0"))
    for job in (0, 1, 2):
        task = world.plan.task(job, 1, 0)
        journal.started([task], 1000)
        if job < 2:
            journal.ended([replace(world.record(job), verdict="")])
    journal.close()
    with world.journals.file("w0").open("ab") as file:
        file.write(b'{"end": {"job": 3, "na')  # torn by the kill
    gatherer = world.open()
    assert (world.recovery.settled, world.recovery.interrupted) == (2, 1)
    assert [gatherer.table.row(j).state for j in (0, 1, 2)] == [State.COMPLETED, State.COMPLETED, State.PENDING]
    assert replace(gatherer.table.row(2), batch=0) == Row(State.PENDING, 1, 0, 0, 1)
    assert list(world.journals.read()) == []
    world.open()
    assert (world.recovery.settled, world.recovery.interrupted) == (0, 0)


def test_journals_of_another_science_are_not_believed(world):
    world.open()
    journal = JournalFile(world.journals.file("w0"))
    journal.ended([replace(world.record(0), task_fingerprint="0" * 64)])
    journal.close()
    assert world.open().table.row(0).state is State.PENDING


def test_missing_input_is_a_state_that_ends_when_the_input_comes(world):
    gatherer = world.open()
    gatherer.mark_missing([MissingInput(3, "/no/input"), MissingInput(4, "/no/input", skipped_with=3)], 0)
    gatherer.flush()
    cell = world.dataset().sel(**world.plan.grid.point(4))
    assert (cell.status.item(), cell.error_code.item()) == (State.MISSING_INPUT, "input.missing")
    assert gatherer.mark_missing([MissingInput(3, "/no/input"), MissingInput(4, "/no/input")], 0) == 0
    gatherer.mark_missing([MissingInput(3, "/no/input")], 0)
    assert [gatherer.table.row(j).state for j in (3, 4)] == [State.MISSING_INPUT, State.PENDING]
    world.ledger.close()
    world.ledger = None
    (world.root / "campaign.db").unlink()
    rebuilt = world.open()
    assert [rebuilt.table.row(j).state for j in (3, 4)] == [State.MISSING_INPUT, State.PENDING]


def test_a_retry_survives_the_loss_of_the_ledger(world, expected):
    gatherer = world.open()
    failed = int(np.flatnonzero(gatherer.table.state == State.FAILED)[0])
    gatherer.requeue([failed], 0)
    assert gatherer.table.row(failed) == Row(State.PENDING, 1, 4, 0, 0)
    world.ledger.close()
    world.ledger = None
    (world.root / "campaign.db").unlink()
    assert world.open().table.row(failed) == Row(State.PENDING, 1, 4, 0, 0)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_of_commits_and_any_duplicate_gives_the_same_dataset(world, data, tmp_path_factory):
    other = World(world.plan, tmp_path_factory.mktemp("other"), world.clock)
    reference = World(world.plan, tmp_path_factory.mktemp("reference"), world.clock)
    world.ledger = world.ledger or _NoLedger()
    batches = [(n, jobs) for n, jobs in world.plan.batches()]
    order = data.draw(st.permutations(batches + batches[:2]))
    flushes = data.draw(st.lists(st.booleans(), min_size=len(order), max_size=len(order)))
    gatherer = other.open()
    for (number, jobs), flush in zip(order, flushes, strict=True):
        gatherer.commit([(number, [other.record(int(j), batch=number) for j in jobs])])
        if flush:
            gatherer.flush()
    gatherer.flush()
    commit_everything(reference, reference.open())
    same_science(other.dataset(), reference.dataset())
    other.ledger.close()
    reference.ledger.close()


class _NoLedger:
    def close(self):
        return


def commit_one_by_one(world, gatherer, committed):
    for number, jobs in world.plan.batches():
        gatherer.commit([(number, [world.record(int(j), batch=number) for j in jobs])])
        committed += jobs.tolist()
        gatherer.flush()


class Crash(BaseException):
    """A kill at a named point."""


POINTS = ["before seal", "after seal", "after promote", "after ledger", "payload written", "status written"]


@pytest.mark.parametrize(("point", "after"), list(itertools.product(POINTS, (0, 2))))
def test_a_crash_at_any_point_of_commit_and_flush_loses_nothing(
    world, monkeypatch, point, after, tmp_path_factory, clock
):
    undisturbed = World(world.plan, tmp_path_factory.mktemp("undisturbed"), clock)
    commit_everything(undisturbed, undisturbed.open())
    count = itertools.count()

    def crash_at(owner, name, *, early):
        real = getattr(owner, name)

        def crashing(*args, **keywords):
            mine = next(count) == after
            if early and mine:
                raise Crash(point)
            result = real(*args, **keywords)
            if mine:
                raise Crash(point)
            return result

        monkeypatch.setattr(owner, name, crashing)

    gatherer = world.open()
    with monkeypatch.context() as patch:
        monkeypatch = patch
        where = {
            "before seal": (ArtifactStore, "seal", True),
            "after seal": (ArtifactStore, "seal", False),
            "after promote": (ArtifactStore, "commit", False),
            "after ledger": (SqliteLedger, "record", False),
            "payload written": (ZarrStore, "_overlay", False),
            "status written": (ZarrStore, "write", False),
        }
        owner, name, early = where[point]
        crash_at(owner, name, early=early)
        committed = []
        with pytest.raises(Crash):
            commit_one_by_one(world, gatherer, committed)
    gatherer = world.open()
    assert all(gatherer.table.state[job] != State.PENDING for job in committed)
    for number, jobs in world.plan.batches(gatherer.table.state, gatherer.next_number):
        gatherer.commit([(number, [world.record(int(j), batch=number) for j in jobs])])
    gatherer.flush()
    same_science(world.dataset(), undisturbed.dataset())
    undisturbed.ledger.close()


def test_a_kill_while_the_dataset_is_rebuilt_leaves_no_hole(world, expected, monkeypatch):
    shutil.rmtree(world.root / "results.zarr")
    create = ZarrStore.create

    def killed(self):
        create(self)
        raise Crash("after create")

    with monkeypatch.context() as patch:
        patch.setattr(ZarrStore, "create", killed)
        with pytest.raises(Crash):
            world.open()
    world.open()
    same_science(world.dataset(), expected)


def test_a_batch_that_is_damaged_under_a_living_ledger_runs_again(world, expected):
    path = world.artifacts.path(1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    shutil.rmtree(world.root / "results.zarr")
    gatherer = world.open()
    pending = np.flatnonzero(gatherer.table.state == State.PENDING).tolist()
    assert len(pending) == 3
    assert not path.exists()
    assert world.open().next_number == 4
    gatherer = world.open()
    gatherer.commit([(gatherer.reserve(), [world.record(job, batch=9) for job in pending])])
    gatherer.flush()
    same_science(world.dataset(), expected)


def test_a_batch_that_vanishes_runs_again(world, expected):
    world.artifacts.path(2).unlink()
    gatherer = world.open()
    assert int((gatherer.table.state == State.PENDING).sum()) == 3
    assert int((world.dataset().status == State.PENDING).sum()) == 3


def test_a_dataset_without_a_variable_that_is_wanted_is_made_anew(world, expected):
    shutil.rmtree(world.root / "results.zarr" / "spectrum")
    world.open()
    same_science(world.dataset(), expected)


def test_input_that_goes_missing_after_an_attempt_is_a_state_as_well(world, expected):
    gatherer = world.open()
    job = int(np.flatnonzero(gatherer.table.state == State.FAILED)[0])
    gatherer.requeue([job], 0)
    gatherer.mark_missing([MissingInput(job, "/no/input")], 0)
    assert gatherer.table.row(job).state is State.MISSING_INPUT
    gatherer.mark_missing([], 0)
    assert gatherer.table.row(job).state is State.PENDING
    assert gatherer.table.row(job).attempt == 1


def test_recovery_keeps_a_bounded_number_of_records(world, expected, monkeypatch):
    monkeypatch.setattr("campaign.gather.SPEAKERS_KEPT", 2)
    world.ledger.close()
    world.ledger = None
    (world.root / "campaign.db").unlink()
    shutil.rmtree(world.root / "results.zarr")
    gatherer = world.open()
    assert gatherer._speakers == {}
    same_science(world.dataset(), expected)


def test_numbers_are_given_once_whatever_threads_do(world):
    gatherer = world.open()
    given = []

    def take():
        given.extend([gatherer.reserve() for _ in range(300)])

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(5):
        gatherer.commit([(number, [world.record(number, batch=number)])])
    for thread in threads:
        thread.join()
    assert len(set(given)) == 1200


@pytest.mark.parametrize("begun", [True, False])
def test_a_rebuild_that_is_killed_leaves_nothing_of_what_is_gone(world, expected, begun):
    """A batch is gone and the ledger was told to forget; then everything dies before the new dataset is shown."""
    gatherer = world.gatherer
    number = world.artifacts.numbers()[0]
    lost = [record.job for record in world.artifacts.read(number).records]
    world.artifacts.path(number).unlink()
    gatherer.forget()
    if not begun:
        world.ledger.close()
        world.ledger = None
        (world.root / "campaign.db").unlink()
    world.open()
    status = world.dataset().status.values.reshape(-1)
    assert (status[lost] == State.PENDING).all()
    assert np.isnan(world.dataset()["mean"].values.reshape(-1)[lost]).all()


def test_a_revoked_job_leaves_no_measurement_behind(world, expected):
    job = int(np.flatnonzero(world.gatherer.table.state == State.COMPLETED)[0])
    world.gatherer.revoke([job], 0, {job: "spoilt"})
    dataset = world.dataset()
    assert dataset.status.values.reshape(-1)[job] == State.PENDING
    assert np.isnan(dataset["mean"].values.reshape(-1)[job])
    assert dataset["product"].values.reshape(-1)[job] == ""
    live = dataset
    world.ledger.close()
    world.ledger = None
    (world.root / "campaign.db").unlink()
    world.open()
    xr.testing.assert_identical(live, world.dataset())
