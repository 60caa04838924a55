"""The report of a campaign: one HTML file that needs nothing else, and opens from a disk."""

from __future__ import annotations

import base64
import contextlib
import struct
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign import durable
from campaign.adapters.web import html
from campaign.core.model import Axis, State
from campaign.core.mosaic import overview

TILES_HIGH, TILES_WIDE = 400, 1200
PICTURES_MAX, PICTURE_BYTES_MAX = 24, 4 * 2**20
WIDTH, HEIGHT = 860, 140
"""Of the chart, px."""

Floats = npt.NDArray[np.float64]
KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def write_report(path: Path, **told: Any) -> None:
    """Render what the template `report.html` asks for, and put it in place at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(path, html.render("report.html", **told).encode())


def map_figure(states: npt.NDArray[np.int8], axes: Sequence[Axis]) -> dict[str, Any]:
    """The map of the states: the picture as a data URI, and what stands at its edges."""
    picture, down, across = overview(states, [len(axis.values) for axis in axes], TILES_HIGH, TILES_WIDE)
    sides = {"across": axes[across], "down": axes[down] if down is not None else None}
    return {"image": data_uri(png(picture.shown, [html.PALETTE[state][0] for state in State]), "image/png"), **sides}


def png(pixels: npt.NDArray[np.int8], palette: Sequence[str]) -> bytes:
    """An indexed PNG (ISO/IEC 15948) of (rows, columns) numbers of colours, which are given as `#rrggbb`."""
    height, width = pixels.shape

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = np.zeros((height, width + 1), np.uint8)  # each row after the number of its filter, 0 for none
    rows[:, 1:] = pixels
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    colours = b"".join(bytes.fromhex(colour[1:]) for colour in palette)
    parts = ((b"IHDR", header), (b"PLTE", colours), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in parts)


def pictures(directory: Path) -> list[Mapping[str, str]]:
    """Pictures in a directory as data URIs, the latest first; what is too large or no picture is left where it is."""
    paths = [path for path in directory.glob("*") if path.suffix.lower() in KINDS and path.is_file()]
    found: list[Mapping[str, str]] = []
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        with contextlib.suppress(OSError):
            if path.stat().st_size <= PICTURE_BYTES_MAX:
                found.append({"name": path.name, "image": data_uri(path.read_bytes(), KINDS[path.suffix.lower()])})
        if len(found) == PICTURES_MAX:
            break
    return found


def data_uri(body: bytes, kind: str) -> str:
    """What stands in a page instead of a file."""
    return f"data:{kind};base64,{base64.b64encode(body).decode()}"


def chart(began: datetime, hours: Floats, completed: Floats, failed: Floats) -> dict[str, Any]:
    """Two curves over time as points of SVG polylines, and what stands at the edges."""
    greatest = max(float(completed.max()), float(failed.max()), 1e-12)
    curves = {name: _points(values / greatest) for name, values in (("completed", completed), ("failed", failed))}
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "curves": curves,
        "greatest": greatest,
        "began": began,
        "hours": float(hours[-1] + hours[0]),
    }


def _points(shares: Floats) -> str:
    """Equally far apart over the whole width; 1 is at the top."""
    across = np.linspace(0, WIDTH, len(shares)).tolist()
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, (HEIGHT * (1 - shares)).tolist(), strict=True))
