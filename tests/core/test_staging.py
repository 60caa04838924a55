"""Jobs that wait for others start once, when all of those have ended and enough have completed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from campaign.core.model import State
from campaign.core.staging import Gates, Waiting

ENDS = [State.COMPLETED, State.FAILED, State.TIMEOUT, State.MISSING_INPUT, State.CANCELLED]


@given(st.data(), st.integers(1, 12))
def test_gates_open_as_their_definition_says(data, size):
    states = np.array(data.draw(st.lists(st.sampled_from([0, *map(int, ENDS)]), min_size=size, max_size=size)), np.int8)
    blocks, first = [], 100
    for width in data.draw(st.lists(st.integers(1, size), max_size=3)):
        chosen = st.lists(st.integers(0, size - 1), unique=True, min_size=width, max_size=width)
        rows = data.draw(st.lists(chosen, min_size=1, max_size=3))
        blocks.append(Waiting(np.arange(first, first + len(rows)), np.array(rows), data.draw(st.integers(0, width))))
        first += len(rows)
    bench = Gates(blocks, states)
    opened = bench.take()
    for job in data.draw(st.permutations(np.flatnonzero(states == State.PENDING).tolist())):
        states[job] = data.draw(st.sampled_from(ENDS))
        bench.ended(job, State(states[job]))
        opened += bench.take()
    completed = states == State.COMPLETED
    expected = [
        int(job) for block in blocks for job, row in zip(block.jobs, block.inputs, strict=True)
        if completed[row].sum() >= block.at_least
    ]  # fmt: skip
    assert sorted(opened) == expected
    assert bench.closed == 0
    assert not bench.waiting


def test_nothing_starts_before_its_inputs_have_ended():
    gates = Gates([Waiting(np.array([9]), np.array([[0, 1]]), 1)], np.zeros(2, np.int8))
    gates.ended(0, State.COMPLETED)
    assert gates.take() == []  # though one would be enough
    gates.ended(1, State.FAILED)
    assert gates.waiting
    assert gates.take() == [9]
    assert gates.take() == []


def test_where_nobody_waits_nobody_starts():
    gates = Gates((), np.zeros(3, np.int8))
    gates.ended(1, State.COMPLETED)
    assert not gates.waiting
