"""Pictures of an ensemble: each measured function with its scatter, its correlation matrix, how its covariance settles. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from campaign.analyse import moments
from campaign.analyse.figures import FAINT, SHOWN, finished, panelled
from campaign.analyse.labels import place, words
from campaign.errors import UsageError
from campaign.ports import Expected

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Expectations = Callable[[Mapping[str, Any]], Mapping[str, Expected]]

CORRELATED_MIN = 5
"""Members of which a correlation matrix is drawn."""


def of_ensemble(dataset: xarray.Dataset, over: str, expected: Expectations, most: int) -> Iterator[tuple[str, Figure]]:
    """(name, picture) of each measured function of one variable, and of its correlation; at most so many of each."""
    ds = dataset.campaign
    others = [dim for dim in ds.design if dim != over]
    drawn = 0
    for name in ds.measurements:
        values = ds.values(name).load()
        inner = [str(dim) for dim in values.dims if dim not in ds.design]
        if not inner or not bool(values.notnull().any()) or drawn == most:
            continue
        drawn += 1
        stacked = values.stack(point=others) if others else values.expand_dims("point")
        yield name, function(stacked, over, inner, others, expected)
        if int(moments.n_members(values, over).max()) >= CORRELATED_MIN:
            figure = correlations(values, over)
            if figure is not None:
                yield f"{name}_correlation", figure


def function(
    stacked: xarray.DataArray, over: str, inner: list[str], others: list[str], expected: Expectations
) -> Figure:
    """A panel for each value of the first inner dimension where there are two: mean, scatter of members (16 to 84 %), what is expected."""
    along, panels_of = inner[-1], inner[:-1]
    shown = stacked.stack(panel=panels_of) if panels_of else stacked.expand_dims("panel")
    figure, panels = panelled(min(shown.sizes["panel"], 4))
    for number, panel in enumerate(panels):
        part = shown.isel(panel=number)
        logarithmic = not panels_of and _spans_decades(part)
        for n in range(min(part.sizes["point"], SHOWN)):
            at = place(stacked, others, n)
            known = expected(at).get(str(stacked.name)) if not panels_of else None
            _curve(
                panel,
                part.isel(point=n).transpose(over, along),
                f"C{n}",
                at,
                known,
                floor=0.0 if logarithmic else -np.inf,
            )
        title = words(place(shown, panels_of, number))
        panel.set(xlabel=_label(stacked[along]), ylabel=_label(stacked), title=title)
        if logarithmic:
            panel.set_yscale("log", nonpositive="clip")
    return finished(figure, *panels, hidden=max(shown.sizes["panel"] - len(panels), stacked.sizes["point"] - SHOWN))


def _curve(
    panel: Axes, members: xarray.DataArray, color: str, at: Mapping[str, Any], known: Expected | None, *, floor: float
) -> None:
    """Mean and scatter; what is not above `floor` can't be drawn."""
    table, x = members.to_numpy().astype(float), members[members.dims[1]].to_numpy()
    table = table[np.isfinite(table).any(axis=1)]
    if not len(table):
        return
    there = np.isfinite(table).any(axis=0)
    low, high = np.nanpercentile(table[:, there], [16, 84], axis=0)
    mean = np.nanmean(table[:, there], axis=0)
    panel.plot(x[there], np.where(mean > floor, mean, np.nan), color=color, label=words(at) or None)
    panel.fill_between(x[there], low, high, color=color, alpha=0.25, linewidth=0)
    if known is not None:
        values = np.asarray(known.values, float)
        panel.plot(x, np.where(values > floor, values, np.nan), **{**FAINT, "color": "black", "zorder": 5})


def correlations(values: xarray.DataArray, over: str) -> Figure | None:
    """The correlation matrix at up to three points of the other axes; None where it is not known."""
    try:
        matrix = moments.correlation(moments.covariance(values, over, gaps="bins"))
    except UsageError:
        return None
    others = [str(dim) for dim in matrix.dims[:-2]]
    stacked = matrix.stack(point=others) if others else matrix.expand_dims("point")
    stacked = stacked.transpose("point", *matrix.dims[-2:])
    figure, panels = panelled(min(stacked.sizes["point"], 3))
    for n, panel in enumerate(panels):
        image = panel.imshow(stacked[n].to_numpy(), vmin=-1, vmax=1, cmap="RdBu_r", origin="lower")
        title = words(place(stacked, others, n))
        panel.set(title=title, xlabel=f"element of {values.name}")
    figure.colorbar(image, ax=panels, label="correlation")
    return figure


def _spans_decades(part: xarray.DataArray) -> bool:
    numbers = part.to_numpy()
    numbers = numbers[np.isfinite(numbers)]
    positive = numbers[numbers > 0]
    return bool(positive.size and (numbers >= 0).all() and positive.max() > 30 * positive.min())


def _label(array: xarray.DataArray) -> str:
    units = array.attrs.get("units", "1")
    return f"{array.name}" + (f" [{units}]" if units != "1" else "")
