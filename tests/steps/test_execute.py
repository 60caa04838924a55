"""The coordinator on a cluster without processes: retries, losses, duplicates, drains, full disks."""

import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest

from campaign.attempt import blank_record, run_attempt
from campaign.core.lifecycle import JobTable, Row
from campaign.core.model import Failure, Node, Order, Outcome, State
from campaign.core.staging import Gates, Waiting
from campaign.errors import StoppedError, StorageError
from campaign.execute import Execution
from campaign.generators import find
from campaign.ports import JobEnded, LeaseReturned, NodeLost
from campaign.testing.inline import InlineCluster


class Memory:
    """Keeps what is committed."""

    def __init__(self, table, fail_after=None):
        self.table, self.batches, self.flushes, self.fail_after = table, [], 0, fail_after

    def commit(self, batches):
        if self.fail_after is not None and len(self.batches) >= self.fail_after:
            raise OSError(28, "No space left on device")
        self.batches += batches
        for _, records in batches:
            for record in records:
                self.table.fold(record)

    def flush(self):
        self.flushes += 1

    @property
    def records(self):
        return [r for _, records in self.batches for r in records]


class Bench:
    """A run of the scripted generator, inline."""

    def __init__(self, plan, root, clock, **cluster):
        self.plan, self.clock = plan, clock
        self.table = JobTable.empty(plan.size)
        self.memory = Memory(self.table, cluster.pop("fail_after", None))
        self.left_s = cluster.pop("left_s", lambda: None)
        self.history = cluster.pop("history", ())
        run = cluster.pop("run", lambda task: run_attempt(task, find("scripted"), root, clock))
        self.cluster = InlineCluster(run, now_ms=clock.now_ms, **cluster)
        self.numbers = iter(range(1000))
        self.seen, self.heard = [], []
        self.execution = None
        self.orders = lambda: None
        self.gates = None

    def go(self, until=None):
        self.execution = Execution(
            self.plan,
            self.table,
            self.cluster,
            self.memory,
            self.cluster,
            self.clock,
            lambda: next(self.numbers),
            self.left_s,
            self.history,
            orders=self.orders,
            gates=self.gates,
        )
        self.until, self.execution.audience = until, self
        return asyncio.run(self.execution.run())

    def hear(self, event, **facts):
        self.heard.append((event, facts))

    def observe(self, progress):
        self.clock.seconds += 1.0  # time passes while the loop turns: delays of retries run out
        self.seen.append(progress)
        if self.until is not None and self.until(progress):
            self.execution.drain("test")


@pytest.fixture
def bench(scripted_plan, tmp_path, clock):
    def make(script="{}", plan=None, **cluster):
        return Bench(plan or scripted_plan(options=f"{{script: {script}}}"), tmp_path, clock, **cluster)

    return make


def tell_where(cluster):
    """Let a cluster say on which node it runs what it runs."""
    work = cluster._work

    def on_its_node(lease):
        cluster.where = lease.slot.nodes[0]
        yield from work(lease)

    cluster._work = on_its_node


def states(bench):
    return {State(s).word: int(n) for s, n in zip(*np.unique(bench.table.state, return_counts=True), strict=True)}


def test_every_job_runs_once_and_batches_are_whole(bench):
    it = bench()
    summary = it.go()
    assert (summary.completed, summary.ended, summary.drained) == (12, 12, False)
    assert states(it) == {"completed": 12}
    assert sorted(n for n, _ in it.memory.batches) == [0, 1, 2, 3]
    assert all(len(records) == 3 for _, records in it.memory.batches)
    assert it.memory.flushes >= 1


def test_failures_are_retried_as_often_as_allowed(bench):
    it = bench("{r0000/mock_z0.500: [raise, raise, ok], r0001/mock_z0.500: [raise], r0002/mock_z0.500: [fatal]}")
    summary = it.go()
    assert states(it) == {"completed": 10, "failed": 2}
    attempts = {
        name: [r.attempt for r in it.memory.records if r.name == name] for name in {r.name for r in it.memory.records}
    }
    assert attempts["r0000/mock_z0.500"] == [1, 2, 3]
    assert attempts["r0001/mock_z0.500"] == [1, 2, 3]
    assert attempts["r0002/mock_z0.500"] == [1]
    assert summary.ended == 12 + 2 + 2
    verdicts = [r.verdict for r in it.memory.records if r.name == "r0001/mock_z0.500"]
    assert verdicts == ["pending", "pending", "failed"]


