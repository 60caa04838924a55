"""Statistics of an ensemble: moments, percentiles, confidence by bootstrap, and whether there are enough members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PERCENTILES = (5.0, 16.0, 25.0, 50.0, 75.0, 84.0, 95.0)
RESAMPLES = 2000
COLUMNS = 1000
"""Values that are resampled at once."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is known of one quantity; every array has the shape of one member."""

    members: int  # those that are not missing
    missing: int
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]  # of the population, from the sample: n - 1 in the denominator
    percentiles: dict[float, npt.NDArray[np.float64]]
    mean_low: npt.NDArray[np.float64]  # ends of the confidence interval of the mean
    mean_high: npt.NDArray[np.float64]
    confidence: float


def statistics(values: npt.NDArray[Any], *, confidence: float = 0.95, seed: int = 0) -> Statistics:
    """Statistics of `values`, (members, ...): members any of whose values is missing are left out.

    The confidence interval of the mean is that of the percentile bootstrap (B. Efron, Ann. Statist. 7, 1, 1979) of whole members.
    ValueError where fewer than two members are left.
    """
    table = np.asarray(values, dtype=np.float64)
    rows = table.reshape(len(table), -1)
    there = np.isfinite(rows).all(axis=1)
    rows = rows[there]
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} of {len(table)} members are there; statistics need two")
    shape = table.shape[1:]
    low, high = _bootstrap(rows, confidence, seed)
    return Statistics(
        members=len(rows),
        missing=len(table) - len(rows),
        mean=rows.mean(axis=0).reshape(shape),
        std=rows.std(axis=0, ddof=1).reshape(shape),
        percentiles={p: np.percentile(rows, p, axis=0).reshape(shape) for p in PERCENTILES},
        mean_low=low.reshape(shape),
        mean_high=high.reshape(shape),
        confidence=confidence,
    )


def _bootstrap(
    rows: npt.NDArray[np.float64], confidence: float, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Ends of the interval in which the means of resampled members lie; some columns after the others, so that memory is bounded."""
    ends = [_bootstrap_some(rows[:, n : n + COLUMNS], confidence, seed) for n in range(0, rows.shape[1], COLUMNS)]
    low, high = (np.concatenate(side) for side in zip(*ends, strict=True))
    return low, high


def _bootstrap_some(
    rows: npt.NDArray[np.float64], confidence: float, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The same of some columns; members are resampled alike for all."""
    generator = np.random.default_rng(seed)
    means = np.empty((RESAMPLES, rows.shape[1]))
    for n in range(RESAMPLES):
        weights = np.bincount(generator.integers(0, len(rows), len(rows)), minlength=len(rows))
        means[n] = weights @ rows / len(rows)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high


@dataclass(frozen=True, slots=True)
class Settling:
    """How the mean settles with more members, in the order in which they are given."""

    members: tuple[int, ...]
    mean: tuple[float, ...]
    standard_error: tuple[float, ...]
    enough: int | None  # from how many members on the relative standard error stays below the tolerance


def settling(values: Sequence[float], tolerance: float, points: int = 50) -> Settling:
    """Running mean of a scalar and its standard error; `tolerance` is relative to the mean."""
    rows = np.asarray(values, dtype=np.float64)
    rows = rows[np.isfinite(rows)]
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} members are there; statistics need two")
    counts = np.arange(1, len(rows) + 1)
    middle = rows.mean()
    off = rows - middle  # numbers that differ little lose their difference when they are squared
    mean = np.cumsum(off) / counts
    variance = np.maximum(np.cumsum(off**2) / counts - mean**2, 0) * counts / np.maximum(counts - 1, 1)
    mean += middle
    error = np.sqrt(variance / counts)
    error[0] = np.inf
    settled = error <= tolerance * np.abs(mean)
    unsettled = np.flatnonzero(~settled)
    first = int(unsettled[-1]) + 2 if len(unsettled) else 2
    shown = np.unique(np.linspace(2, len(rows), min(points, len(rows) - 1)).astype(int)) - 1
    return Settling(
        members=tuple((shown + 1).tolist()),
        mean=tuple(mean[shown].tolist()),
        standard_error=tuple(error[shown].tolist()),
        enough=first if first <= len(rows) else None,
    )
