"""Whose a file of a case is: ours are made again at any time, those of others are never written over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from campaign.layout import Layout

MARK = "made_by"
"""Key by which our results tell who wrote them. A status file has the keys of its schema and no other: it is ours where it agrees
with our result beside it, or says nothing yet."""

US = "campaign"
AGREES = ("status", "timestamp_iso")


def told(path: Path) -> Mapping[str, Any] | None:
    """What a JSON file says; None where there is none. ValueError or OSError where it can't be read."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    if not isinstance(found, Mapping):
        raise ValueError("it holds no mapping")  # noqa: TRY004 - as for any other file that is no result
    return found


def is_our_result(layout: Layout, job: int, jobs: int) -> bool:
    """Whether the result of a case is ours, or not there."""
    try:
        found = told(layout.case_result(job, jobs))
    except (OSError, ValueError):
        return False
    return found is None or found.get(MARK) == US


def is_our_status(layout: Layout, job: int, jobs: int) -> bool:
    """Whether the status file of a case is ours, or not there."""
    try:
        found = told(layout.case(job) / "run_status.json")
        if found is None or found.get("status") == "pending":
            return True
        result = told(layout.case_result(job, jobs))
    except (OSError, ValueError):
        return False
    if result is None or result.get(MARK) != US:
        return False
    return all(found.get(key) == result.get(key) for key in AGREES)


def put_aside(path: Path) -> None:
    """Give a file of somebody else a name that is not ours: `result_0000.theirs.json`."""
    number, aside = 1, path.with_name(f"{path.stem}.theirs{path.suffix}")
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.stem}.theirs{number}{path.suffix}")
    path.rename(aside)
