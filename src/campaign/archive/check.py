"""Whether an archive is what was written: every file is read again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from campaign.archive import index
from campaign.archive.copying import Told, threads
from campaign.durable import sha256_of
from campaign.errors import FormatError

TOGETHER = 256


@dataclass(frozen=True, slots=True)
class Check:
    """What was found."""

    directory: str
    files: int  # that were read
    sound_files: int  # of these: as they were written
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


def verify(root: str | Path, told: Told = lambda *_: None) -> Check:
    """Read every file of an archive again; UsageError where it is none, or was never finished."""
    root = Path(root).absolute()
    damaged: dict[str, str] = {}
    try:
        head = index.read_head(root)
    except FormatError as error:
        damaged[index.HEAD] = error.message
        head = {}
    known: dict[str, str] = {}
    files = size = 0
    for (path, digest), (found, wrong) in _read(root, _lines(root, damaged)):
        known[path] = digest
        files, size = files + 1, size + found
        told(files, size)
        if wrong:
            damaged.setdefault(path, wrong)
    if index.SUMS not in damaged and index.ROWS not in known:
        damaged[index.SUMS] = "its end is gone"
    if not {index.ROWS, index.SUMS} & damaged.keys():
        damaged |= _disagreements(root, known)
    here = (str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or not path.is_dir())
    unexpected = sorted(path for path in here if path not in known and path not in (index.SUMS, index.LOCK))
    return Check(
        str(root), files, sum(path not in damaged for path in known), size, tuple(damaged.items()), tuple(unexpected), finished=head.get("finished", True) is not None,
        complete=bool(head.get("complete", False)),
    )  # fmt: skip


def _lines(root: Path, damaged: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The lines of the checksums, up to one that can't be read."""
    try:
        yield from index.read_sums(root)
    except FormatError as error:
        damaged[index.SUMS] = error.message


def _disagreements(root: Path, sums: dict[str, str]) -> dict[str, str]:
    """Files of which the manifest and the checksums tell different things."""
    try:
        rows = {entry.path: entry.sha256 for entry in index.read_rows(root)}
    except (FormatError, OSError, ValueError, KeyError) as error:
        return {index.ROWS: f"it can't be read: {error}"}
    differ = [path for path in {**rows, **sums} if path != index.ROWS and rows.get(path) != sums.get(path)]
    return dict.fromkeys(differ, f"{index.ROWS} and {index.SUMS} say different things of it")


def _read(root: Path, lines: Iterator[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], tuple[int, str]]]:
    """((path, SHA-256 as written down), (bytes, what is wrong)) of each file."""
    with ThreadPoolExecutor(threads()) as pool:
        while some := list(islice(lines, TOGETHER)):
            yield from zip(some, pool.map(lambda line: _checked(root, *line), some), strict=True)


def _checked(root: Path, path: str, digest: str) -> tuple[int, str]:
    try:
        size = (root / path).stat().st_size
        found = sha256_of(root / path)
    except FileNotFoundError:
        return 0, "it is gone"
    except OSError as error:
        return 0, f"it can't be read: {error.strerror or error}"
    return size, "" if found == digest else f"SHA-256 {found}, written down with {digest}; {size} bytes"
