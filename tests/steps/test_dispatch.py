"""What starts next: order, shapes side by side, the end of an allocation, the tail of a campaign."""

import heapq
from dataclasses import replace

import pytest

from campaign.attempt import blank_record
from campaign.core.lifecycle import JobTable
from campaign.core.model import Node, Shape, State
from campaign.core.packing import LaunchRate
from campaign.core.walltime import Durations
from campaign.dispatch import AHEAD, Dispatcher

MIXED = """
jobs:
  - {where: {redshift: 0.5}, resources: {ranks_per_job: 4, nodes_per_job: 2}}
  - {where: {redshift: 1.0}, resources: {ranks_per_job: 2}}
"""


@pytest.fixture
def make(scripted_plan):
    def build(nodes=2, cpus=4, known=(), slots="auto", rate=1e9, **keywords):
        plan = scripted_plan(f"resources.slots={slots}", **keywords)
        dispatcher = Dispatcher(
            plan, JobTable.empty(plan.size), iter(range(10**6)).__next__, Durations(0.99), LaunchRate(rate, 1), known
        )
        for n in range(nodes):
            dispatcher.join(Node(f"n{n}", cpus))
        return dispatcher

    return build


def jobs_of(leases):
    return [call.task.job for lease in leases for call in lease.calls]


def simulate(dispatcher, seconds, left=None):
    """Run everything: (leases in the order of their start, [(begin, end, lease)])."""
    now, running, spans = 0.0, [], []
    while True:
        for lease in dispatcher.next_leases(now, None if left is None else left - now, 0):
            end = now + sum(seconds(call.task) for call in lease.calls)
            heapq.heappush(running, (end, lease.number, lease))
            spans.append((now, end, lease))
        if not running:
            return spans
        now, _, lease = heapq.heappop(running)
        dispatcher.slots.release(lease.slot.number)


def test_the_order_of_the_plan_is_kept(make):
    dispatcher = make(nodes=1, cpus=1, realizations="40")
    done = jobs_of([lease for _, _, lease in simulate(dispatcher, lambda _: 5.0)])
    assert done == dispatcher._plan.order.tolist()
    assert dispatcher.waiting == 0


def test_no_more_leases_than_slots(make):
    dispatcher = make()
    first = dispatcher.next_leases(0.0, None, 0)
    assert len(first) == 8
    assert len({lease.slot.number for lease in first}) == 8
    assert dispatcher.next_leases(1.0, None, 0) == []
    dispatcher.slots.release(first[3].slot.number)
    (again,) = dispatcher.next_leases(2.0, None, 0)
    assert again.slot == first[3].slot


def test_a_limit_on_slots_is_a_limit_on_leases(make):
    assert len(make(slots=3).next_leases(0.0, None, 0)) == 3


def test_shapes_run_side_by_side_and_all_are_served(make):
    dispatcher = make(realizations="30", extra=MIXED)
    spans = simulate(dispatcher, lambda task: 10.0 + task.job % 3)
    assert len(jobs_of([lease for _, _, lease in spans])) == 90
    for begin, _, _ in spans:
        for node in ("n0", "n1"):
            used = sum(
                lease.slot.shape.cpus_per_node for b, e, lease in spans if b <= begin < e and node in lease.slot.nodes
            )
            assert used <= 4
    wide = [n for n, (_, _, lease) in enumerate(spans) if lease.slot.shape.nodes == 2]
    assert wide[0] < 30, "the widest shape waited for the end"
    cpu_time = sum((e - b) * lease.slot.shape.cpus_per_node * lease.slot.shape.nodes for b, e, lease in spans)
    assert cpu_time / (8 * max(e for _, e, _ in spans)) > 0.9


def test_launches_of_ranks_are_rate_limited(make):
    dispatcher = make(
        realizations="30",
        extra="jobs: [{where: {redshift: [0.5, 1.0, 2.0]}, resources: {ranks_per_job: 2}}]\n",
        rate=1.0,
    )
    assert len(dispatcher.next_leases(0.0, None, 0)) == 1
    assert len(dispatcher.next_leases(0.1, None, 0)) == 0
    assert len(dispatcher.next_leases(1.1, None, 0)) == 1


