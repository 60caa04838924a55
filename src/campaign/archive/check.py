"""Whether an archive is what was written: every file is read again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from campaign.archive import index
from campaign.archive.make import Told, threads
from campaign.durable import sha256_of
from campaign.errors import FormatError

TOGETHER = 256


@dataclass(frozen=True, slots=True)
class Check:
    """What was found."""

    directory: str
    files: int
    size_bytes: int
    damaged: tuple[tuple[str, str], ...]  # (path, what is wrong)
    unexpected: tuple[str, ...]  # files that nobody has written down
    finished: bool  # whether the copy came to its end
    complete: bool  # whether every job of the campaign has its result here

    @property
    def sound(self) -> bool:
        """Whether everything is as it was written."""
        return self.finished and not self.damaged and not self.unexpected

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "directory": self.directory, "sound": self.sound, "finished": self.finished, "complete": self.complete, "files": self.files,
            "bytes": self.size_bytes, "unexpected": list(self.unexpected),
            "damaged": [{"path": path, "what": what} for path, what in self.damaged],
        }  # fmt: skip


def verify(root: Path, told: Told = lambda *_: None) -> Check:
    """Read every file of an archive again; UsageError where it is none, or was never finished."""
    root = root.absolute()
    damaged: list[tuple[str, str]] = []
    try:
        head = index.read_head(root)
    except FormatError as error:
        damaged.append((index.HEAD, error.message))
        head = {}
    known: set[str] = set()
    files = size = 0
    for path, found, wrong in _read(root, _lines(root, damaged)):
        known.add(path)
        files, size = files + 1, size + found
        told(files, size)
        if wrong and (head or path != index.HEAD):
            damaged.append((path, wrong))
    here = (
        str(path.relative_to(root)) for path in root.rglob("*") if not path.name.startswith(".") and not path.is_dir()
    )
    unexpected = sorted(path for path in here if path not in known and path != index.SUMS)
    return Check(
        str(root), files, size, tuple(damaged), tuple(unexpected), finished=head.get("finished", True) is not None,
        complete=bool(head.get("complete", False)),
    )  # fmt: skip


def _lines(root: Path, damaged: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The lines of the checksums, up to one that can't be read."""
    try:
        yield from index.read_sums(root)
    except FormatError as error:
        damaged.append((index.SUMS, error.message))


def _read(root: Path, lines: Iterator[tuple[str, str]]) -> Iterator[tuple[str, int, str]]:
    """(path, bytes, what is wrong) of each file."""
    with ThreadPoolExecutor(threads()) as pool:
        while some := list(islice(lines, TOGETHER)):
            yield from pool.map(lambda line: _checked(root, *line), some)


def _checked(root: Path, path: str, digest: str) -> tuple[str, int, str]:
    try:
        size = (root / path).stat().st_size
        found = sha256_of(root / path)
    except FileNotFoundError:
        return path, 0, "it is gone"
    except OSError as error:
        return path, 0, f"it can't be read: {error.strerror or error}"
    return path, size, "" if found == digest else f"SHA-256 {found}, written down with {digest}; {size} bytes"
