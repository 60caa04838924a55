"""Ladders and ensembles whose answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.analyse.convergence import analyse
from campaign.analyse.ensemble import settling, statistics


@given(st.floats(0.5, 6), st.floats(-5, 5), st.floats(0.1, 3), st.sampled_from([1.5, 2.0, 3.0]))
def test_the_order_of_a_pure_power_is_found(order, exact, factor, ratio):
    sizes = [1.0 / ratio**n for n in range(4)]
    found = analyse(sizes, [exact + factor * size**order for size in sizes]).best
    assert found.behaviour == "monotone"
    assert found.order == pytest.approx(order, rel=1e-4)
    assert found.extrapolated == pytest.approx(exact, abs=1e-6 + 1e-5 * abs(exact))


@given(st.floats(0.8, 4), st.floats(1.2, 3), st.floats(1.2, 3))
def test_ratios_may_differ(order, one, other):
    sizes = [1.0, 1 / one, 1 / (one * other)]
    values = [2 + size**order for size in sizes]
    assert analyse(sizes, values).best.order == pytest.approx(order, rel=1e-3)


def test_levels_may_come_in_any_order():
    sizes, values = [0.25, 1.0, 0.5], [1.0625, 2.0, 1.25]
    assert [level.size for level in analyse(sizes, values).levels] == [1.0, 0.5, 0.25]
    assert analyse(sizes, values).best.order == pytest.approx(2)


def test_a_published_example():
    """Roache's example in the tutorial of NASA's NPARC Alliance: pressure recovery on three grids."""
    found = analyse([1, 2, 4], [0.97050, 0.96854, 0.96178]).best
    assert found.order == pytest.approx(1.786, abs=1e-3)
    assert found.extrapolated == pytest.approx(0.97130, abs=1e-5)
    assert 100 * found.gci_fine == pytest.approx(0.103, abs=1e-3)
    assert 100 * found.gci_coarse == pytest.approx(0.356, abs=1e-3)
    assert found.asymptotic == pytest.approx(1.002, abs=1e-3)


@pytest.mark.parametrize(
    ("values", "behaviour"),
    [([1.0, 1.5, 3.0], "divergent"), ([1.0, 1.4, 1.3], "oscillatory"), ([1.0, 2.0, 2.0], "converged")],
)
def test_what_does_not_converge_is_called_so(values, behaviour):
    found = analyse([4, 2, 1], values).best
    assert found.behaviour == behaviour
    assert found.extrapolated is None or behaviour == "converged"


@pytest.mark.parametrize(
    ("sizes", "values", "words"),
    [([1, 1, 2], [1, 2, 3], "there once"), ([0, 1], [1, 2], "positive"), ([1, 2], [1], "2 sizes and 1"), ([1, 2], [math.nan, 1], "not finite")],
)  # fmt: skip
def test_what_is_no_ladder_is_refused(sizes, values, words):
    with pytest.raises(ValueError, match=words):
        analyse(sizes, values)


def test_two_levels_tell_no_order():
    assert analyse([1, 2], [1.0, 2.0]).best is None


def test_the_interval_covers_the_mean_as_often_as_it_says():
    generator = np.random.default_rng(1)
    covered = 0
    for n in range(200):
        found = statistics(generator.exponential(2.0, 60), confidence=0.9, seed=n)
        covered += bool(found.mean_low <= 2.0 <= found.mean_high)
    assert 160 <= covered <= 192


def test_members_of_which_something_is_missing_are_left_out():
    found = statistics(np.array([[1.0, 2.0], [3.0, 4.0], [np.nan, 9.0]]))
    assert (found.members, found.missing) == (2, 1)
    assert found.mean.tolist() == [2.0, 3.0]
    assert found.std.tolist() == [np.sqrt(2), np.sqrt(2)]
    assert found.percentiles[50.0].tolist() == [2.0, 3.0]
    with pytest.raises(ValueError, match="1 of 3 members"):
        statistics(np.array([1.0, np.nan, np.nan]))


def test_enough_members_are_those_after_which_it_stays_settled():
    steady = settling([10.0, 10.1, 9.9] * 40, 0.01)
    assert steady.enough is not None
    assert 2 <= steady.enough <= 10
    assert settling([1.0, -1.0] * 10, 0.01).enough is None
    assert settling([5.0, 5.0], 0.01).enough == 2


@pytest.mark.parametrize("mean", [0.0, 1e8, 1e9])
def test_the_error_of_numbers_that_differ_little_is_right(mean):
    values = np.random.default_rng(1).normal(mean, 1.0, 1000)
    found = settling(values.tolist(), 1e-3)
    assert found.standard_error[-1] == pytest.approx(values.std(ddof=1) / np.sqrt(1000), rel=1e-6)
    assert found.mean[-1] == pytest.approx(values.mean(), rel=1e-12, abs=1e-9)


def test_the_bootstrap_of_many_values_is_that_of_each():
    rows = np.random.default_rng(2).normal(size=(20, 2500))
    whole = statistics(rows)
    one = statistics(rows[:, 2100])
    assert whole.mean_low[2100] == pytest.approx(float(one.mean_low))
    assert whole.mean_high[2100] == pytest.approx(float(one.mean_high))


def test_what_converges_faster_than_any_order_is_called_steep():
    found = analyse([4, 2, 1], [2.0, 1.0000001, 1.0]).best
    assert (found.behaviour, found.order) == ("steep", None)
    assert analyse([1e40, 1e20, 1.0], [3.0, 2.0, 1.5]).best.behaviour in ("monotone", "steep")
    assert analyse([4, 2, 1], [1.0, 2.0, 4.0]).best.behaviour == "divergent"
