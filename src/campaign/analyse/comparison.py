"""Whether two things are the same: bit for bit, and if not, whether they could be draws from one distribution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from campaign.analyse.labels import place, value_at
from campaign.core.model import State
from campaign.core.words import value_words

if TYPE_CHECKING:
    import xarray

    import campaign.analyse.accessor  # noqa: F401

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, npt.NDArray[Any]]

SIGNIFICANT = 0.001
"""Probability, over all that is compared, below which a difference is none by chance."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One column, or one measurement at one point, in both."""

    name: str
    identical: bool
    count: tuple[int, int]  # rows, or members
    mean: tuple[float, float]
    std: tuple[float, float]
    p_value: float | None  # of a difference as large, were both drawn alike; None where it can't be told
    at: Mapping[str, Any]
    largest_difference: float | None = None  # of rows in their order, where there are as many

    def to_json(self) -> dict[str, Any]:
        """For `--json`, which knows no NaN."""
        pairs = {key: [v if math.isfinite(v) else None for v in getattr(self, key)] for key in ("mean", "std")}
        return {**asdict(self), **pairs, "at": dict(self.at)}


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that was compared."""

    entries: tuple[Compared, ...]
    only_in_one: tuple[str, ...]  # what the other lacks

    @property
    def identical(self) -> bool:
        """Whether both are the same, bit for bit."""
        return bool(self.entries) and not self.only_in_one and all(entry.identical for entry in self.entries)

    @property
    def significant(self) -> tuple[Compared, ...]:
        """What differs by more than chance, the least probable first; every comparison made it more probable that one is."""
        told = [entry for entry in self.entries if entry.p_value is not None and not entry.identical]
        limit = SIGNIFICANT / max(len(told), 1)
        found = [(entry.p_value, entry) for entry in told if entry.p_value is not None and entry.p_value < limit]
        return tuple(entry for _, entry in sorted(found, key=lambda pair: pair[0]))

    @property
    def compatible(self) -> bool:
        """Whether there is something to compare, and chance explains every difference; what can't be told is not explained."""
        unexplained = [entry for entry in self.entries if not entry.identical and entry.p_value is None]
        return bool(self.entries) and not (self.significant or self.only_in_one or unexplained)


def columns(one: Columns, other: Columns) -> Comparison:
    """Two catalogues column by column; the p-value is that of Kolmogorov and Smirnov for two samples, and of Poisson for their lengths.

    Columns of several components, (n, 3), are compared component by component.
    """
    first, second = _components(one), _components(other)
    entries = [_column(name, first[name], second[name]) for name in first if name in second]
    return Comparison(tuple(entries), tuple(sorted(first.keys() ^ second.keys())))


def _components(found: Columns) -> dict[str, npt.NDArray[Any]]:
    flat = {}
    for name, values in found.items():
        if values.ndim == 1:
            flat[name] = values
        else:
            table = values.reshape(len(values), -1)
            flat |= {f"{name}[{n}]": table[:, n] for n in range(table.shape[1])}
    return flat


def _column(name: str, one: npt.NDArray[Any], other: npt.NDArray[Any]) -> Compared:
    from scipy.stats import binomtest, ks_2samp

    identical = one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if one.dtype.kind not in "fiub" or other.dtype.kind not in "fiub":
        return Compared(name, identical, (len(one), len(other)), (np.nan, np.nan), (np.nan, np.nan), None, {})
    a, b = one.astype(np.float64), other.astype(np.float64)
    there = [values[np.isfinite(values)] for values in (a, b)]
    p_value = 1.0 if identical else None
    if not identical and all(map(len, there)):
        lengths = binomtest(len(there[0]), len(there[0]) + len(there[1])).pvalue  # two Poisson counts of one mean
        p_value = min(1.0, 2 * min(float(ks_2samp(*there, method="asymp").pvalue), float(lengths)))
    apart = float(np.abs(a - b).max()) if a.shape == b.shape and len(a) else None
    return Compared(name, identical, (len(a), len(b)), *_moments(there), p_value, {}, apart)


def _moments(pair: list[Floats]) -> tuple[tuple[float, float], tuple[float, float]]:
    means, stds = ([float(f(values)) if len(values) else float("nan") for values in pair] for f in (np.mean, np.std))
    return (means[0], means[1]), (stds[0], stds[1])


