"""Jobs that wait for others start once, when all of those have ended and enough have completed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from campaign.core.model import State
from campaign.core.staging import Gate, Gates

ENDS = [State.COMPLETED, State.FAILED, State.TIMEOUT, State.MISSING_INPUT, State.CANCELLED]


@given(st.data(), st.integers(1, 12))
def test_gates_open_as_their_definition_says(data, size):
    before = data.draw(st.lists(st.sampled_from([State.PENDING, *ENDS]), min_size=size, max_size=size))
    chosen = st.lists(st.integers(0, size - 1), unique=True, min_size=1)
    gates = [
        Gate(100 + n, np.array(inputs), data.draw(st.integers(0, len(inputs))))
        for n, inputs in enumerate(data.draw(st.lists(chosen, max_size=5)))
    ]
    states = np.array([int(state) for state in before], np.int8)
    bench = Gates(gates, states)
    order = data.draw(st.permutations([n for n in range(size) if states[n] == State.PENDING]))
    opened = bench.take()
    for job in order:
        states[job] = data.draw(st.sampled_from(ENDS))
        bench.ended(job, State(states[job]))
        assert bench.waiting == bool(bench._open)
        opened += bench.take()
    completed = states == State.COMPLETED
    assert sorted(opened) == [g.job for g in gates if completed[g.inputs].sum() >= g.at_least]
    assert not bench.waiting


def test_nothing_starts_before_its_inputs_have_ended():
    gates = Gates([Gate(9, np.array([0, 1]), 1)], np.zeros(2, np.int8))
    gates.ended(0, State.COMPLETED)
    assert gates.take() == []  # though one would be enough
    gates.ended(1, State.FAILED)
    assert gates.take() == [9]
    assert gates.take() == []
