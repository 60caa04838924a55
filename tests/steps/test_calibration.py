"""Rounds of a calibration: where the next one looks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.analyse.calibration import Interval, Round, best_of, promising, settled
from campaign.core.ranges import parse

WHOLE = {"x": Interval(-5.0, 5.0), "k": Interval(1e-3, 1e3, log=True), "n": Interval(1, 20, whole=True)}


def minimised(loss, rounds=12, cases=64, keep=0.2, seed=1, whole=WHOLE):
    generator = np.random.default_rng(seed)
    region, found = dict(whole), []
    points, losses = {name: [] for name in whole}, []
    for _ in range(rounds):
        drawn = {name: parse(interval.rule()).at(generator.random(cases)) for name, interval in region.items()}
        own = [loss(*values) for values in zip(*drawn.values(), strict=True)]
        found.append(Round(region, cases, *best_of(drawn, own)))
        losses += own
        for name in points:
            points[name] += drawn[name]
        region = promising(region, whole, points, losses, round(keep * cases))
        if settled(region, whole, 0.01):
            break
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
    assert settled(rounds[-1].region, WHOLE, 0.9)
    assert not settled(WHOLE, WHOLE, 0.5)


@pytest.mark.parametrize("cases", [10, 20])
@pytest.mark.parametrize("scale", [1, 100])
def test_a_few_cases_do_not_mislead(cases, scale):
    whole = {"x": Interval(0.0, 1.0), "y": Interval(0.0, 1.0)}
    for seed in range(30):
        x, y = np.random.default_rng(seed).uniform(0.2, 0.8, 2)
        rounds = minimised(lambda a, b, x=x, y=y: scale * (a - x) ** 2 + (b - y) ** 2, 12, cases, 0.2, seed, whole)
        if len(rounds) < 12:  # it says that the region is narrow
            best = min(rounds, key=lambda one: one.loss).best
            assert max(abs(best["x"] - x), abs(best["y"] - y)) < 0.02


def test_integers_are_narrowed_until_they_can_not_be():
    whole = {"n": Interval(1, 100, whole=True)}
    assert len(minimised(lambda n: (n - 41) ** 2, 20, 12, 0.2, 3, whole)) < 20


def test_cases_without_a_loss_are_passed_over():
    points = {"x": [1.0, 2.0, 3.0]}
    assert best_of(points, [math.nan, 5.0, math.inf]) == ({"x": 2.0}, 5.0)
    with pytest.raises(ValueError, match="no case"):
        best_of(points, [math.nan] * 3)
