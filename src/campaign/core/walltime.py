"""How long jobs take, learned from those that ended, and which of them still fits before an allocation ends."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import NormalDist, fmean

import numpy as np
import numpy.typing as npt

Group = int
"""Number of the jobs that are expected to take equally long, such as those of one redshift on one shape."""

REMEMBERED = 400
"""Durations kept of each group; older ones are forgotten, since machines and models change."""

STALE_PART = 20
"""A group is estimated anew when one part in so many of its durations is new: of few, each counts; of many, none does."""

UNKNOWN_SPREAD = 0.3
"""Relative spread that is assumed as long as no group has two durations."""

BORROWED_FREEDOM = 4
"""Degrees of freedom that a group borrows from the spread of all, at most."""

SPREAD_MIN = 0.01
GRID = 600
"""Steps of time in which the end of an allocation is filled."""

PLANNED_MARGIN = 0.5
"""Part of the distance from mean to bound by which a plan for the last jobs counts each of them longer."""

HORIZON = 4.0
"""Lengths of the longest job before the end from which on jobs are chosen so that they fill what is left."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """The durations of a group, summed up."""

    n: int
    mean: float
    squares: float  # sum of squared relative deviations from the mean
    quantile: float


@dataclass(slots=True)
class Durations:
    """Seconds that completed jobs took, by group; `quantile` of them must end before the limit."""

    quantile: float
    _seen: dict[Group, deque[float]] = field(default_factory=lambda: defaultdict(lambda: deque(maxlen=REMEMBERED)))
    _at_least: dict[Group, float] = field(default_factory=dict)
    _samples: dict[Group, _Sample] = field(default_factory=dict)  # of what was noted so far, where it was asked for
    _known: dict[Group, Estimate] | None = None  # likewise
    _stale: dict[Group, int] = field(default_factory=lambda: defaultdict(int))  # durations that were noted since

    def note(self, group: Group, seconds: float) -> None:
        """A job of the group completed."""
        self._seen[group].append(seconds)
        self._stale[group] += 1
        if self._stale[group] * STALE_PART >= len(self._seen[group]):
            self._samples.pop(group, None)
            self._known, self._stale[group] = None, 0

    def note_unfinished(self, group: Group, seconds: float) -> None:
        """A job of the group was cut off after so long: it takes longer than that, or it hung.

        It counts as long as no job of the group has completed.
        """
        self._at_least[group] = max(seconds, self._at_least.get(group, 0.0))
        self._known = None

    @property
    def known(self) -> bool:
        """Whether any job has completed, or was cut off."""
        return bool(self._seen) or bool(self._at_least)

    def estimates(self, groups: Iterable[Group]) -> dict[Group, Estimate]:
        """What jobs of each group are expected to take, in the order given; empty where nothing is known.

        The bound is the larger of the sample's quantile and of the one-sided prediction bound of a normal distribution,
        mean + t spread sqrt(1 + 1/n) with Student's t, where small samples borrow from the relative spread inside all
        groups. A group without durations takes the mean and the largest bound of the others.
        """
        known = self._estimated() if self._known is None else self._known
        self._known = known
        if not known:
            return {}
        means, bounds = zip(*((e.mean_s, e.bound_s) for e in known.values()), strict=True)
        other = Estimate(fmean(means), max(bounds))
        return {group: known.get(group, other) for group in groups}

    def _estimated(self) -> dict[Group, Estimate]:
        samples = {group: self._sample(group) for group in self._seen}
        pooled = _pooled(samples.values())
        spread = math.sqrt(pooled.squares / pooled.n) if pooled.n else UNKNOWN_SPREAD
        known = {group: Estimate(sample.mean, self._bound(sample, pooled)) for group, sample in samples.items()}
        known |= {
            group: Estimate(least, least * (1 + spread))
            for group, least in self._at_least.items()
            if group not in known
        }
        return known

    def _sample(self, group: Group) -> _Sample:
        if group not in self._samples:
            seen = np.fromiter(self._seen[group], float)
            mean = float(seen.mean())
            squares = float(((seen / mean - 1) ** 2).sum()) if mean > 0 else 0.0
            self._samples[group] = _Sample(len(seen), mean, squares, quantile_of(np.sort(seen), self.quantile))
        return self._samples[group]

    def _bound(self, sample: _Sample, pooled: _Sample) -> float:
        borrowed = min(BORROWED_FREEDOM, pooled.n - (sample.n - 1))
        freedom = sample.n - 1 + borrowed
        lent = borrowed * pooled.squares / pooled.n if pooled.n else 0.0
        spread = math.sqrt((sample.squares + lent) / freedom) if freedom else UNKNOWN_SPREAD
        factor = student_quantile(self.quantile, freedom or 1) if freedom else NormalDist().inv_cdf(self.quantile)
        return max(sample.mean * (1 + factor * max(spread, SPREAD_MIN) * math.sqrt(1 + 1 / sample.n)), sample.quantile)


def quantile_of(ascending: npt.NDArray[np.float64], quantile: float) -> float:
    """`numpy.quantile` of values that are sorted, (n,), without its preparations, which take longer than all the rest."""
    place = (len(ascending) - 1) * quantile
    below = min(int(place), len(ascending) - 2)
    if below < 0:
        return float(ascending[0])
    low, high = ascending[below : below + 2].tolist()
    return float(low + (high - low) * (place - below))


def student_quantile(quantile: float, freedom: int) -> float:
    """Quantile of Student's t distribution; expansion in 1 / freedom (Abramowitz and Stegun 1964, 26.7.5)."""
    z = NormalDist().inv_cdf(quantile)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def _pooled(samples: Iterable[_Sample]) -> _Sample:
    """The spread inside groups: `n` is its degrees of freedom, `squares` the sum over all."""
    kept = [sample for sample in samples if sample.n > 1]
    return _Sample(sum(sample.n - 1 for sample in kept), 0.0, sum(sample.squares for sample in kept), 0.0)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a group's jobs are expected to take."""

    mean_s: float
    bound_s: float


