"""Raw files of SPICE, as ngspice writes them, in text or binary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.errors import Code, ProductError

HEADER_MAX = 1_000_000


def read_raw(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Vectors of the first plot in the file by their names, in lower case, each (points,), real or complex.

    ProductError where the file is torn or no raw file. Format: section 'rawfile' of the ngspice manual, appendix.
    """
    data = path.read_bytes()
    binary, text = data.find(b"Binary:\n"), data.find(b"Values:\n")
    mark = min((place for place in (binary, text) if place >= 0), default=-1)
    if mark < 0 or mark > HEADER_MAX:
        raise _no_raw(path, "it has neither `Binary:` nor `Values:`")
    head = data[:mark].decode("utf-8", "replace")
    fields = {
        key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in head.splitlines())
    }
    try:
        count, points = int(fields["no. variables"]), int(fields["no. points"].split()[0])
        names = [line.split()[1].lower() for line in head.split("Variables:", 2)[-1].splitlines() if line.strip()][
            :count
        ]
    except (KeyError, ValueError, IndexError) as error:
        raise _no_raw(path, f"its header can't be read: {error!r}") from error
    if len(names) != count or count < 1 or points < 0:
        raise _no_raw(path, f"it names {len(names)} of {count} vectors")
    kind = np.dtype("c16" if "complex" in fields.get("flags", "") else "f8")
    body = data[mark + len(b"Binary:\n") :]
    table = _binary(body, kind, points, count) if mark == binary else _text(body, kind, points, count)
    if table is None:
        raise _no_raw(path, f"it holds less than {points} points of {count} vectors")
    return {name: table[:, n] for n, name in enumerate(names)}


def _binary(body: bytes, kind: np.dtype[Any], points: int, count: int) -> npt.NDArray[Any] | None:
    size = points * count * kind.itemsize
    return None if len(body) < size else np.frombuffer(body[:size], dtype=kind).reshape(points, count)


def _text(body: bytes, kind: np.dtype[Any], points: int, count: int) -> npt.NDArray[Any] | None:
    """Each point: its number, then a value for each vector; a complex one as `real,imaginary`."""
    words = body.decode("utf-8", "replace").split()
    if len(words) < points * (count + 1):
        return None
    rows = np.array(words[: points * (count + 1)], dtype=object).reshape(points, count + 1)[:, 1:]
    try:
        values = [_value(word, kind) for word in rows.ravel()]
    except ValueError:
        return None
    return np.array(values, dtype=kind).reshape(points, count)


def _value(word: str, kind: np.dtype[Any]) -> complex | float:
    if kind.kind != "c":
        return float(word)
    real, _, imaginary = word.partition(",")
    return complex(float(real), float(imaginary or 0))


def _no_raw(path: Path, why: str) -> ProductError:
    return ProductError(Code.PRODUCT_INVALID, f"{path.name} is no raw file of SPICE: {why}")
