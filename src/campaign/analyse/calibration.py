"""From the losses of one round of a calibration to the region of the next: pure decisions, no campaign."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

MARGIN = 0.15
"""By which part of its width the promising region is widened on either side."""


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

    def around(self, values: Sequence[float], within: Interval) -> Interval:
        """The interval that holds `values` with a margin, but nothing outside `within`."""
        scaled = [self._scaled(value) for value in values]
        low, high = min(scaled), max(scaled)
        margin = MARGIN * max(high - low, self.width / 10)
        low, high = self._back(low - margin), self._back(high + margin)
        found = replace(self, low=max(within.low, low), high=min(within.high, high))
        if self.whole:
            return replace(found, low=float(math.floor(found.low)), high=float(math.ceil(found.high)))
        return found

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
        raise ValueError("no case of the round has a loss")
    place = int(np.nanargmin(np.where(np.isfinite(finite), finite, np.nan)))
    return {name: values[place] for name, values in points.items()}, float(finite[place])


def promising(
    region: Mapping[str, Interval],
    whole: Mapping[str, Interval],
    points: Mapping[str, Sequence[float]],
    losses: Sequence[float],
    keep: float,
) -> dict[str, Interval]:
    """The region of the next round: around the best part `keep` of the cases, inside the `whole` of the first round."""
    numbers = np.asarray(losses, dtype=np.float64)
    finite = np.flatnonzero(np.isfinite(numbers))
    ranked = finite[np.argsort(numbers[finite], kind="stable")]
    kept = ranked[: max(2, round(keep * len(ranked)))]
    return {
        name: interval.around([points[name][int(n)] for n in kept], whole[name]) for name, interval in region.items()
    }


def settled(rounds: Sequence[Round], tolerance: float) -> str:
    """Why no further round is needed; empty where one is. `tolerance` is relative to the first region."""
    last = rounds[-1]
    widths = [last.region[name].width / rounds[0].region[name].width for name in last.region]
    if max(widths) <= tolerance:
        return f"every parameter is known to {tolerance:g} of its range"
    return ""
