"""From the losses of one round of a calibration to the region of the next: pure decisions, no campaign."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

MARGIN = 0.15
"""By which part of its width the box around the best cases is widened on either side."""

SHRINK_MOST = 0.4
"""The next region is at least this part of the present one, along each parameter: a few cases may mislead."""

EDGE = 0.1
"""The best case is at an edge of the region if it is nearer to it than this part of the width: then one looks beyond."""

PER_PARAMETER = 3
"""Cases that are kept for each parameter and for the value itself, at least: fewer tell nothing about a curved valley."""

NARROWEST = 2
"""Width of an interval of integers that can't be narrowed."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a parameter is looked for."""

    low: float
    high: float
    log: bool = False
    whole: bool = False  # integers only

    @property
    def width(self) -> float:
        """In the scale in which it is drawn."""
        return self._scaled(self.high) - self._scaled(self.low)

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else value

    def _back(self, value: float) -> float:
        return math.exp(value) if self.log else value

    def around(self, kept: Sequence[float], best: float, within: Interval) -> Interval:
        """The next interval: around the values that are `kept`, beyond an edge where the `best` is, nowhere outside `within`."""
        scaled = [self._scaled(value) for value in kept]
        low, high, there = min(scaled), max(scaled), self._scaled(best)
        margin = MARGIN * max(high - low, self.width / 10)
        low, high = low - margin, high + margin
        lack = (SHRINK_MOST * self.width - (high - low)) / 2
        if lack > 0:
            low, high = low - lack, high + lack
        if there - self._scaled(self.low) < EDGE * self.width:
            low = min(low, self._scaled(self.low) - self.width / 2)
        if self._scaled(self.high) - there < EDGE * self.width:
            high = max(high, self._scaled(self.high) + self.width / 2)
        low, high = self._back(low), self._back(high)
        found = replace(self, low=max(within.low, low), high=min(within.high, high))
        if self.whole:
            return replace(found, low=float(math.floor(found.low)), high=float(math.ceil(found.high)))
        return found

    @property
    def is_narrowest(self) -> bool:
        """Whether it can't be narrowed further: integers are whole."""
        return self.whole and self.high - self.low <= NARROWEST

    def rule(self) -> str:
        """As it stands in a design."""
        if self.whole:
            return f"int:{self.low:.0f}:{self.high:.0f}"
        return f"{'log:' if self.log else ''}{self.low!r}:{self.high!r}"


@dataclass(frozen=True, slots=True)
class Round:
    """One round: where was looked, and the best that was found."""

    region: Mapping[str, Interval]
    cases: int
    best: Mapping[str, float]
    loss: float


def best_of(points: Mapping[str, Sequence[float]], losses: Sequence[float]) -> tuple[dict[str, float], float]:
    """(parameters, loss) of the lowest loss; ValueError where none is finite."""
    finite = np.asarray(losses, dtype=np.float64)
    if not np.isfinite(finite).any():
        raise ValueError("no case has a loss")
    place = int(np.nanargmin(np.where(np.isfinite(finite), finite, np.nan)))
    return {name: values[place] for name, values in points.items()}, float(finite[place])


def promising(
    region: Mapping[str, Interval],
    whole: Mapping[str, Interval],
    points: Mapping[str, Sequence[float]],
    losses: Sequence[float],
    count: int,
) -> dict[str, Interval]:
    """The region of the next round: around the best `count` of all cases so far, those of earlier rounds included.

    It is inside the `whole` of the first round, shrinks by a bounded part, and moves on where the best case is at an edge.
    """
    numbers = np.asarray(losses, dtype=np.float64)
    finite = np.flatnonzero(np.isfinite(numbers))
    ranked = finite[np.argsort(numbers[finite], kind="stable")]
    kept = [int(n) for n in ranked[: max(count, PER_PARAMETER * (len(region) + 1))]]
    return {
        name: interval.around([points[name][n] for n in kept], points[name][kept[0]], whole[name])
        for name, interval in region.items()
    }


def settled(region: Mapping[str, Interval], whole: Mapping[str, Interval], tolerance: float) -> str:
    """Why no further round is needed; empty where one is. `tolerance` is relative to the whole."""
    if all(one.is_narrowest or one.width <= tolerance * whole[name].width for name, one in region.items()):
        return f"the region is narrower than {tolerance:g} of the whole"
    return ""