def campaigns(one: xarray.Dataset, other: xarray.Dataset, over: str = "realization") -> Comparison:
    """Two campaigns measurement by measurement, for each point that both have of the axes other than `over`.

    The p-value is that of the difference of the means of two ensembles, by Hotelling's T^2 of two samples (Ann. Math. Statist. 2, 360, 1931) along the principal
    axes of their common covariance; members are taken as independent of those of the other campaign.
    """
    names = [set(ds.campaign.measurements) for ds in (one, other)]
    entries = []
    for name in sorted(names[0] & names[1]):
        pair = [ds.campaign.values(name).load() for ds in (one, other)]
        inner = [dim for dim in pair[0].dims if dim not in one.campaign.design]
        shared = [dim for dim in inner if dim in pair[0].coords and dim in pair[1].coords]
        other_bins = any(not pair[0][dim].equals(pair[1][dim]) for dim in shared)
        if other_bins or len({values.attrs.get("campaign_declared") for values in pair}) > 1:
            names[0].discard(name)  # nothing that could be compared
            continue
        entries += _points(name, pair[0], pair[1], [dim for dim in one.campaign.design if dim != over], over)
    return Comparison(tuple(entries), tuple(sorted((names[0] ^ names[1]) | _points_of_one(one, other, over))))


def _points_of_one(one: xarray.Dataset, other: xarray.Dataset, over: str) -> set[str]:
    """Values of the axes other than `over` that only one of both has."""
    found = set()
    for dim in (set(one.campaign.design) | set(other.campaign.design)) - {over}:
        pair = [{value_at(ds[dim], n) for n in range(ds.sizes.get(dim, 0))} for ds in (one, other)]
        found |= {f"{dim} {value_words(value)}" for value in pair[0] ^ pair[1]}
    return found


def _points(name: str, one: xarray.DataArray, other: xarray.DataArray, others: list[str], over: str) -> list[Compared]:
    """One entry for each point of the axes `others`."""
    import xarray

    if not set(others) <= set(other.dims):
        return []
    free = {dim for values in (one, other) for dim in values.dims if dim not in others}
    pair = list(xarray.align(one, other, join="inner", exclude=free))
    stacked = [values.stack(point=others) if others else values.expand_dims("point") for values in pair]
    entries = []
    for n in range(stacked[0].sizes["point"]):
        tables = [
            v.isel(point=n).transpose(over, ...).to_numpy().astype(float).reshape(v.sizes[over], -1) for v in stacked
        ]
        at = place(stacked[0], others, n)
        identical = tables[0].shape == tables[1].shape and np.array_equal(tables[0], tables[1], equal_nan=True)
        rows = [table[np.isfinite(table).any(axis=1)] for table in tables]
        flat = [table[np.isfinite(table)] for table in rows]
        p_value = 1.0 if identical else hotelling(*rows)
        entries.append(Compared(name, identical, (len(rows[0]), len(rows[1])), *_moments(flat), p_value, at))
    return entries


def hotelling(one: Floats, other: Floats) -> float | None:
    """Probability that the means of two samples, (members, elements), differ as much; None where there are too few members.

    Elements that some member lacks are left out; of many elements, as many principal axes are taken as half of the members allow.
    """
    from scipy.stats import f

    n, m = len(one), len(other)
    if n < 3 or m < 3:
        return None
    both = np.concatenate([one, other])
    kept = np.isfinite(both).all(axis=0)
    one, other = one[:, kept], other[:, kept]
    off = np.concatenate([one - one.mean(axis=0), other - other.mean(axis=0)]) if kept.any() else np.zeros((0, 0))
    if not off.size:
        return None
    sigma = np.sqrt((off**2).sum(axis=0) / (n + m - 2))
    largest = np.abs(both[:, kept]).max(axis=0)
    varies = sigma > 1e-12 * largest
    if (np.abs(one.mean(axis=0) - other.mean(axis=0)) > 1e-9 * largest)[~varies].any():
        return 0.0  # what never varies differs
    shift = (one.mean(axis=0) - other.mean(axis=0))[varies] / sigma[varies]
    _, strength, axes = np.linalg.svd(off[:, varies] / sigma[varies], full_matrices=False)
    p = min(int((strength > 1e-6 * strength[0]).sum()), (n + m - 2) // 2) if strength.size else 0
    if not p:
        return None
    along = axes[:p] @ shift / (strength[:p] / np.sqrt(n + m - 2))
    t_square = n * m / (n + m) * float((along**2).sum())
    statistic = (n + m - p - 1) / (p * (n + m - 2)) * t_square
    return float(f.sf(statistic, p, n + m - p - 1))


def products(one: xarray.Dataset, other: xarray.Dataset) -> dict[str, int]:
    """Of the jobs that both have: how many products are identical by their SHA-256, differ, or are there in one only."""
    import xarray

    pair = xarray.align(one[["product_sha256", "status"]], other[["product_sha256", "status"]], join="inner")
    done = [(ds["status"] == int(State.COMPLETED)).to_numpy() for ds in pair]
    sums = [ds["product_sha256"].to_numpy().astype(object) for ds in pair]
    both, same = done[0] & done[1], sums[0] == sums[1]
    return {
        "jobs": int(both.size), "identical": int((both & same).sum()), "different": int((both & ~same).sum()),
        "in_one_only": int((done[0] ^ done[1]).sum()),
    }  # fmt: skip
