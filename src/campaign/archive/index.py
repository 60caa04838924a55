"""What an archive says of itself: `archive.json`, `manifest.csv` with a row for each file, and `SHA256SUMS` for other programs."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from campaign.core.model import Point
from campaign.durable import sha256_of
from campaign.errors import Code, FormatError, UsageError

SCHEMA_VERSION = 1
HEAD, ROWS, SUMS = "archive.json", "manifest.csv", "SHA256SUMS"
README, CRATE, LACKING = "README.md", "ro-crate-metadata.json", "INCOMPLETE.csv"
OWN = frozenset({HEAD, ROWS, SUMS, README, CRATE, LACKING})
"""Files that tell of the archive, beside what is copied into it."""

FIRST, LAST = ("path", "bytes", "sha256", "kind", "job"), ("task_fingerprint", "source")
"""Columns of `manifest.csv` before and after the parameters of the design."""

_SUM = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive."""

    path: str  # below the archive
    size_bytes: int
    sha256: str
    kind: str  # product, record, metadata, dataset, report, log, file
    source: str  # below the campaign's directory; empty where it was made for the archive
    job: str = ""  # whose product it is
    point: Point = field(default_factory=dict)
    task_fingerprint: str = ""


def write_head(root: Path, head: dict[str, Any]) -> None:
    """Say what is in the archive; an archive without it is none."""
    from campaign.durable import write_json

    write_json(root / HEAD, {"schema_version": SCHEMA_VERSION, **head})


def read_head(root: Path) -> dict[str, Any]:
    """What an archive says of itself; UsageError where it is none, FormatError where it can't be read."""
    try:
        head: dict[str, Any] = json.loads((root / HEAD).read_text())
        version = head["schema_version"]
    except FileNotFoundError:
        raise UsageError(
            Code.CAMPAIGN_MISSING,
            f"there is no archive in {root}",
            action=f"name the directory that holds {HEAD}: it is called <version>_<name>, as the campaign is",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(
            Code.FORMAT_DAMAGED, f"{root / HEAD} can't be read: {error}", action="campaign archive writes it anew"
        ) from error
    if version != SCHEMA_VERSION:
        raise FormatError(
            Code.FORMAT_UNKNOWN, f"{root / HEAD} has schema {version!r}", action="read it with a newer campaign"
        )
    return head


class Writer:
    """Writes `manifest.csv` and `SHA256SUMS` row by row; both take their names at the end, together."""

    def __init__(self, root: Path, parameters: Sequence[str]) -> None:
        self._root, self._parameters = root, tuple(parameters)
        self._scratch = {name: root / f".{name}.part" for name in (ROWS, SUMS)}
        self._rows = self._scratch[ROWS].open("w", newline="", encoding="utf-8")
        self._sums = self._scratch[SUMS].open("w", encoding="utf-8")
        self._csv = csv.writer(self._rows, lineterminator="\n")
        self._csv.writerow([*FIRST, *self._parameters, *LAST])

    def add(self, entry: Entry) -> None:
        """One more file."""
        point = [entry.point.get(name, "") for name in self._parameters]
        self._csv.writerow(
            [entry.path, entry.size_bytes, entry.sha256, entry.kind, entry.job, *point, entry.task_fingerprint, entry.source]
        )  # fmt: skip
        self._sums.write(f"{entry.sha256}  {entry.path}\n")

    def close(self) -> None:
        """Both are complete."""
        self._rows.close()
        self._sums.write(f"{sha256_of(self._scratch[ROWS])}  {ROWS}\n")
        self._sums.close()
        for name, scratch in self._scratch.items():
            scratch.replace(self._root / name)


def read_sums(root: Path) -> Iterator[tuple[str, str]]:
    """(path, SHA-256) of each file of an archive; UsageError for one that was never finished, FormatError for a line that is none."""
    try:
        with (root / SUMS).open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                match = _SUM.fullmatch(line.rstrip("\n"))
                if match is None:
                    raise FormatError(Code.FORMAT_DAMAGED, f"line {number} of {root / SUMS} is none: {line[:80]!r}")
                yield _inside(match.group(2), root / SUMS), match.group(1)
    except FileNotFoundError:
        raise UsageError(
            Code.CAMPAIGN_MISSING,
            f"{root} was never finished: it has no {SUMS}",
            action="campaign archive CAMPAIGN DEST goes on with it",
        ) from None


def read_entries(root: Path) -> Iterator[Entry]:
    """Every file of an archive; FormatError where `manifest.csv` is not what was written."""
    sums = dict(read_sums(root))
    if not (root / ROWS).exists() or sha256_of(root / ROWS) != sums.get(ROWS):
        raise FormatError(
            Code.FORMAT_DAMAGED,
            f"{root / ROWS} is not what was written",
            action="campaign archive CAMPAIGN DEST writes it anew",
        )
    with (root / ROWS).open(newline="", encoding="utf-8") as file:
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