def test_a_lost_worker_blames_only_the_job_that_was_begun(bench):
    it = bench(lose=[0, 2])
    it.go()
    assert states(it) == {"completed": 12}
    interrupted = [r for r in it.memory.records if r.outcome is Outcome.INTERRUPTED]
    assert len(interrupted) == 2
    assert all(not r.failure.blames_job for r in interrupted)
    assert len({(r.job, r.attempt) for r in it.memory.records}) == len(it.memory.records)


def test_a_worker_that_is_always_lost_does_not_run_for_ever(bench):
    it = bench(lose=range(10_000))
    it.go()
    assert states(it) == {"failed": 12}


def test_what_ends_twice_is_counted_once_and_told(bench):
    it = bench(repeat_ends=True)
    summary = it.go()
    assert summary.duplicates == 12
    assert len(it.memory.records) == 12


def test_a_drain_gives_back_what_was_not_begun(bench):
    it = bench()
    summary = it.go(until=lambda progress: progress.done_this_run >= 4)
    assert summary.drained
    assert summary.stopped_by == "test"
    done = len(it.memory.records)
    assert 4 <= done < 12
    assert states(it) == {"pending": 12 - done, "completed": done}


def test_what_a_drained_run_left_is_run_by_the_next(bench, tmp_path, clock):
    first = bench()
    first.go(until=lambda progress: progress.done_this_run >= 4)
    ran = {r.job for r in first.memory.records}
    second = Bench(first.plan, tmp_path, clock)
    second.table.state[:] = first.table.state
    second.table.attempt[:] = first.table.attempt
    second.go()
    assert {r.job for r in second.memory.records} == set(range(12)) - ran


def test_a_full_disk_stops_the_run_and_says_so(bench):
    it = bench(fail_after=0)
    with pytest.raises(StorageError, match="can't be committed"):
        it.go()
    assert it.memory.batches == []


def test_a_worker_that_can_not_write_stops_the_run(bench):
    def run(task):
        if task.job == 7:
            raise OSError(28, "No space left on device")
        return replace(blank_record(task, "1", 0), outcome=Outcome.COMPLETED)

    it = bench(run=run)
    with pytest.raises(StoppedError, match="No space left on device"):
        it.go()
    assert it.table.row(7).state is State.PENDING
    assert len(it.memory.records) < 12 + 1


def test_jobs_that_can_not_write_stop_the_run_and_stay_pending(bench):
    it = bench("{r0002/mock_z1.000: [full_disk]}")
    with pytest.raises(StoppedError, match=r"r0002/mock_z1\.000 could not write"):
        it.go()
    (full,) = [r for r in it.memory.records if r.failure is not None]
    assert (full.failure.code, full.verdict) == ("storage.full", "pending")
    assert "failed" not in states(it)


def test_progress_accounts_for_every_job_at_every_moment(bench):
    it = bench("{r0000/mock_z0.500: [raise, ok]}")
    it.go()
    assert all(sum(p.counts.values()) == p.total == 12 for p in it.seen)
    assert all(n >= 0 for p in it.seen for n in p.counts.values())
    assert it.seen[-1].counts[State.COMPLETED] == 12


def test_short_jobs_travel_in_leases_that_never_mix_batches(scripted_plan, tmp_path, clock):
    plan = scripted_plan(realizations="300", batch_size=100)
    sizes = []
    cluster_run = lambda task: replace(  # noqa: E731
        blank_record(task, "1", 0), outcome=Outcome.COMPLETED, duration_s=0.001
    )
    it = Bench(plan, tmp_path, clock, run=cluster_run)
    submit = it.cluster.submit

    def spy(leases):
        leases = list(leases)
        sizes.extend(len(lease.calls) for lease in leases)
        submit(leases)

    it.cluster.submit = spy
    it.go()
    assert sum(sizes) == 900
    assert max(sizes) > 20
    assert sizes[0] == 1


def test_infrastructure_has_a_budget_of_its_own(bench):
    outside = Failure("SIGKILL", "slot.killed", "killed", blames_job=False)

    def run(task):
        record = blank_record(task, "1", 0)
        if task.job == 5 and task.attempt <= 6:
            return replace(record, outcome=Outcome.INTERRUPTED, failure=outside)
        return replace(record, outcome=Outcome.COMPLETED)

    it = bench(run=run)
    it.go()
    assert states(it) == {"completed": 12}
    assert replace(it.table.row(5), batch=0) == Row(State.COMPLETED, 7, 0, 0, 6)


