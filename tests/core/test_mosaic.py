"""The states of a campaign as a picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.core.model import State
from campaign.core.mosaic import mosaic


@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=3),
    st.integers(1, 9),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_every_job_is_in_one_tile(shape, height, width, random):
    states = np.array([random.randrange(len(State)) for _ in range(int(np.prod(shape)))], dtype=np.int8)
    axes = (0, len(shape) - 1 if len(shape) > 1 else None)
    picture = mosaic(states, shape, axes, height, width)
    assert picture.counts.sum() == states.size
    assert picture.counts.sum(axis=(1, 2)).tolist() == np.bincount(states, minlength=len(State)).tolist()
    assert len(picture.rows) <= height
    assert len(picture.columns) <= max(width, 1)
    assert [place for row in picture.rows for place in row] == list(range(shape[0]))
    grid = states.reshape(shape)
    for n, row in enumerate(picture.rows):
        for m, column in enumerate(picture.columns):
            part = grid[row.start : row.stop]
            part = part if axes[1] is None else part[..., column.start : column.stop]
            assert picture.counts[:, n, m].tolist() == np.bincount(part.reshape(-1), minlength=len(State)).tolist()


def test_one_failure_shows_among_a_thousand():
    states = np.full(10_000, State.COMPLETED, np.int8)
    states[1234] = State.TIMEOUT
    states[1235] = State.FAILED
    shown = mosaic(states, (100, 100), (0, 1), 5, 5).shown
    assert (shown == State.FAILED).sum() == 1
    assert (shown == State.COMPLETED).sum() == 24


@pytest.mark.parametrize("jobs", [1_000_000])
def test_a_million_jobs_fit(jobs):
    states = np.zeros(jobs, np.int8)
    assert mosaic(states, (50_000, 20), (0, 1), 40, 20).counts[State.PENDING].sum() == jobs


def test_a_window_shows_single_jobs_again():
    states = np.full((2000, 20), State.COMPLETED, np.int8)
    states[1500, 7] = State.FAILED
    whole = mosaic(states.reshape(-1), (2000, 20), (1, 0), 20, 100)
    assert whole.shown.shape == (20, 100)
    assert whole.shown[7, 75] == State.FAILED
    part = mosaic(states.reshape(-1), (2000, 20), (1, 0), 20, 100, (range(5, 10), range(1450, 1550)))
    assert part.columns == tuple(range(n, n + 1) for n in range(1450, 1550))
    assert np.argwhere(part.shown == State.FAILED).tolist() == [[2, 50]]
