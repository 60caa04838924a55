"""A Zarr store as one file: the same store is the same bytes, so that a copy that goes on knows what is there."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

SUFFIX = ".zip"
FIRST = "status"
"""The array that says which values are there: read first, so that these are at least as new while a campaign runs."""

_EPOCH = (1980, 1, 1, 0, 0, 0)


def write(store: Path, target: Path) -> None:
    """Put a store into a zip, uncompressed, since its chunks are: `zarr.storage.ZipStore` and xarray read it."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for path in _files(store):
            member = zipfile.ZipInfo(str(path.relative_to(store)), _EPOCH)
            member.external_attr = 0o644 << 16
            member.file_size = path.stat().st_size
            with path.open("rb") as read, archive.open(member, "w") as written:
                while block := read.read(1 << 20):
                    written.write(block)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def extract(archive: Path, store: Path) -> None:
    """Put a zip into a directory again; names that would leave it are kept inside by the library."""
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(store)


def _files(store: Path) -> list[Path]:
    """The files of a store, what says which values are there before the others."""
    found = [path for path in store.rglob("*") if path.is_file()]
    return sorted(found, key=lambda path: (path.relative_to(store).parts[0] != FIRST, str(path)))


def changed_ns(store: Path) -> int:
    """When a store was last written to, ns since 1970-01-01 UTC."""
    return max((path.stat().st_mtime_ns for path in store.rglob("*")), default=0)
