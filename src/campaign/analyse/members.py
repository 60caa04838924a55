"""The ensembles of a campaign: statistics of its measurements over one axis, for each point of the others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from campaign.analyse.ensemble import settling, statistics
from campaign.analyse.metric import metric_of
from campaign.analyse.results import open_results

if TYPE_CHECKING:
    import xarray


def describe(
    directory: Path, names: Sequence[str] | None, over: str, *, confidence: float, tolerance: float
) -> dict[str, Any]:
    """Statistics of each metric as JSON knows them; ValueError where there is no such axis or too few members."""
    results = open_results(directory)
    if over not in results.sizes:
        raise ValueError(f"there is no axis {over!r}, but {', '.join(map(str, results['status'].dims))}")
    chosen = names or [
        str(name)
        for name, variable in results.data_vars.items()
        if variable.attrs.get("campaign_role") == "measurement" and variable.dtype.kind in "fiu"
    ]
    design = [str(dim) for dim in results["status"].dims]
    metrics = {
        name: _entries(metric_of(results, name, directory), over, design, confidence, tolerance) for name in chosen
    }
    return {"over": over, "confidence": confidence, "tolerance": tolerance, "metrics": metrics}


def _entries(
    values: xarray.DataArray, over: str, design: Sequence[str], confidence: float, tolerance: float
) -> list[dict[str, Any]]:
    """One entry for each point of the axes of the design but `over`; a metric that is an array is described as one."""
    others = [dim for dim in design if dim != over]
    inner = [dim for dim in values.dims if dim not in design]
    entries = []
    for place in itertools.product(*(range(values.sizes[dim]) for dim in others)):
        at = dict(zip(others, place, strict=True))
        rows = values.isel(at).transpose(over, *inner).to_numpy().astype(np.float64)
        point = {dim: values.coords[dim][n].item() for dim, n in at.items()}
        entries.append({"at": point, **_entry(rows, confidence, tolerance)})
    return entries


def _entry(rows: Any, confidence: float, tolerance: float) -> dict[str, Any]:
    try:
        found = statistics(rows, confidence=confidence)
    except ValueError as error:
        return {"members": int(np.isfinite(rows.reshape(len(rows), -1)).all(axis=1).sum()), "words": str(error)}
    entry: dict[str, Any] = {
        "members": found.members,
        "missing": found.missing,
        "mean": found.mean.tolist(),
        "std": found.std.tolist(),
        "percentiles": {f"{p:g}": values.tolist() for p, values in found.percentiles.items()},
        "mean_interval": [found.mean_low.tolist(), found.mean_high.tolist()],
    }
    if rows.ndim > 1:
        return {**entry, "words": f"{found.members} members of {rows[0].size} values"}
    settled = settling(rows, tolerance)
    entry["convergence"] = {
        "members": settled.members, "mean": settled.mean, "standard_error": settled.standard_error, "enough": settled.enough,
    }  # fmt: skip
    enough = f"settled from {settled.enough} on" if settled.enough else "not settled yet"
    words = f"{float(found.mean):.6g} +- {float(found.std):.3g} of {found.members} members, mean in [{float(found.mean_low):.6g}, {float(found.mean_high):.6g}], {enough}"
    return {**entry, "words": words}