def seconds_of(task):
    return {0.5: 100.0, 1.0: 40.0, 2.0: 10.0}[task.point["redshift"]]


def known(plan_size=90):
    return [(job, [100.0, 40.0, 10.0][job % 3]) for job in range(plan_size)]


def test_what_would_not_end_in_time_is_not_started_and_shorter_jobs_are(make):
    dispatcher = make(nodes=1, cpus=2, realizations="30", known=known())
    spans = simulate(dispatcher, seconds_of, left=250.0)
    assert all(end <= 250 for _, end, _ in spans)
    assert dispatcher.nothing_fits(5.0)
    assert not dispatcher.nothing_fits(150.0)
    busy = sum(end - begin for begin, end, _ in spans)
    assert busy / (2 * 250) > 0.9


def test_with_nothing_known_jobs_start(make):
    dispatcher = make(realizations="30")
    assert not dispatcher.nothing_fits(1.0)
    assert dispatcher.next_leases(0.0, 1.0, 0)


def test_a_lease_says_until_when_its_jobs_may_begin(make):
    dispatcher = make(nodes=1, cpus=1, realizations="30", known=known())
    (lease,) = dispatcher.next_leases(0.0, 1000.0, 5_000_000)
    kind = seconds_of(lease.calls[0].task)
    assert 5_000_000 + 1000 * (1000 - 1.1 * kind) < lease.starts_until_ms < 5_000_000 + 1000 * (1000 - kind)


def test_at_the_end_of_a_campaign_the_longest_jobs_start_first(make):
    dispatcher = make(nodes=1, cpus=4, realizations="2", known=known(6))
    spans = simulate(dispatcher, seconds_of)
    assert [seconds_of(lease.calls[0].task) for _, _, lease in spans] == [100, 100, 40, 40, 10, 10]


def test_jobs_come_back_to_the_front_and_retries_share_a_batch(make):
    dispatcher = make(nodes=1, cpus=1, realizations="30", batch_size=3)
    (lease,) = dispatcher.next_leases(0.0, None, 0)
    task = lease.calls[0].task
    dispatcher.slots.release(lease.slot.number)
    dispatcher.put_back(task.batch, [task.job])
    (again,) = dispatcher.next_leases(0.0, None, 0)
    assert (again.calls[0].task.job, again.calls[0].task.batch) == (task.job, task.batch)
    for job in (5, 6):
        dispatcher.retry(job, 10.0)
    assert dispatcher.retries == 2
    dispatcher.slots.release(again.slot.number)
    dispatcher.next_leases(20.0, None, 0)
    assert dispatcher.retries == 0
    assert {5, 6} in [batch.waiting for batch in dispatcher.open.values()]


def test_a_batch_is_complete_when_each_of_its_jobs_had_its_attempt(make):
    dispatcher = make(nodes=1, cpus=1, batch_size=3)
    (lease,) = dispatcher.next_leases(0.0, None, 0)
    plan, number = dispatcher._plan, lease.calls[0].task.batch
    waiting = sorted(dispatcher.open[number].waiting)
    assert len(waiting) == 3
    ends = [dispatcher.ended(blank_record(plan.task(job, 1, number), "1", 0)) for job in waiting]
    assert ends[:2] == [None, None]
    assert sorted(record.job for record in ends[2]) == waiting
    assert number not in dispatcher.open


def test_a_lost_node_takes_its_slots_and_what_can_no_longer_be_placed_is_named(make):
    dispatcher = make(
        extra="jobs: [{where: {redshift: [0.5, 1.0, 2.0]}, resources: {ranks_per_job: 4, nodes_per_job: 2}}]\n"
    )
    first = dispatcher.next_leases(0.0, None, 0)
    assert len(first) == 1 or len(first) == 2
    assert dispatcher.unplaceable() is None
    lost = dispatcher.leave("n1")
    assert {slot.number for slot in lost} == {lease.slot.number for lease in first}
    assert dispatcher.unplaceable() == Shape(ranks=4, nodes=2)
    dispatcher.join(Node("n2", 4))
    assert dispatcher.unplaceable() is None