WIDE = "jobs: [{where: {redshift: [0.5, 1.0, 2.0]}, resources: {ranks_per_job: 4, nodes_per_job: 2}}]\n"


def quick(task):
    return replace(blank_record(task, "1", 0), outcome=Outcome.COMPLETED, duration_s=1.0)


def test_leases_of_a_lost_node_run_on_another(bench, scripted_plan):
    nodes = (Node("a", 1), Node("b", 1))
    it = bench(nodes=nodes, run=quick)
    lost = []

    def lose(progress):
        if progress.done_this_run >= 3 and not lost:
            lost.append(it.cluster.lose_node("a"))
        return False

    summary = it.go(until=lose)
    assert lost
    assert states(it) == {"completed": 12}
    assert summary.usage.total > 0
    assert it.seen[-1].nodes == 1


def test_slots_that_a_lost_node_was_part_of_are_abandoned(bench, scripted_plan):
    nodes = (Node("a", 2), Node("b", 2), Node("c", 2))
    it = bench(plan=scripted_plan("resources.slots=1", extra=WIDE), nodes=nodes, run=quick)

    def lose(progress):
        if progress.done_this_run == 1 and not it.cluster.abandoned:
            slot = it.execution._dispatcher.slots.slots()[0]
            it.cluster._events.append(NodeLost(slot.nodes[1]))
        return False

    it.go(until=lose)
    assert states(it) == {"completed": 12}
    assert all(slot.shape.nodes == 2 for slot in it.cluster.abandoned)


def test_a_run_that_no_node_can_serve_gives_up_and_says_what_it_needs(bench, scripted_plan):
    it = bench(plan=scripted_plan(extra=WIDE), nodes=(Node("a", 2),), run=quick)
    with pytest.raises(StoppedError, match=r"none of the 1 nodes that are left could hold a job: 4 rank\(s\)"):
        it.go()
    assert states(it) == {"pending": 12}


def test_at_the_end_of_an_allocation_the_run_drains_and_can_be_resumed(bench):
    it = bench(run=quick)
    end = it.clock.seconds + 40.0
    it.left_s = lambda: end - it.clock.seconds
    it.clock.seconds += 5
    it.history = [(job, 10.0) for job in range(12)]
    spent = it.cluster._run

    def work(task):
        it.clock.seconds += 10.0
        return replace(spent(task), duration_s=10.0)

    it.cluster._run = work
    summary = it.go()
    assert (summary.drained, summary.stopped_by) == (True, "walltime")
    assert 0 < summary.completed < 12
    assert summary.left == 12 - summary.completed
    assert it.clock.seconds <= end


def test_an_allocation_that_is_over_starts_nothing(bench):
    it = bench(run=quick, left_s=lambda: 5.0, history=[(0, 1.0)])
    summary = it.go()
    assert (summary.completed, summary.stopped_by) == (0, "walltime")


def test_nodes_for_which_nothing_is_left_are_given_back(bench, scripted_plan):
    nodes = tuple(Node(name, 1) for name in "abc")
    plan = scripted_plan("slurm.give_back=true", "resources.slots=auto", realizations="1")
    it = bench(plan=plan, nodes=nodes, run=quick)
    it.go()
    assert states(it) == {"completed": 3}
    assert len(set(it.cluster.released)) == 2
    assert {node.gone for node in it.execution.nodes() if node.name in it.cluster.released} <= {"", "given back"}


def test_a_time_out_teaches_only_where_no_job_ever_ended(bench):
    def run(task):
        record = blank_record(task, "1", 0)
        if task.point["redshift"] == 2.0 or (task.point["redshift"] == 1.0 and task.attempt == 1):
            late = Failure("TimeoutError", "job.timed_out", "late")
            return replace(record, outcome=Outcome.TIMEOUT, failure=late, duration_s=500.0)
        return replace(record, outcome=Outcome.COMPLETED, duration_s=1.0)

    it = bench(run=run)
    it.go()
    bounds = it.execution._dispatcher._durations.estimates([0, 1, 2])
    assert bounds[2].bound_s >= 500 > bounds[1].bound_s > 1


