"""One measured quantity of a campaign over its design."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from campaign.analyse.results import open_results
from campaign.errors import Code, UsageError

if TYPE_CHECKING:
    import xarray


STACKED = "all of its dimensions"
"""A name that no axis has."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a metric does over all jobs that completed."""

    metric: str
    units: str
    completed: int  # jobs that have a value; of arrays, values that are there
    jobs: int
    of: str  # what is counted: jobs, or values
    minimum: float
    maximum: float
    mean: float
    std: float
    median: float
    lowest: tuple[Mapping[str, Any], ...]  # {parameters..., metric: value}, the lowest first
    highest: tuple[Mapping[str, Any], ...]  # the highest first


def metric(directory: Path, name: str) -> xarray.DataArray:
    """The variable `name` of a campaign's dataset, missing where a job is not completed; UsageError where there is none."""
    return metric_of(open_results(directory), name, directory)


def metric_of(results: xarray.Dataset, name: str, directory: Path) -> xarray.DataArray:
    """The same of the dataset of `directory`, which is open already."""
    measured = [str(n) for n, v in results.data_vars.items() if v.attrs.get("campaign_role") == "measurement"]
    if name not in results.data_vars:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"{directory} has no variable {name!r}",
            action=f"name one of: {', '.join(measured) or 'none is measured'}",
        )
    found: xarray.DataArray = results[name]
    if found.attrs.get("campaign_role") not in ("measurement", "execution"):
        raise UsageError(
            Code.CONFIG_INVALID, f"{name} is not measured", action=f"name one of: {', '.join(measured) or 'none is'}"
        )
    if found.dtype.kind not in "fiub":
        raise UsageError(Code.CONFIG_INVALID, f"{name} is not a number", action=f"name one of: {', '.join(measured)}")
    return found.load()


def summarise(values: xarray.DataArray, shown: int = 5, design: Collection[Any] = ()) -> Summary:
    """Statistics of a metric over all jobs, and the jobs at both ends; UsageError where no job has a value.

    `design` are the dimensions of the design; of a metric that has others, its values are counted.
    """
    design = design or values.dims
    name = str(values.name)
    flat = values.stack({STACKED: values.dims})
    numbers = flat.to_numpy().astype(np.float64)
    there = np.flatnonzero(np.isfinite(numbers))
    if not len(there):
        raise UsageError(Code.CAMPAIGN_MISSING, f"no job has a value of {name} yet", action="run the campaign first")
    ordered = there[np.argsort(numbers[there], kind="stable")]

    def told(places: Any) -> tuple[Mapping[str, Any], ...]:
        return tuple({**point_of(values, flat, int(place)), name: float(numbers[place])} for place in places)

    return Summary(
        metric=name,
        units=str(values.attrs.get("units", "1")),
        completed=len(there),
        jobs=len(numbers),
        of="values" if set(values.dims) - set(design) else "jobs",
        minimum=float(numbers[ordered[0]]),
        maximum=float(numbers[ordered[-1]]),
        mean=float(numbers[there].mean()),
        std=float(numbers[there].std(ddof=1)) if len(there) > 1 else 0.0,
        median=float(np.median(numbers[there])),
        lowest=told(ordered[:shown]),
        highest=told(ordered[::-1][:shown]),
    )


def point_of(values: xarray.DataArray, flat: xarray.DataArray, place: int) -> dict[str, Any]:
    """The coordinates of one job: the parameters of its case where cases are varied."""
    cell = flat[place]
    names = [str(n) for n in values.coords if str(n) in cell.coords]
    carried = [n for n in names if n not in values.dims]  # parameters that belong to a dimension of cases
    replaced = {str(values.coords[n].dims[0]) for n in carried if values.coords[n].dims}
    return {n: cell.coords[n].item() for n in names if n not in replaced}
