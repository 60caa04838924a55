"""Slots: never more than there is, warm ones first, nobody starves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from campaign.core.model import Node, Shape
from campaign.core.packing import LaunchRate, SlotTable, capacity, widened

FOUR = [Node(f"n{i:02d}", 4, 2, 8 * 2**30, "7") for i in (1, 2, 10)] + [Node("n11", 2, 0, 2 * 2**30, "7")]
SHAPES = [
    Shape(), Shape(threads=2), Shape(ranks=4), Shape(ranks=2, nodes=2), Shape(ranks=6, nodes=3, threads=2),
    Shape(ranks=2, gpus_per_rank=1), Shape(memory_bytes=3 * 2**30), Shape(ranks=3, nodes=3, warm=False),
]  # fmt: skip


def table(nodes=FOUR, limit=None):
    slots = SlotTable(limit)
    for node in nodes:
        slots.join(node)
    return slots


class Allocation(RuleBasedStateMachine):
    """Place, release, lose and bring back: what every node holds is there, once."""

    def __init__(self):
        super().__init__()
        self.table, self.leases, self.now = table(), [], 0.0
        self.alive = {}

    @rule(shape=st.sampled_from(SHAPES), length=st.floats(0, 100), depth=st.integers(1, 2), make=st.booleans())
    def place(self, shape, length, depth, make):
        placed = self.table.place(shape, self.now, self.now + length, depth=depth, may_make=make)
        if placed is None:
            return
        assert make or not placed.fresh
        for slot in placed.evicted:
            assert slot.number not in self.leases, "an evicted slot was busy"
            del self.alive[slot.number]
        assert placed.fresh == (placed.slot.number not in self.alive)
        self.alive[placed.slot.number] = placed.slot
        self.leases.append(placed.slot.number)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data):
        number = data.draw(st.sampled_from(self.leases))
        self.leases.remove(number)
        self.table.release(number)
        if number not in self.leases and not self.alive[number].shape.warm:
            del self.alive[number]

    @rule(name=st.sampled_from([n.name for n in FOUR]))
    def lose_and_bring_back(self, name):
        lost = self.table.leave(name)
        assert all(name in slot.nodes for slot in lost)
        for slot in lost:
            del self.alive[slot.number]
            self.leases = [number for number in self.leases if number != slot.number]
        self.table.join(next(n for n in FOUR if n.name == name))

    @rule(shape=st.sampled_from(SHAPES))
    def reserve(self, shape):
        self.table.reserve(shape, self.now)

    @invariant()
    def nothing_is_given_twice(self):
        assert {slot.number for slot in self.table.slots()} == set(self.alive)
        assert self.table.busy == len(set(self.leases))
        for node in FOUR:
            here = [(s, s.nodes.index(node.name)) for s in self.alive.values() if node.name in s.nodes]
            cpus = [cpu for slot, n in here for cpu in slot.cpus[n]]
            gpus = [gpu for slot, n in here for gpu in slot.gpus[n]]
            assert len(cpus) == len(set(cpus))
            assert set(cpus) <= set(range(node.cpus))
            assert len(gpus) == len(set(gpus))
            assert set(gpus) <= set(range(node.gpus))
            assert sum(slot.shape.memory_per_node for slot, _ in here) <= node.memory_bytes

    @invariant()
    def every_slot_has_its_shape(self):
        for slot in self.alive.values():
            assert len(set(slot.nodes)) == slot.shape.nodes == len(slot.cpus) == len(slot.gpus)
            assert all(len(cpus) == slot.shape.cpus_per_node for cpus in slot.cpus)
            assert all(len(gpus) == slot.shape.gpus_per_node for gpus in slot.gpus)


TestAllocation = Allocation.TestCase
TestAllocation.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2))
def test_capacity_is_what_can_be_placed(cpus, per_node, width, threads):
    nodes = [Node(f"n{i}", count) for i, count in enumerate(cpus) if count]
    shape = Shape(ranks=per_node * width, nodes=width, threads=threads)
    slots, placed = table(nodes), 0
    while slots.place(shape, 0, 0) is not None:
        placed += 1
    # The greedy choice of nodes may end with fewer; never with more, and with as many where a slot is one node's.
    assert placed <= capacity(shape, nodes) == slots.capacity(shape)
    assert width > 1 or placed == capacity(shape, nodes)


def test_slots_of_one_job_never_span_two_allocations():
    nodes = [Node("a1", 4, allocation="1"), Node("b1", 4, allocation="2")]
    assert capacity(Shape(ranks=2, nodes=2), nodes) == 0
    assert table(nodes).place(Shape(ranks=2, nodes=2), 0, 0) is None
    assert capacity(Shape(ranks=2), nodes) == 4


def test_a_warm_slot_comes_before_a_new_one():
    slots = table()
    first = slots.place(Shape(ranks=2), 0, 1)
    slots.release(first.slot.number)
    again = slots.place(Shape(ranks=2), 2, 3)
    assert (again.slot, again.fresh, again.evicted) == (first.slot, False, ())


def test_idle_slots_of_other_shapes_make_room_and_no_more_than_needed():
    slots = table([Node("n1", 4)])
    held = [slots.place(Shape(), 0, 1).slot for _ in range(4)]
    for slot in held[:3]:
        slots.release(slot.number)
    placed = slots.place(Shape(ranks=2), 1, 2)
    assert len(placed.evicted) == 2
    assert set(placed.evicted) < set(held[:3])
    assert slots.place(Shape(ranks=2), 1, 2) is None


def test_the_limit_counts_busy_slots():
    slots = table(limit=2)
    assert slots.place(Shape(), 0, 1)
    assert slots.place(Shape(ranks=2), 0, 1)
    assert slots.place(Shape(), 0, 1) is None
    assert slots.capacity(Shape()) == 2


def test_kept_nodes_take_what_ends_in_time_and_nothing_else():
    slots = table([Node("n1", 4), Node("n2", 4)])
    running = slots.place(Shape(ranks=4), 0, 50)
    wide = Shape(ranks=8, nodes=2)
    assert slots.place(wide, 0, 100) is None
    slots.reserve(wide, 0)
    assert slots.place(Shape(), 1, 60) is None
    assert slots.place(Shape(threads=4), 1, 49) is not None
    slots.release(running.slot.number)
    assert slots.place(wide, 50, 150) is None  # the short one is still there
    slots.release(2)
    placed = slots.place(wide, 50, 150)
    assert placed.slot.nodes == ("n1", "n2")
    assert {slot.number for slot in placed.evicted} == {1, 2}


def test_ranks_are_ordered_as_the_batch_system_orders_nodes():
    assert table().place(Shape(ranks=3, nodes=3), 0, 0).slot.nodes in (("n01", "n02", "n10"), ("n01", "n02", "n11"))
    assert table().place(Shape(ranks=4, nodes=4), 0, 0).slot.nodes == ("n01", "n02", "n10", "n11")


def test_launches_are_bounded_in_every_second():
    rate, started = LaunchRate(4.0, 2), []
    for tick in range(400):
        if rate.allows(tick / 100):
            rate.take()
            started.append(tick / 100)
    assert started[:2] == [0.0, 0.0 + 0.01]
    for begin in started:
        assert sum(begin <= at < begin + 1 for at in started) <= 2 + 4
    assert len(started) == pytest.approx(2 + 16, abs=1)


def test_a_person_may_ask_for_more_slots_than_a_laptop_has_cores():
    node = widened(Node("laptop", 2), Shape(threads=2), 3)
    assert (node.cpus, capacity(Shape(threads=2), [node])) == (6, 3)
    assert widened(Node("big", 64), Shape(), 3).cpus == 64


def test_a_limit_of_memory_on_a_node_where_nobody_counts_it_takes_no_room():
    assert capacity(Shape(memory_bytes=2**30), [Node("laptop", 3)]) == 3
