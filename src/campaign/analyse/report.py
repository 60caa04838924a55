"""What a report tells of a campaign, from its dataset: states, rates, durations, nodes, measurements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from campaign.core.lifecycle import FAILED, JobTable
from campaign.core.model import State
from campaign.core.words import value_words

if TYPE_CHECKING:
    import xarray

MOMENTS, JOBS_IN_ONE = 200, 25
"""Intervals of the time line, at most, and how many jobs are to end in one of them."""

ROWS_MAX = 50
"""Values of an axis, and nodes, that have a row of their own."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Jobs a minute in equal intervals of time."""

    began: datetime
    hours: npt.NDArray[np.float64]  # middle of each interval, since `began`
    completed_per_min: npt.NDArray[np.float64]
    failed_per_min: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """Jobs that have something in common: a value of an axis, or a node."""

    label: str
    counts: Mapping[State, int]
    mean_s: float | None  # of those that completed; None where none did
    p95_s: float | None
    max_s: float | None


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement over all jobs that completed."""

    name: str
    units: str
    long_name: str
    shape: tuple[int, ...]  # of one job's value, () for a number
    least: float | None  # None for arrays, and where nothing is there
    mean: float | None
    greatest: float | None


@dataclass(frozen=True, slots=True)
class Account:
    """All of it."""

    states: npt.NDArray[np.int8]  # of every job, (n,)
    counts: Mapping[State, int]
    rate: Rate | None  # None where nothing has ended
    along: str  # name of the axis that `rows` go along, empty where none is short enough
    rows: Sequence[Row]
    nodes: Sequence[Row]
    measured: Sequence[Measured]
    products: int

    @property
    def total(self) -> int:
        """Jobs of the campaign."""
        return self.states.size


def account(dataset: xarray.Dataset) -> Account:
    """The account of a campaign; `dataset` as it is stored, in memory or not (masking it in xarray would import half of Dask)."""
    status = dataset["status"]
    states: npt.NDArray[np.int8] = status.to_numpy().astype(np.int8)
    duration = dataset["duration"].to_numpy().astype(np.float64)
    flat, seconds = states.reshape(-1), duration.reshape(-1)
    start = dataset["start_time"].to_numpy().astype("datetime64[ms]").reshape(-1)
    along = _short_axis(status)
    rows: list[Row] = []
    if along is not None:
        axis = status.dims.index(along)
        values = dataset[along].to_numpy() if along in dataset.coords else np.arange(states.shape[axis])
        split = [np.take(whole, range(states.shape[axis]), axis).swapaxes(0, axis) for whole in (states, duration)]
        rows = [
            _row(value_words(value), one.reshape(-1), took.reshape(-1))
            for value, one, took in zip(values, *split, strict=True)
        ]
    return Account(
        states=flat, counts=_counts(flat), rate=_rate(flat, start, seconds), along=str(along or ""), rows=rows,
        nodes=_nodes(np.asarray(dataset["node"].to_numpy().reshape(-1).tolist(), str), flat, seconds), measured=[*_measured(dataset, states == State.COMPLETED)],
        products=int((dataset["product"].to_numpy() != "").sum()),
    )  # fmt: skip


def job_table(dataset: xarray.Dataset) -> JobTable:
    """State, attempt and batch of each job, as the dataset shows them."""
    table = JobTable.empty(dataset["status"].size)
    table.state[:] = dataset["status"].to_numpy().reshape(-1)
    for column, absent in (("attempt", 0), ("batch", -1)):
        known = dataset[column].to_numpy().reshape(-1).astype(np.float64)
        getattr(table, column)[:] = np.where(np.isfinite(known), known, absent)
    return table


def _short_axis(status: xarray.DataArray) -> Any:
    """The dimension with the fewest values above one, if there are few."""
    lengths = sorted((length, str(name)) for name, length in status.sizes.items() if 1 < length <= ROWS_MAX)
    return lengths[0][1] if lengths else None


def _counts(states: npt.NDArray[np.int8]) -> dict[State, int]:
    numbers = np.bincount(states, minlength=len(State)).tolist()
    return {state: numbers[state] for state in State}


def _row(label: str, states: npt.NDArray[np.int8], seconds: npt.NDArray[np.float64]) -> Row:
    took = seconds[(states == State.COMPLETED) & np.isfinite(seconds)]
    told = [float(took.mean()), float(np.percentile(took, 95)), float(took.max())] if took.size else [None] * 3
    return Row(label, _counts(states), *told)


def _nodes(names: npt.NDArray[np.str_], states: npt.NDArray[np.int8], seconds: npt.NDArray[np.float64]) -> list[Row]:
    """A row for each node, those on which most failed first."""
    known, of = np.unique(names, return_inverse=True)
    order = np.argsort(of, kind="stable")
    edges = np.searchsorted(of[order], np.arange(len(known) + 1))
    rows = [
        _row(str(name), states[order[first:last]], seconds[order[first:last]])
        for name, first, last in zip(known, edges, edges[1:], strict=False)
        if name
    ]
    return sorted(rows, key=lambda row: (-sum(row.counts[state] for state in FAILED), row.label))[:ROWS_MAX]


def _rate(
    states: npt.NDArray[np.int8], start: npt.NDArray[np.datetime64], seconds: npt.NDArray[np.float64]
) -> Rate | None:
    """Ends of attempts in equal intervals from the first start to the last end."""
    known = ~np.isnat(start) & np.isfinite(seconds)
    if not known.any():
        return None
    began = start[known].min()
    ends_h = ((start - began) / np.timedelta64(1, "ms") / 1000 + seconds) / 3600
    last = max(float(ends_h[known].max()), 1e-6)
    edges = np.linspace(0.0, last, min(max(int(known.sum()) // JOBS_IN_ONE, 4), MOMENTS) + 1)
    minutes = (edges[1] - edges[0]) * 60
    done, failed = (
        np.histogram(ends_h[known & chosen], edges)[0] / minutes
        for chosen in (states == State.COMPLETED, np.isin(states, list(FAILED)))
    )
    return Rate(began.astype("datetime64[ms]").item().replace(tzinfo=UTC), (edges[1:] + edges[:-1]) / 2, done, failed)


def _measured(dataset: xarray.Dataset, completed: npt.NDArray[np.bool_]) -> Iterator[Measured]:
    jobs = dataset["status"].dims
    for name, values in dataset.data_vars.items():
        if values.attrs.get("campaign_role") != "measurement" or values.dtype.kind not in "fiu":
            continue
        inner = tuple(length for dim, length in values.sizes.items() if dim not in jobs)
        found = (
            values.to_numpy()[completed].astype(np.float64) if not inner else np.zeros(0)
        )  # arrays may be far larger
        there = found[np.isfinite(found)]
        told = [float(there.min()), float(there.mean()), float(there.max())] if there.size else [None] * 3
        yield Measured(
            str(name), str(values.attrs.get("units", "1")), str(values.attrs.get("long_name", "")), inner, *told
        )