def test_what_overruns_into_the_last_seconds_is_stopped_and_committed(bench):
    it = bench(run=quick)
    end = it.clock.seconds + 100.0
    it.left_s = lambda: end - it.clock.seconds
    held = []
    work = it.cluster._work

    def never_ends(lease):
        held.append(lease)
        return iter(())

    it.cluster._work = never_ends

    def watch(progress):
        it.clock.seconds += 20
        if it.cluster.abandoned and held:
            late = Failure("SlotAbandoned", "job.interrupted", "the allocation ends", blames_job=False)
            for lease in held:
                for call in lease.calls:
                    record = replace(blank_record(call.task, "1", 0), outcome=Outcome.INTERRUPTED, failure=late)
                    it.cluster._events.append(JobEnded(record))
                it.cluster._events.append(LeaseReturned(lease.number, ()))
            held.clear()
        return False

    summary = it.go(until=watch)
    assert work
    assert summary.stopped_by == "walltime"
    assert {slot.number for slot in it.cluster.abandoned}
    assert {r.failure.message for r in it.memory.records} == {"the allocation ends"}
    assert states(it) == {"pending": 12}


@pytest.mark.fault("no slot comes up on one of several nodes", "the node is put aside")
def test_a_node_on_which_no_slot_comes_up_is_put_aside(bench, scripted_plan):
    cold = Failure("SlotUnready", "slot.unready", "no GPU", phase="warm_up", blames_job=False)

    def run(task):
        record = blank_record(task, "1", 0)
        if it.sick and it.cluster.where == "sick":
            return replace(record, outcome=Outcome.INTERRUPTED, failure=cold)
        return replace(record, outcome=Outcome.COMPLETED, duration_s=1.0)

    it = bench(plan=scripted_plan("resources.slots=auto"), nodes=(Node("sick", 1), Node("well", 1)), run=run)
    it.sick = True
    tell_where(it.cluster)
    it.go()
    assert states(it) == {"completed": 12}
    assert it.seen[-1].nodes == 1
    assert len([r for r in it.memory.records if r.failure is not None]) == 3


@pytest.mark.fault("jobs fail on one node and complete on others", "the node is put aside, the jobs complete elsewhere")
def test_a_node_on_which_jobs_fail_is_put_aside_and_their_jobs_complete_elsewhere(bench, scripted_plan):
    crash = Failure("SIGSEGV", "slot.crashed", "it crashed")

    def run(task):
        record = blank_record(task, "1", 0)
        if it.cluster.where == "sick":
            return replace(record, outcome=Outcome.FAILED, failure=crash)
        return replace(record, outcome=Outcome.COMPLETED, duration_s=1.0)

    plan = scripted_plan("resources.slots=auto", "execution.retry_delay_s=0", realizations="12")
    it = bench(plan=plan, nodes=(Node("sick", 1), Node("well", 1)), run=run)
    tell_where(it.cluster)
    it.go()
    assert states(it) == {"completed": 36}
    assert it.seen[-1].nodes == 1
    assert len([r for r in it.memory.records if r.failure is not None]) < 36


@pytest.mark.fault("every job fails", "the run stops after some twenty jobs")
def test_a_campaign_that_fails_everywhere_stops_early_and_says_so(bench, scripted_plan):
    plan = scripted_plan(realizations="40")

    def run(task):
        failure = Failure("ValueError", "generator.raised", "a wrong constant\nmore")
        return replace(blank_record(task, "1", 0), outcome=Outcome.FAILED, failure=failure)

    it = bench(plan=plan, run=run)
    with pytest.raises(StoppedError, match=r"20 of the latest 20 jobs failed.*a wrong constant"):
        it.go()
    assert len({r.job for r in it.memory.records}) < 30


def test_a_job_that_kills_its_slot_for_ever_fails_alone(bench):
    killed = Failure("SIGKILL", "slot.killed", "the slot process ended with SIGKILL", blames_job=False)
    good = lambda task: replace(blank_record(task, "1", 0), outcome=Outcome.COMPLETED, duration_s=1.0)  # noqa: E731

    def run(task):
        if task.job == 5:
            return replace(blank_record(task, "1", 0), outcome=Outcome.INTERRUPTED, failure=killed)
        return good(task)

    it = bench(run=run)
    it.go()
    assert states(it) == {"completed": 11, "failed": 1}
    assert len([r for r in it.memory.records if r.job == 5]) == 11
    assert all(len([r for r in it.memory.records if r.job == j]) == 1 for j in range(12) if j != 5)


