"""A Zarr store as one file: the same store is the same bytes, so that a copy that goes on knows what is there."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from campaign.archive.copying import settled
from campaign.errors import Code, StorageError

SUFFIX = ".zip"
FIRST = "status"
"""The array that says which values are there: read first, so that these are at least as new while a campaign runs."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_BLOCK_BYTES = 1 << 20


def write(store: Path, target: Path, wait: Callable[[int], None] = lambda _: None) -> str:
    """The SHA-256 of a zip, uncompressed since chunks are, that holds a store now: `zarr.storage.ZipStore` and xarray read it.

    FileNotFoundError where something of the store vanished meanwhile, StorageError where the zip does not read as it was written.
    `wait` is called with the number of bytes before they are written.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in _files(store):
            member = zipfile.ZipInfo(str(path.relative_to(store)), _EPOCH)
            member.external_attr = 0o644 << 16
            member.file_size = path.stat().st_size
            with path.open("rb") as read, archive.open(member, "w") as written:
                while block := read.read(_BLOCK_BYTES):
                    wait(len(block))
                    written.write(block)
    with target.open("r+b", buffering=0) as file:
        digest = settled(file)
    with zipfile.ZipFile(target) as archive:
        if archive.testzip() is not None:  # its CRCs are those of what was read
            raise StorageError(
                Code.STORAGE_UNWRITABLE, f"{target} does not read as it was written", action="look at the file system"
            )
    return digest


def extract(archive: Path, store: Path, wait: Callable[[int], None] = lambda _: None) -> None:
    """Put a zip into a directory again; names that would leave it are kept inside by the library."""
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            wait(member.file_size)
            packed.extract(member, store)


def _files(store: Path) -> list[Path]:
    """The files of a store, what says which values are there before the others."""
    found = [path for path in store.rglob("*") if path.is_file()]
    return sorted(found, key=lambda path: (path.relative_to(store).parts[0] != FIRST, str(path)))
