"""A product, a file or a directory, from the temporary name under which it was made to its own."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

from campaign.core.model import Product
from campaign.crashpoints import reach
from campaign.durable import fsync_directory, fsync_file, sha256_of


def files_of(product: Path) -> list[Path]:
    """The files of a product, in order: itself, or all that lie in it; nothing where there is none."""
    if product.is_dir():
        return sorted(path for path in product.rglob("*") if path.is_file())
    return [product] if product.is_file() else []


def put_in_place(scratch: Path, target: Path, directory: Path) -> tuple[tuple[Product, ...], str]:
    """(what is recorded of each file, a note) of a finished product that has its own name now, durably.

    Nothing is overwritten; what stood there before is not lost unnoticed. `directory` is the campaign's.
    """
    made = _described(scratch)
    for path in files_of(scratch):
        fsync_file(path)
    if scratch.is_dir():
        for path in (scratch, *(path for path in scratch.rglob("*") if path.is_dir())):
            fsync_directory(path)
    note = ""
    try:
        _name(scratch, target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        there = _described(target)
        if there == made:
            note = "the same product was already there"
        else:
            note = "replaced an orphaned product with other content"
            _set_aside(target, directory, note, there)
            _name(scratch, target)
    fsync_directory(target.parent)
    reach("attempt.linked")
    place = target.relative_to(directory)
    return tuple(Product(str(place / path), size, digest) for path, size, digest in made), note


def _name(scratch: Path, target: Path) -> None:
    """Give a product its own name; OSError (EEXIST, ENOTEMPTY) where something has that name."""
    if scratch.is_dir():
        scratch.rename(target)
    else:
        os.link(scratch, target)


def _described(product: Path) -> list[tuple[Path, int, str]]:
    """(path below the product, bytes, SHA-256) of each file."""
    return [(path.relative_to(product), path.stat().st_size, sha256_of(path)) for path in files_of(product)]


def _set_aside(target: Path, directory: Path, note: str, there: list[tuple[Path, int, str]]) -> None:
    kept = directory / "quarantine" / f"{target.stem}.{uuid.uuid4().hex[:8]}{target.suffix}"
    kept.parent.mkdir(exist_ok=True)
    target.rename(kept)
    kept.with_suffix(".reason.txt").write_text("\n".join([f"{note}: attempt at {target.name}", *_listed(there)]) + "\n")


def _listed(described: list[tuple[Path, int, str]]) -> list[str]:
    return [f"{path if path.name else 'it'}: {size} bytes, SHA-256 {digest}" for path, size, digest in described]