def test_only_a_few_batches_are_open_ahead(make):
    dispatcher = make(realizations="300", batch_size=10)
    dispatcher.next_leases(0.0, None, 0)
    assert sum(len(batch.waiting) for batch in dispatcher.open.values()) <= AHEAD + 10 + 8


def test_terminal_jobs_are_left_alone(scripted_plan):
    plan = scripted_plan("resources.slots=auto")
    table = JobTable.empty(plan.size)
    table.state[::2] = State.COMPLETED
    dispatcher = Dispatcher(plan, table, iter(range(9)).__next__, Durations(0.99), LaunchRate(1, 1))
    dispatcher.join(Node("n", 12))
    assert set(jobs_of(dispatcher.next_leases(0.0, None, 0))) == set(range(1, 12, 2))


def test_nodes_are_not_kept_for_what_would_no_longer_end_in_time(make):
    extra = "jobs: [{where: {redshift: 0.5}, resources: {ranks_per_job: 8, nodes_per_job: 2}}]\n"
    dispatcher = make(realizations="30", known=known(), extra=extra)
    dispatcher.slots.reserve(Shape(ranks=8, nodes=2), 0.0)
    assert dispatcher.slots.reserved is not None
    leases = dispatcher.next_leases(10.0, 60.0, 0)  # the wide ones take 100 s
    assert dispatcher.slots.reserved is None
    assert len(leases) == 8


def test_jobs_share_a_lease_only_with_those_that_take_about_as_long(make):
    short = [(job, [600.0, 0.1, 0.12][job % 3]) for job in range(90)]
    dispatcher = make(nodes=1, cpus=1, realizations="30", known=short, batch_size=90)
    seen = []
    for _, _, lease in simulate(dispatcher, lambda task: [600.0, 0.1, 0.12][task.job % 3]):
        seen.append({call.task.job % 3 for call in lease.calls})
    assert all(kinds == {0} or 0 not in kinds for kinds in seen)
    assert {1, 2} in seen


def test_a_short_job_starts_where_a_long_one_would_not_fit_any_more(make):
    short = [(job, [600.0, 0.1, 0.1][job % 3]) for job in range(90)]
    dispatcher = make(nodes=1, cpus=1, realizations="30", known=short)
    (lease,) = dispatcher.next_leases(0.0, 300.0, 1_000_000)
    assert all(call.task.job % 3 for call in lease.calls)
    assert lease.starts_until_ms > 1_000_000 + 290_000


def test_no_slot_is_made_that_would_not_be_ready_in_time(make):
    dispatcher = make(nodes=1, cpus=2, realizations="30", known=known())
    dispatcher.note_start(Shape(), 30.0)
    assert dispatcher.next_leases(0.0, 35.0, 0) == []
    assert dispatcher.next_leases(0.0, 45.0, 0)


def test_nodes_whose_own_allocation_ends_take_only_what_ends_before(make):
    dispatcher = make(nodes=0, realizations="30", known=known())
    dispatcher.join(Node("ends", 1, ends_ms=1_000_000 + 50_000))
    dispatcher.join(Node("stays", 1, ends_ms=1_000_000 + 500_000))
    leases = {lease.slot.nodes[0]: lease for lease in dispatcher.next_leases(0.0, None, 1_000_000)}
    assert "stays" in leases
    for lease in leases.values():
        assert lease.starts_until_ms is not None
    if "ends" in leases:
        assert seconds_of(leases["ends"].calls[0].task) < 50


def test_a_job_that_ran_out_of_memory_gets_a_larger_slot_as_far_as_the_node_has_it(scripted_plan):
    plan = scripted_plan("resources.memory_per_slot=1 GiB", realizations="1", redshifts="[0.5]")
    table = JobTable.empty(1)
    table.memory_failures[0] = 1  # in an earlier run
    dispatcher = Dispatcher(plan, table, iter(range(100)).__next__, Durations(0.99), LaunchRate(1e9, 1))
    assert dispatcher.next_leases(0.0, None, 0) == []
    dispatcher.join(Node("n0", 4, memory_bytes=3 * 2**30))
    sizes = []
    for _ in range(4):
        (lease,) = dispatcher.next_leases(100.0, None, 0)
        sizes.append(lease.slot.shape.memory_bytes / 2**30)
        dispatcher.slots.release(lease.slot.number)
        table.memory_failures[0] += 1
        dispatcher.retry(0, 0.0)
    assert sizes == [1.5, 2.25, 3.0, 3.0]


