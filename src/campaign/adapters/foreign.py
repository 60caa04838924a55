"""Results that other programs have put into the directory of a campaign, case by case."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaign.authorship import is_our_result, is_our_status, told
from campaign.core.design import is_meant
from campaign.core.model import Point
from campaign.errors import Code, FormatError, JobError
from campaign.layout import Layout

DONE = frozenset({"completed", "complete", "done", "success"})
VALUES = ("results", "measurements")
"""Keys under which values may stand; or they stand beside the others."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """What was found of one job."""

    job: int
    sources: tuple[Path, ...] = ()  # the files that tell of it
    values: Mapping[str, Any] = field(default_factory=dict)
    products: tuple[Path, ...] = ()
    seconds: float | None = None  # how long it took


def find(layout: Layout, job: int, jobs: int, point: Point, names: Sequence[str]) -> Foreign | None:
    """What others left of a job whose variables have these names; None where that is nothing, or not completed.

    Looked for: `result_0000.json` and `case_1/run_status.json`. FormatError where a file can't be read or is of another job.
    """
    found = Foreign(job)
    places = {layout.case_result(job, jobs): is_our_result, layout.case(job) / "run_status.json": is_our_status}
    for path, is_ours in places.items():
        if is_ours(layout, job, jobs):
            continue
        said = _read(path)
        if str(said.get("status", "completed")).lower() not in DONE:
            continue
        _refuse_other(path, said, point)
        found = Foreign(
            job,
            (*found.sources, path),
            {**_values(said, names), **found.values},
            found.products or _products(path, said, layout),
            _seconds(said) if found.seconds is None else found.seconds,
        )
    return found if found.sources else None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return told(path) or {}
    except (OSError, ValueError) as error:
        raise FormatError(Code.FORMAT_DAMAGED, f"{path} can't be read: {error}") from error


def _seconds(said: Mapping[str, Any]) -> float | None:
    seconds = said.get("duration_s", said.get("simulation_duration"))
    if isinstance(seconds, int | float) and math.isfinite(seconds) and seconds >= 0:
        return float(seconds)
    return None


def _refuse_other(path: Path, said: Mapping[str, Any], point: Point) -> None:
    """Refuse a result that names other parameters than the job has."""
    parameters = said.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        raise FormatError(Code.FORMAT_DAMAGED, f"{path}: `parameters` is no mapping")
    for name, value in parameters.items():
        if name in point and not is_meant(point[name], value):
            raise FormatError(Code.FORMAT_DAMAGED, f"{path} is of another job: {name} is {value}, not {point[name]}")


def _values(said: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The values, as they stand in a mapping of their own or among everything else."""
    inside = next((said[key] for key in VALUES if isinstance(said.get(key), Mapping)), said)
    return {name: inside[name] for name in names if name in inside}


def _products(path: Path, said: Mapping[str, Any], layout: Layout) -> tuple[Path, ...]:
    """The files that a result names: beside it, or from the campaign's directory on."""
    listed = said.get("products")
    named = [said["result_file"]] if said.get("result_file") else listed if isinstance(listed, list) else []
    return tuple(_place(path, str(name), layout) for name in named)


def _place(path: Path, name: str, layout: Layout) -> Path:
    try:
        places = [layout.inside(str(path.parent.relative_to(layout.root) / name)), layout.inside(name)]
        there = next((place for place in places if place.exists()), None)
    except (JobError, OSError, ValueError) as error:
        why = error.message if isinstance(error, JobError) else str(error)[:200]
        raise FormatError(Code.FORMAT_DAMAGED, f"{path}: {why}") from error
    if there is None:
        raise FormatError(Code.FORMAT_DAMAGED, f"{path} names {name}, which is not there")
    return there
