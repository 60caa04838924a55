"""When there are enough realizations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.core.enough import Sufficiency
from campaign.core.model import Enough


def test_so_many_at_every_point():
    known = Sufficiency(Enough(2), points=3)
    for job in (0, 1, 2, 3, 4):
        known.note(job, 1.0)
        assert not known.reached
    known.note(5, None)  # it completed without a value
    assert not known.reached
    known.note(8, 1.0)
    assert known.reached


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60), st.floats(0.001, 0.9), st.integers(2, 10))
def test_the_standard_error_of_the_mean_decides(values, tolerance, least):
    known = Sufficiency(Enough(least, "m", tolerance), points=1)
    for n, value in enumerate(values, 1):
        known.note(n - 1, value)
        seen = np.array(values[:n])
        error, mean = (seen.std(ddof=1) / np.sqrt(n), abs(seen.mean())) if n > 1 else (np.inf, 0.0)
        if abs(error - tolerance * mean) <= 1e-6 * max(error, np.abs(seen).max(), 1e-300):
            return  # too close to tell
        assert known.reached == (n >= least and error <= tolerance * mean)
        if known.reached:
            return


def test_what_was_enough_stays_so():
    known = Sufficiency(Enough(2, "m", 0.1), points=1)
    for value in (1.0, 1.0):
        known.note(0, value)
    assert known.reached
    known.note(0, 9.0)
    assert known.reached
    again = Sufficiency(Enough(2, "m", 0.1), points=1)
    for value in (1.0, 9.0, 1.0):
        again.note(0, value)
    assert not again.reached


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_missing_value_does_not_count(value):
    known = Sufficiency(Enough(2, "m", 0.1), points=1)
    for one in (1.0, value, 1.0):
        known.note(0, one)
    assert known.reached
