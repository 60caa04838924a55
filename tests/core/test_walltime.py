"""Which job still fits, learned from those that ended."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.core.usage import NodeTime
from campaign.core.walltime import Durations, Estimate, choose, quantile_of

seconds = st.floats(0.01, 1e5)


def learned(groups, quantile=0.99):
    durations = Durations(quantile)
    for group, sample in groups.items():
        for value in sample:
            durations.note(group, value)
    return durations


@given(
    st.dictionaries(st.integers(0, 5), st.lists(seconds, min_size=1, max_size=30), min_size=1), st.floats(0.6, 0.9999)
)
def test_a_bound_is_above_the_mean_and_grows_with_the_quantile(groups, quantile):
    lower, upper = (learned(groups, q).estimates(groups) for q in (quantile, (1 + quantile) / 2))
    for group, sample in groups.items():
        assert lower[group].mean_s == pytest.approx(np.mean(sample))
        assert lower[group].bound_s > lower[group].mean_s
        assert upper[group].bound_s >= lower[group].bound_s * (1 - 1e-12)


def test_the_bound_holds_as_often_as_was_asked():
    rng = np.random.default_rng(1)
    below = total = 0
    for _ in range(300):
        durations = learned({0: rng.normal(240, 20, 8)}, 0.95)
        below += int((rng.normal(240, 20, 50) < durations.estimates([0])[0].bound_s).sum())
        total += 50
    assert below / total >= 0.95


def test_what_was_never_seen_takes_the_longest_of_what_was():
    known = learned({1: [10.0, 11.0], 2: [100.0, 101.0]}).estimates([1, 2, 9])
    assert known[9].bound_s == known[2].bound_s
    assert Durations(0.9).estimates([1]) == {}


def test_a_job_that_was_cut_off_takes_longer_than_that_unless_others_did_not():
    durations = learned({1: [10.0, 11.0, 10.5]})
    durations.note_unfinished(1, 50.0)
    durations.note_unfinished(2, 70.0)
    known = durations.estimates([1, 2])
    assert known[1].bound_s < 20
    assert known[2].bound_s > 70


def test_small_samples_borrow_the_spread_of_all():
    rng = np.random.default_rng(2)
    wide = learned({g: rng.normal(100, 25, 30) for g in range(4)} | {9: [100.0]})
    tight = learned({g: rng.normal(100, 1, 30) for g in range(4)} | {9: [100.0]})
    assert wide.estimates([9])[9].bound_s > 130 > 110 > tight.estimates([9])[9].bound_s


@given(
    st.floats(0, 5000),
    st.dictionaries(st.integers(0, 9), st.tuples(st.floats(1, 500), st.floats(1.01, 2)), min_size=1, max_size=10),
)
def test_what_is_chosen_fits_and_something_is_chosen_where_anything_fits(left, groups):
    estimates = {g: Estimate(mean, mean * factor) for g, (mean, factor) in groups.items()}
    chosen = choose(left, estimates)
    fitting = [g for g, e in estimates.items() if e.bound_s <= left]
    assert chosen in fitting if fitting else chosen is None


def test_far_from_the_end_the_order_is_kept():
    estimates = {3: Estimate(300, 310), 1: Estimate(100, 105)}
    assert choose(10_000, estimates) == 3
    assert choose(10_000, dict(reversed(estimates.items()))) == 1


@pytest.mark.parametrize(("left", "wanted"), [(320, 3), (230, 1), (420, 3), (309, 1), (104, None)])
def test_near_the_end_the_time_is_filled(left, wanted):
    """420 s hold 300 + 100, whichever comes first; 230 s hold two of 100 s."""
    chosen = choose(left, {3: Estimate(300, 310), 1: Estimate(100, 105)})
    assert chosen == wanted or (left == 420 and chosen == 1)


def test_node_hours_are_added_up_as_nodes_come_and_go():
    time = NodeTime()
    time.join("a", 0.0)
    time.join("b", 0.0)
    time.leave("b", 1800.0)
    time.spent(1800.0, 1.0, completed=True)
    time.spent(900.0, 0.5, completed=False)
    usage = time.usage(3600.0)
    assert (usage.total, usage.useful, usage.lost) == (1.5, 0.5, 0.125)
    assert usage.idle == pytest.approx(0.875)


@given(st.lists(seconds, min_size=1, max_size=50), st.floats(0, 1))
def test_the_quantile_is_that_of_numpy(sample, quantile):
    assert quantile_of(np.sort(sample), quantile) == pytest.approx(np.quantile(sample, quantile))
