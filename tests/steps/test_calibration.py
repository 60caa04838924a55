"""Rounds of a calibration: where the next one looks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.analyse.calibration import Interval, Round, best_of, promising, settled
from campaign.core.ranges import parse

WHOLE = {"x": Interval(-5.0, 5.0), "k": Interval(1e-3, 1e3, log=True), "n": Interval(1, 20, whole=True)}


def minimised(loss, rounds=12, cases=64, keep=0.2, seed=1):
    generator = np.random.default_rng(seed)
    region, found = dict(WHOLE), []
    for _ in range(rounds):
        points = {name: parse(interval.rule()).at(generator.random(cases)) for name, interval in region.items()}
        losses = [loss(*values) for values in zip(*points.values(), strict=True)]
        best, lowest = best_of(points, losses)
        found.append(Round(region, cases, best, lowest))
        region = promising(region, WHOLE, points, losses, keep)
    return found


@given(st.floats(-4, 4), st.floats(-2, 2), st.integers(3, 18))
def test_a_bowl_is_found_wherever_it_lies(x, k, n):
    rounds = minimised(lambda a, b, c: (a - x) ** 2 + (math.log10(b) - k) ** 2 + ((c - n) / 10) ** 2)
    best = min(rounds, key=lambda one: one.loss).best
    assert best["x"] == pytest.approx(x, abs=0.2)
    assert math.log10(best["k"]) == pytest.approx(k, abs=0.2)
    assert abs(best["n"] - n) <= 1


def test_every_region_lies_in_the_first_and_the_last_is_small():
    rounds = minimised(lambda a, b, c: (a - 5) ** 2 + math.log10(b) ** 2 + c)
    for one in rounds:
        for name, interval in one.region.items():
            assert WHOLE[name].low <= interval.low < interval.high <= WHOLE[name].high
    assert rounds[-1].region["x"].width < 0.1 * WHOLE["x"].width
    assert settled(rounds, 0.9)
    assert not settled(rounds[:1], 0.5)


def test_cases_without_a_loss_are_passed_over():
    points = {"x": [1.0, 2.0, 3.0]}
    assert best_of(points, [math.nan, 5.0, math.inf]) == ({"x": 2.0}, 5.0)
    with pytest.raises(ValueError, match="no case"):
        best_of(points, [math.nan] * 3)
