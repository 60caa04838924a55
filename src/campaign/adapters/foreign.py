"""Results that other programs have put into the directory of a campaign, case by case."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    product: Path | None = None
    seconds: float | None = None  # how long it took


def find(layout: Layout, job: int, jobs: int, point: Point, names: Sequence[str]) -> Foreign | None:
    """What others left of a job whose variables have these names; None where that is nothing, or not completed.

    Looked for: `result_0000.json` and `case_1/run_status.json`. FormatError where a file can't be read or is of another job.
    """
    found = Foreign(job)
    for path in (layout.case_result(job, jobs), layout.case(job) / "run_status.json"):
        told = _told(path)
        if told is None or str(told.get("status", "completed")).lower() not in DONE:
            continue
        _refuse_other(path, told, point)
        seconds = told.get("duration_s", told.get("simulation_duration"))
        found = Foreign(
            job,
            (*found.sources, path),
            {**_values(told, names), **found.values},
            found.product or _product(path, told, layout),
            float(seconds) if isinstance(seconds, int | float) and seconds >= 0 else found.seconds,
        )
    return found if found.sources else None


def _told(path: Path) -> Mapping[str, Any] | None:
    try:
        told = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FormatError(Code.FORMAT_DAMAGED, f"{path} can't be read: {error}") from error
    if not isinstance(told, Mapping):
        raise FormatError(Code.FORMAT_DAMAGED, f"{path} holds no mapping")
    return told


def _refuse_other(path: Path, told: Mapping[str, Any], point: Point) -> None:
    """Refuse a result that names other parameters than the job has."""
    parameters = told.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        raise FormatError(Code.FORMAT_DAMAGED, f"{path}: `parameters` is no mapping")
    for name, value in parameters.items():
        if name in point and not is_meant(point[name], value):
            raise FormatError(Code.FORMAT_DAMAGED, f"{path} is of another job: {name} is {value}, not {point[name]}")


def _values(told: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The values, as they stand in a mapping of their own or among everything else."""
    inside = next((told[key] for key in VALUES if isinstance(told.get(key), Mapping)), told)
    return {name: inside[name] for name in names if name in inside}


def _product(path: Path, told: Mapping[str, Any], layout: Layout) -> Path | None:
    """The file that a result names: beside it, or from the campaign's directory on."""
    products = told.get("products")
    named = told.get("result_file") or (products[0] if isinstance(products, list) and products else None)
    if named is None:
        return None
    try:
        places = [layout.inside(str(path.parent.relative_to(layout.root) / str(named))), layout.inside(str(named))]
    except JobError as error:
        raise FormatError(Code.FORMAT_DAMAGED, f"{path}: {error.message}") from error
    there = next((place for place in places if place.exists()), None)
    if there is None:
        raise FormatError(Code.FORMAT_DAMAGED, f"{path} names {named}, which is not there")
    return there