def test_attempts_are_counted_across_restarts(bench, scripted_plan, tmp_path, clock):
    plan = scripted_plan(options="{script: {r0000/mock_z0.500: [raise]}}")
    it = bench(plan=plan)

    def first_failure(progress):
        return any(f["name"] == "r0000/mock_z0.500" for f in progress.failures)

    it.go(until=first_failure)
    for _ in range(3):
        again = Bench(plan, tmp_path, clock)
        again.table = again.memory.table = it.table
        again.go(until=first_failure)
    row = it.table.row(0)
    assert (row.state, row.failures, row.attempt) == (State.FAILED, 3, 3)


@pytest.mark.parametrize(("order", "stopped_by"), [(Order.STOP, "stop"), (Order.ABORT, "abort")])
def test_a_person_ends_a_run_from_anywhere(bench, order, stopped_by):
    it = bench()
    it.orders = lambda: order if it.seen and it.seen[-1].done_this_run >= 4 else None
    summary = it.go()
    assert summary.stopped_by == stopped_by
    assert 4 <= summary.completed < 12
    assert states(it) == {"pending": 12 - summary.completed, "completed": summary.completed}


def test_a_paused_run_starts_nothing_and_goes_on_when_it_is_told_to(bench):
    it = bench(history=[(job, 60.0) for job in range(12)] * 30)  # long jobs: one lease a slot
    held = []

    def orders():
        done = it.seen[-1].done_this_run if it.seen else 0
        if done < 4 or len(held) > 10:
            return Order.RESUME if held else None
        held.append(done)
        return Order.PAUSE

    it.orders = orders
    summary = it.go()
    assert summary.completed == 12
    assert len(held) > 10
    assert held[-1] - held[0] <= 4, "what was in flight, and no more"
    assert held[-1] == held[4]


def test_what_happens_is_heard(bench):
    run = bench("{r0000/mock_z0.500: [raise, ok]}")
    run.go()
    ended = [facts for event, facts in run.heard if event == "job_ended"]
    assert len(ended) == run.plan.size + 1
    (failed,) = [facts for facts in ended if facts["outcome"] == "failed"]
    assert (failed["state"], failed["class"]) == ("pending", "error")
    assert failed["retry_after_s"] > 0
    assert [event for event, _ in run.heard if event != "job_ended"] == ["node_joined"]


def gated(it, waits, inputs, at_least):
    """Let a job wait for others."""
    it.table.state[waits] = State.QUEUED
    it.gates = Gates([Waiting(np.array([waits]), np.array([inputs]), at_least)], it.table.state)


def test_a_job_that_waits_for_others_starts_when_they_are_in_the_dataset(bench):
    it = bench(run=quick)
    seen = {}

    def flush():
        seen[it.memory.flushes] = {record.job for record in it.memory.records}
        it.memory.flushes += 1

    it.memory.flush = flush
    begun = []
    it.cluster._run = lambda task: (begun.append((task.job, it.memory.flushes)), quick(task))[1]
    gated(it, 0, [3, 4, 5], 3)
    assert it.go().completed == 12
    flushes = dict(begun)[0]
    assert {3, 4, 5} <= seen[flushes - 1]
    assert states(it) == {"completed": 12}
    assert sorted(record.job for record in it.memory.records) == list(
        range(12)
    )  # each once, though batches were handed over early
    assert all(record.batch == number for number, records in it.memory.batches for record in records)


def test_a_run_may_drain_while_results_are_written(bench):
    it = bench(run=quick)
    gated(it, 0, [3, 4, 5], 3)

    def slow_flush():
        it.memory.flushes += 1
        if it.execution._passage.busy:
            it.execution.drain("test")
            time.sleep(0.5)  # the loop ends meanwhile, and with it whoever waits for this

    it.memory.flush = slow_flush
    summary = it.go()
    assert summary.drained
    assert {record.job for record in it.memory.records} >= {3, 4, 5}


def test_a_job_whose_inputs_fail_is_left(bench):
    it = bench(script="{r0001/mock_z0.500: [fatal]}")
    gated(it, 0, [3, 4], 2)
    summary = it.go()
    assert (summary.completed, summary.left) == (10, 0)
    assert State(it.execution.states()[0]) is State.QUEUED


def test_nothing_is_admitted_to_a_run_that_drains(bench):
    it = bench(run=quick)
    gated(it, 0, [11], 1)
    it.go(until=lambda progress: progress.done_this_run >= 3)
    assert State(it.execution.states()[0]) is State.QUEUED