def test_a_job_that_ran_out_of_time_gets_more_also_after_a_restart(make):
    dispatcher = make(nodes=1, realizations="1")
    dispatcher._table.timeouts[:] = [0, 1, 2]
    given = {c.task.job: c.task.timeout_s for lease in dispatcher.next_leases(0.0, None, 0) for c in lease.calls}
    assert given == {0: 36.0, 1: 54.0, 2: 81.0}


def test_a_job_goes_to_another_node_if_there_is_one(make):
    dispatcher = make(nodes=2, cpus=1, realizations="1")
    first = dispatcher.next_leases(0.0, None, 0)
    bad = first[0]
    job = bad.calls[0].task.job
    for lease in first:
        dispatcher.slots.release(lease.slot.number)
    dispatcher.retry(job, 0.0, bad.slot.nodes)
    again = [lease for lease in dispatcher.next_leases(50.0, None, 0) if lease.calls[0].task.job == job]
    (slot,) = [lease.slot for lease in again] or [None]
    assert slot is not None
    assert slot.nodes != bad.slot.nodes


def test_a_job_that_failed_on_every_node_goes_anywhere(make):
    dispatcher = make(nodes=2, cpus=1, realizations="1", redshifts="[0.5]")
    (lease,) = dispatcher.next_leases(0.0, None, 0)
    dispatcher.slots.release(lease.slot.number)
    dispatcher.retry(0, 0.0, ("n0", "n1"))
    assert len(dispatcher.next_leases(50.0, None, 0)) == 1


def test_nobody_waits_behind_a_job_that_avoids_the_free_node(make):
    dispatcher = make(nodes=2, cpus=1, realizations="4")
    first = dispatcher.next_leases(0.0, None, 0)
    bad, other = first
    dispatcher.slots.release(bad.slot.number)
    dispatcher.retry(bad.calls[0].task.job, 0.0, bad.slot.nodes)
    (lease,) = dispatcher.next_leases(50.0, None, 0)
    assert lease.slot.nodes == bad.slot.nodes
    assert lease.calls[0].task.job != bad.calls[0].task.job
    assert other.slot.nodes != bad.slot.nodes


def test_a_job_does_not_wait_for_nodes_that_could_not_hold_it(make):
    dispatcher = make(nodes=3, cpus=1, realizations="1", redshifts="[0.5]", extra="")
    wide = Shape(ranks=2, nodes=2)
    dispatcher._shapes[:] = [wide]
    (lease,) = dispatcher.next_leases(0.0, None, 0)
    dispatcher.slots.release(lease.slot.number)
    dispatcher.retry(0, 0.0, lease.slot.nodes)
    assert len(dispatcher.next_leases(50.0, None, 0)) == 1, "one node is left, and it takes two"


def test_a_slot_with_stages_holds_a_lease_for_each_as_long_as_there_are_enough(scripted_plan):
    plan = scripted_plan("resources.slots=auto", realizations="4")
    staged = replace(plan, staged=True)
    dispatcher = Dispatcher(
        staged,
        JobTable.empty(plan.size),
        iter(range(10**6)).__next__,
        Durations(0.99),
        LaunchRate(1e9, 1),
        [(0, 100.0)],
    )
    dispatcher.join(Node("n0", 2))
    leases = dispatcher.next_leases(0.0, None, 0)
    assert sorted(lease.slot.number for lease in leases) == [1, 1, 1, 2, 2, 2]
    flying, done = leases, []
    while flying:
        lease = flying.pop(0)
        done += jobs_of([lease])
        dispatcher.slots.release(lease.slot.number)
        flying += dispatcher.next_leases(0.0, None, 0)
        if dispatcher.waiting < 2:
            held = [sum(lease.slot.number == number for lease in flying) for number in (1, 2)]
            assert max(held) - min(held) <= 1, "the last jobs are not behind one another"
    assert sorted(done) == list(range(plan.size))
