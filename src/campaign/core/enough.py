"""When there are enough realizations: so many at each point, and a mean over them that is known well enough."""

from __future__ import annotations

import math

import numpy as np

from campaign.core.model import Enough, Record


class Sufficiency:
    """Counts what completes at each point; a mean and its error are those of Welford's recurrence.

    B. P. Welford, Technometrics 4, 419 (1962).
    """

    def __init__(self, rule: Enough, points: int) -> None:
        """`points` jobs follow each other for each realization: those of the other axes."""
        self._rule = rule
        self._count = np.zeros(points, np.int64)
        self._mean = np.zeros(points)
        self._squares = np.zeros(points)  # sum of squared deviations from the mean
        self._settled = np.zeros(points, bool)
        self._unsettled = points
        self.reached = False  # whether every point has had enough at once: what comes in afterwards does not undo that

    def suffices(self, record: Record) -> bool:
        """Take in a job that has completed; whether every point has enough."""
        self.note(record.job, record.measurements[self._rule.metric] if self._rule.metric else 1.0)
        return self.reached

    def note(self, job: int, value: float | None) -> None:
        """Take in a realization; `value` is its metric, None where it has none."""
        if value is None or not math.isfinite(value):
            return
        point = job % len(self._count)
        self._count[point] = count = self._count.item(point) + 1
        off = value - self._mean.item(point)
        self._mean[point] += off / count
        self._squares[point] += off * (value - self._mean.item(point))
        settled = self._is_settled(point)
        self._unsettled -= int(settled) - int(self._settled[point])
        self._settled[point] = settled
        self.reached = self.reached or self._unsettled == 0

    def _is_settled(self, point: int) -> bool:
        count = self._count.item(point)
        if count < self._rule.realizations:
            return False
        if self._rule.tolerance is None:
            return True
        error = math.sqrt(self._squares.item(point) / (count - 1) / count)
        return error <= self._rule.tolerance * abs(self._mean.item(point))