def choose(left_s: float, groups: Mapping[Group, Estimate]) -> Group | None:
    """The group whose job should start in a slot that has `left_s` seconds, so that least of them stays unused.

    `groups` are those that have jobs, in the order in which they would be taken. Far from the end it is the first.
    None where no job would end in time.
    """
    fitting = {group: e for group, e in groups.items() if e.bound_s <= left_s}
    if not fitting:
        return None
    longest = max(e.bound_s for e in groups.values())
    if left_s > HORIZON * longest:
        return next(iter(fitting))
    step = HORIZON * longest / GRID
    kinds = frozenset(
        (round(e.mean_s / step), math.ceil(_taken_s(e) / step), math.ceil(e.bound_s / step)) for e in groups.values()
    )
    filled = _filled(kinds)

    def total(group: Group) -> float:
        left = (left_s - _taken_s(fitting[group])) / step
        return fitting[group].mean_s + float(filled[min(max(int(left), 0), GRID)]) * step

    return max(fitting, key=total)


def _taken_s(estimate: Estimate) -> float:
    """The time that a plan counts for a job: more than the mean, or what should come after it would rarely fit."""
    return estimate.mean_s + PLANNED_MARGIN * (estimate.bound_s - estimate.mean_s)


@lru_cache(maxsize=64)
def _filled(kinds: frozenset[tuple[int, int, int]]) -> npt.NDArray[np.float64]:
    """Most time, in steps, that a sequence of jobs fills of each number of steps; each must be bound to end in time."""
    best = np.zeros(GRID + 1)
    for left in range(1, GRID + 1):
        options = [mean + best[max(left - max(taken, 1), 0)] for mean, taken, bound in kinds if bound <= left]
        best[left] = max(options, default=0.0)
    return best
