"""Errors of anything that is computed from an ensemble, by resampling its members."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from campaign.analyse.moments import Gaps, n_members, vectors
from campaign.errors import Code, UsageError

if TYPE_CHECKING:
    import xarray

    Statistic = Callable[[xarray.DataArray], xarray.DataArray]


def bootstrap(
    values: xarray.DataArray,
    statistic: Statistic,
    over: str = "realization",
    *,
    resamples: int = 200,
    confidence: float = 0.68,
    seed: int = 0,
    gaps: Gaps = "raise",
) -> xarray.Dataset:
    """`value`, `error`, `low` and `high` of `statistic(values)`, from members that are drawn with replacement.

    The error is the standard deviation over the resamples, the interval that of their percentiles (B. Efron, Ann. Statist. 7, 1, 1979). Members are
    drawn whole, alike for all points of the other dimensions, so that what is correlated stays so. `gaps` says what is done about members that lack a part.
    """
    import xarray

    values = _present(values, over, gaps)
    stream = np.random.default_rng(seed)
    count = values.sizes[over]
    drawn = [_plain(statistic(_some(values, over, stream.integers(0, count, count)))) for _ in range(resamples)]
    table = xarray.concat(drawn, "resample")
    tail = (1 - confidence) / 2
    return xarray.Dataset(
        {
            "value": _plain(statistic(values)), "error": table.std("resample", ddof=1),
            "low": table.quantile(tail, "resample").drop_vars("quantile"),
            "high": table.quantile(1 - tail, "resample").drop_vars("quantile"),
        },
        coords={"members": count},
        attrs={"method": "bootstrap", "members": count, "resamples": resamples, "confidence": confidence},
    )  # fmt: skip


def jackknife(
    values: xarray.DataArray,
    statistic: Statistic,
    over: str = "realization",
    *,
    groups: int | None = None,
    gaps: Gaps = "raise",
) -> xarray.Dataset:
    """`value` and `error` of `statistic(values)`, and `bias`, from the ensemble without each of its members.

    With `groups`, without each of so many groups of consecutive members (Quenouille, Biometrika 43, 353, 1956; Tukey, Ann. Math. Statist. 29, 614, 1958).
    """
    import xarray

    values = _present(values, over, gaps)
    count = values.sizes[over]
    parts = min(groups or count, count)
    edges = np.linspace(0, count, parts + 1).round().astype(int)
    numbers = np.arange(count)
    left_out = [
        _plain(statistic(_some(values, over, np.delete(numbers, np.s_[low:high]))))
        for low, high in itertools.pairwise(edges.tolist())
    ]
    table = xarray.concat(left_out, "resample")
    whole, middle = _plain(statistic(values)), table.mean("resample")
    error = np.sqrt((parts - 1) / parts * ((table - middle) ** 2).sum("resample"))
    return xarray.Dataset(
        {"value": whole, "error": error, "bias": (parts - 1) * (middle - whole)},
        coords={"members": count},
        attrs={"method": "jackknife", "members": count, "groups": parts},
    )


def percentiles(
    values: xarray.DataArray, q: Sequence[float] = (5, 16, 50, 84, 95), over: str = "realization"
) -> xarray.DataArray:
    """Percentiles over the members that are there: (percentile, ...); what a member lacks is left out, and counted in `members`."""
    if over not in values.dims:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"there is no dimension {over!r}",
            action=f"name one of: {', '.join(map(str, values.dims))}",
        )
    lazy = values.chunk({over: -1}) if values.chunks is not None else values
    found = lazy.quantile(np.asarray(q) / 100, over, skipna=True).rename(quantile="percentile")
    count = values.notnull().sum(over)
    return found.assign_coords(percentile=list(map(float, q)), members=count).assign_attrs(values.attrs)


def _present(values: xarray.DataArray, over: str, gaps: Gaps) -> xarray.DataArray:
    """The members that are there at every point of the other dimensions of the design."""
    vector, there = vectors(values, over, gaps=gaps)
    if gaps == "bins":
        values = vector.assign_attrs(values.attrs)
    whole = there.all([dim for dim in there.dims if dim != over])
    kept: xarray.DataArray = values.isel({over: np.flatnonzero(whole.to_numpy())}).compute()
    if kept.sizes[over] < 3:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"{kept.sizes[over]} members are there at every point ({int(n_members(values, over).max())} at most at one); resampling needs 3",
            action="run more of the campaign, or select where there are enough",
        )
    return kept


def _some(values: xarray.DataArray, over: str, numbers: Any) -> xarray.DataArray:
    """Members under new names, since some of them are there more than once."""
    return values.isel({over: numbers}).assign_coords({over: np.arange(len(numbers))})


def _plain(found: xarray.DataArray) -> xarray.DataArray:
    """Without coordinates that may differ from one resample to the next."""
    return found.drop_vars([name for name in found.coords if name == "members"]).compute()
