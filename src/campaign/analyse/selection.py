"""Samples by number density, with a threshold that is the same for the whole ensemble."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from campaign.errors import Code, UsageError

if TYPE_CHECKING:
    import xarray


def threshold(cumulative: xarray.DataArray, density: float) -> xarray.DataArray:
    """Where a cumulative function n(> x) of the ensemble, (others..., x), falls to `density`: (others...), in the units of x.

    log n is interpolated between the bins. A threshold of each member's own would take out part of the variance that the ensemble is made for: members
    with more galaxies would be cut deeper. UsageError where the density is not reached, or never left.
    """
    import xarray

    dim = str(cumulative.dims[-1])
    found: xarray.DataArray = xarray.apply_ufunc(
        _crossing, cumulative.compute(), cumulative[dim], input_core_dims=[[dim], [dim]], vectorize=True,
        kwargs={"density": density},
    )  # fmt: skip
    if not np.isfinite(found).all():
        largest, smallest = float(cumulative.max()), float(cumulative.min())
        raise UsageError(
            Code.CONFIG_INVALID,
            f"{cumulative.name} does not cross {density:g} everywhere: it goes from {largest:.3g} to {smallest:.3g}",
            action="name a density that lies between at each point",
        )
    attrs = {"long_name": f"{dim} above which there are {density:g}", "units": cumulative[dim].attrs.get("units", "1")}
    return found.rename(dim).assign_attrs(attrs)


def _crossing(values: Any, x: Any, density: float) -> float:
    above = values >= density
    if not above[0] or above[-1]:
        return float("nan")
    last = int(np.flatnonzero(above)[-1])
    with np.errstate(divide="ignore"):
        upper, lower = np.log(values[last]), np.log(values[last + 1])
    if not np.isfinite(lower):
        return float(x[last])
    share = (upper - np.log(density)) / (upper - lower)
    return float(x[last] + share * (x[last + 1] - x[last]))
