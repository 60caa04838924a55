"""What an archive says of itself: `archive.json`, `manifest.csv` with a row for each file, and `SHA256SUMS` for other programs."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from campaign.core.model import Point
from campaign.durable import sha256_of, write_json
from campaign.errors import Code, FormatError, UsageError
from campaign.layout import ARCHIVE_HEAD

SCHEMA_VERSION = 1
HEAD, ROWS, SUMS = ARCHIVE_HEAD, "manifest.csv", "SHA256SUMS"
README, CRATE, LACKING = "README.md", "ro-crate-metadata.json", "INCOMPLETE.csv"
OWN = frozenset({HEAD, ROWS, SUMS, README, CRATE, LACKING})
"""Files that tell of the archive, beside what is copied into it."""

LOCK = ".lock"
"""Held by the one who copies."""

FIRST, LAST = ("path", "bytes", "sha256", "kind", "job"), ("task_fingerprint", "source")
"""Columns of `manifest.csv` before and after the parameters of the design."""

NEEDED = ("campaign", "begun", "by", "finished")
"""What every head has, from the beginning of the first copy on."""

_SUM = re.compile(r"(\\?)([0-9a-f]{64})  (.+)")
_ESCAPED = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive."""

    path: str  # below the archive
    size_bytes: int
    sha256: str
    kind: str  # product, record, metadata, dataset, report, log, file, archive
    source: str  # below the campaign's directory; empty where it was made for the archive
    job: str = ""  # whose product it is
    point: Point = field(default_factory=dict)
    task_fingerprint: str = ""


def write_head(root: Path, head: dict[str, Any]) -> None:
    """Say what is in the archive; an archive without it is none."""
    write_json(root / HEAD, {"schema_version": SCHEMA_VERSION, **head})


def read_head(root: Path) -> dict[str, Any]:
    """What an archive says of itself; UsageError where it is none, FormatError where it can't be read."""
    try:
        head: dict[str, Any] = json.loads((root / HEAD).read_text())
        version, _ = head["schema_version"], [head[key] for key in NEEDED]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if (root / SUMS).is_file() or ((root / HEAD).is_file() and not isinstance(error, KeyError)):
            raise FormatError(
                Code.FORMAT_DAMAGED,
                f"{root / HEAD} " + ("is gone" if isinstance(error, FileNotFoundError) else f"can't be read: {error}"),
                action="campaign archive CAMPAIGN DEST writes it anew",
            ) from error
        raise UsageError(
            Code.CAMPAIGN_MISSING,
            f"there is no archive in {root}",
            action=f"name the directory that holds {HEAD}: it is called <version>_<name>, as the campaign is",
        ) from None
    if version != SCHEMA_VERSION:
        raise FormatError(
            Code.FORMAT_UNKNOWN, f"{root / HEAD} has schema {version!r}", action="read it with a newer campaign"
        )
    return head


class Writer:
    """Writes `manifest.csv` and `SHA256SUMS` row by row; both are on the disk before they take their names, together."""

    def __init__(self, root: Path, parameters: Sequence[str]) -> None:
        self._root, self._parameters = root, tuple(parameters)
        self._scratch = {name: root / f".{name}.part" for name in (ROWS, SUMS)}
        self._rows, self._sums = _writing(self._scratch[ROWS]), _writing(self._scratch[SUMS])
        self._csv = csv.writer(self._rows, lineterminator="\n")
        self._csv.writerow([*FIRST, *self._parameters, *LAST])

    def add(self, entry: Entry) -> None:
        """One more file."""
        point = [entry.point.get(name, "") for name in self._parameters]
        self._csv.writerow(
            [entry.path, entry.size_bytes, entry.sha256, entry.kind, entry.job, *point, entry.task_fingerprint, entry.source]
        )  # fmt: skip
        self._sums.write(_line(entry.path, entry.sha256))

    def close(self) -> None:
        """Both are complete."""
        _finish(self._rows)
        self._sums.write(_line(ROWS, sha256_of(self._scratch[ROWS])))
        _finish(self._sums)
        for name, scratch in self._scratch.items():
            scratch.replace(self._root / name)


def _writing(path: Path) -> TextIO:
    return path.open("w", newline="", encoding="utf-8", errors="surrogateescape")


def _finish(file: TextIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _line(path: str, digest: str) -> str:
    """As sha256sum writes it: a name with an end of line in it is escaped, and the line says so."""
    escaped = "".join(_ESCAPED.get(letter, letter) for letter in path)
    return f"{'' if escaped == path else chr(92)}{digest}  {escaped}\n"


def _unescaped(path: str) -> str:
    letters = {told: letter for letter, told in _ESCAPED.items()}
    return re.sub(r"\\[\\nr]", lambda match: letters[match[0]], path)


def read_sums(root: Path) -> Iterator[tuple[str, str]]:
    """(path, SHA-256) of each file of an archive; UsageError for one that was never finished, FormatError where it can't be read."""
    try:
        with (root / SUMS).open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            for number, line in enumerate(file, 1):
                match = _SUM.fullmatch(line.removesuffix("\n"))
                if match is None or not line.endswith("\n"):
                    raise FormatError(Code.FORMAT_DAMAGED, f"line {number} of {root / SUMS} is none: {line[:80]!r}")
                path = _unescaped(match[3]) if match[1] else match[3]
                yield _inside(path, root / SUMS), match[2]
    except FileNotFoundError:
        if read_head(root)["finished"] is not None:
            raise FormatError(
                Code.FORMAT_DAMAGED, f"{root / SUMS} is gone", action="campaign archive CAMPAIGN DEST writes it anew"
            ) from None
        raise UsageError(
            Code.CAMPAIGN_MISSING,
            f"{root} was never finished: it has no {SUMS}",
            action="campaign archive CAMPAIGN DEST goes on with it",
        ) from None


def digests(root: Path, *names: str) -> dict[str, str]:
    """What the checksums say of some files, as far as they tell of them; errors as for `read_sums`."""
    return {path: digest for path, digest in read_sums(root) if path in names}


def read_entries(root: Path) -> Iterator[Entry]:
    """Every file of an archive; FormatError where `archive.json` or `manifest.csv` is not what was written."""
    sums = digests(root, HEAD, ROWS)
    for name in (HEAD, ROWS):
        if not (root / name).exists() or sha256_of(root / name) != sums.get(name):
            raise FormatError(
                Code.FORMAT_DAMAGED,
                f"{root / name} is not what was written",
                action="campaign archive CAMPAIGN DEST writes it anew",
            )
    yield from read_rows(root)


def read_rows(root: Path) -> Iterator[Entry]:
    """The rows of `manifest.csv` as they stand there; FormatError for one that leads outside."""
    with (root / ROWS).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.DictReader(file)
        parameters = [name for name in rows.fieldnames or () if name not in (*FIRST, *LAST)]
        for row in rows:
            yield Entry(
                _inside(row["path"], root / ROWS),
                int(row["bytes"]),
                row["sha256"],
                row["kind"],
                _inside(row["source"], root / ROWS) if row["source"] else "",
                row["job"],
                {name: row[name] for name in parameters if row[name]},
                row["task_fingerprint"],
            )


def _inside(path: str, where: Path) -> str:
    """A path that stays below the directory it belongs to; FormatError for any other."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\x00" in path:
        raise FormatError(Code.FORMAT_DAMAGED, f"{path!r} in {where} leaves the archive", action="don't trust it")
    return path
