"""What is read of what a program left behind."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from campaign.core.model import Point
from campaign.errors import Code, ProductError
from campaign.generators.command.options import OUTPUT, Measurement
from campaign.generators.command.spice import read_raw
from campaign.generators.importing import imported

ROUNDED = 1e-6
"""By how much a value may differ that somebody has written with fewer digits, relative to it."""

READ_MAX = 200_000_000
"""Largest text file that is searched, bytes."""


def measured(
    asked: Mapping[str, Measurement], directory: Path, output: str, point: Point, here: Path
) -> dict[str, Any]:
    """The values that are asked for; ProductError where one is not there, or is not what it should be."""
    return {name: _typed(name, one, _found(one, directory, output, point, here)) for name, one in asked.items()}


def source_of(one: Measurement) -> str:
    """Name of the file that a value is read from; empty for a Python function, which reads what it likes."""
    return one.json_ or one.csv or one.raw or (one.file if one.regex is not None else "")


def _found(one: Measurement, directory: Path, output: str, point: Point, here: Path) -> Any:
    if one.python is not None:
        return imported(one.python, str(here))(directory, dict(point))
    if one.json_ is not None:
        return _of_json(_text(directory, one.json_, output), one)
    if one.csv is not None:
        return _of_csv(_text(directory, one.csv, output), one)
    if one.raw is not None:
        return _of_raw(directory, one)
    matches = re.findall(one.regex or "", _text(directory, one.file, output), re.MULTILINE)
    if not matches:
        raise _missing(f"nothing in {one.file} matches {one.regex}", output)
    firsts = [match if isinstance(match, str) else match[0] for match in matches]
    return next((text for text in reversed(firsts) if text), "")


def _text(directory: Path, name: str, output: str) -> str:
    if name == OUTPUT:
        return output
    path = directory / name
    if not path.is_file():
        raise _missing(f"the program did not write {name}", output)
    if path.stat().st_size > READ_MAX:
        raise ProductError(Code.PRODUCT_INVALID, f"{name} has {path.stat().st_size:,} bytes, too many to search")
    return path.read_text(errors="replace")


def _of_json(text: str, one: Measurement) -> Any:
    try:
        node = json.loads(text)
    except ValueError as error:
        raise ProductError(Code.PRODUCT_INVALID, f"{one.json_} is no JSON: {error}") from error
    for part in one.key.split("."):
        try:
            node = node[int(part)] if isinstance(node, list) else node[part]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ProductError(
                Code.PRODUCT_INVALID, f"{one.json_} has no {one.key!r}: {part!r} is not there"
            ) from error
    return node


def _of_csv(text: str, one: Measurement) -> Any:
    rows = list(csv.DictReader(text.splitlines(), skipinitialspace=True))
    try:
        found = rows[one.row][one.column]
    except (IndexError, KeyError) as error:
        columns = ", ".join(rows[0]) if rows else "none"
        raise ProductError(
            Code.PRODUCT_INVALID,
            f"{one.csv} has no row {one.row} with a column {one.column!r}: {len(rows)} rows, columns {columns[:200]}",
        ) from error
    return found


def _of_raw(directory: Path, one: Measurement) -> float:
    path = directory / str(one.raw)
    if not path.is_file():
        raise _missing(f"the program did not write {one.raw}", "")
    vectors = read_raw(path)
    if one.vector.lower() not in vectors:
        raise ProductError(
            Code.PRODUCT_INVALID, f"{one.raw} has no vector {one.vector!r}, but {', '.join(vectors)[:200]}"
        )
    values = vectors[one.vector.lower()]
    if not len(values):
        raise ProductError(Code.PRODUCT_INVALID, f"{one.raw} has no point")
    values = np.abs(values) if values.dtype.kind == "c" else values
    pick: dict[str, Callable[[Any], Any]] = {
        "last": lambda v: v[-1], "first": lambda v: v[0], "min": np.min, "max": np.max, "mean": np.mean,
    }  # fmt: skip
    return float(pick[one.reduce](values))


def _typed(name: str, one: Measurement, value: Any) -> Any:
    try:
        if one.dtype == "str":
            return str(value)
        if one.dtype == "i8":
            return _integer(value)
        return float(value)
    except (TypeError, ValueError) as error:
        raise ProductError(Code.PRODUCT_INVALID, f"{name} is no number: {str(value)[:100]!r}") from error


def _integer(value: Any) -> int | float:
    """A whole number exactly; what is none is left to whoever checks it against its type."""
    try:
        return int(value) if isinstance(value, int | str) else int(float(value)) if float(value).is_integer() else value
    except ValueError:
        number = float(value)
        return int(number) if number.is_integer() else number


def same(one: Measurement, a: Any, b: Any) -> bool:
    """Whether two values that were read of the same place agree."""
    left, right = _typed("value", one, a), _typed("value", one, b)
    if isinstance(left, float) and isinstance(right, float) and math.isclose(left, right, rel_tol=ROUNDED):
        return True
    return bool(left == right or str(left) == str(right))  # as not-a-numbers are


def _missing(what: str, output: str) -> ProductError:
    said = "\n".join(output.strip().splitlines()[-10:])[-2000:]
    return ProductError(Code.PRODUCT_INVALID, f"{what}; it said:\n{said}" if said else what)
