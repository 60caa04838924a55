"""What a worker did, one JSON object a line, on disk before anybody hears of it."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from campaign import durable
from campaign.core.model import STAGE, Record, Task
from campaign.crashpoints import reach
from campaign.ports import Begun
from campaign.wire import convert, decode, encode

SYNC_INTERVAL_S = 0.2
"""A line survives the death of the process at once, and that of the node after at most this long."""


class JournalFile:
    """Append-only journal of one worker; safe to use from its threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._lock = threading.Lock()
        self._torn = False
        self._synced = time.monotonic()

    def started(self, tasks: Sequence[Task], at_ms: int) -> None:
        """Note that attempts begin."""
        whose = [(task.directory,) if task.directory else () for task in tasks]
        self._append({"start": (t.job, t.attempt, t.batch, at_ms, *of)} for t, of in zip(tasks, whose, strict=True))
        reach("journal.started")

    def ended(self, records: Sequence[Record]) -> None:
        """Note how attempts ended."""
        self._append({"end": record} for record in records)
        reach("journal.ended")

    def returned(self, tasks: Sequence[Task]) -> None:
        """Note that they were not begun after all."""
        self._append({"back": (task.job, task.attempt)} for task in tasks)

    def close(self) -> None:
        """Make everything durable and close."""
        with self._lock:
            os.fsync(self._handle)
            os.close(self._handle)

    def _append(self, lines: Iterable[dict[str, object]]) -> None:
        data = b"".join(encode(line) + b"\n" for line in lines)
        with self._lock:
            self._write(data)
            if time.monotonic() - self._synced > SYNC_INTERVAL_S:
                os.fsync(self._handle)
                self._synced = time.monotonic()

    def _write(self, data: bytes) -> None:
        """Append whole lines; after a line that a full disk tore, begin on a new one."""
        if self._torn:
            data = b"\n" + data
        self._torn = True
        while data:
            data = data[os.write(self._handle, data) :]
        self._torn = False


def read_journal(path: Path) -> Iterator[Begun | Record]:
    """The starts and ends in a journal, in order, without the starts that were taken back.

    A torn line, as a killed worker leaves it at the end, is passed over.
    """
    taken_back = Counter(tuple(entry["back"]) for entry in _lines(path, b'{"back"'))
    for entry in _lines(path):
        try:
            if "start" in entry:
                begun = Begun(*entry["start"])
                if taken_back[begun.job, begun.attempt]:
                    taken_back[begun.job, begun.attempt] -= 1
                else:
                    yield begun
            elif "end" in entry:
                yield convert(entry["end"], Record)
        except (ValueError, KeyError, TypeError):
            continue


def _lines(path: Path, prefix: bytes = b"{") -> Iterator[dict[str, Any]]:
    """The lines of a journal that begin so."""
    with path.open("rb") as file:
        for line in file:
            if line.startswith(prefix):
                with suppress(ValueError):
                    yield decode(line)


def _of_stages(path: Path) -> Iterator[dict[str, Any]]:
    """The lines that are about jobs of stages."""
    for line in _lines(path):
        if len(line.get("start", ())) > len(_OWN_START) or line.get("end", {}).get("generator") == STAGE:
            yield line


_OWN_START = ("job", "attempt", "batch", "at_ms")


class JournalDirectory:
    """The journals of all workers of a coordinator, and of earlier ones in other directories."""

    def __init__(self, *paths: Path, keep_stages: bool = False) -> None:
        """The first directory is that of the coordinator's own workers; `keep_stages` when lines about jobs of stages are not `clear`ed."""
        self._all, self._keep_stages = dict.fromkeys(paths), keep_stages

    def file(self, worker: str) -> Path:
        """Where the journal of one worker lies, given the worker's address."""
        return next(iter(self._all)) / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', worker)}.jsonl"

    def read(self, worker: str | None = None) -> Iterator[Begun | Record]:
        """Every line of the journal of one worker, or of every journal."""
        paths = sorted(p for d in self._all for p in d.glob("*.jsonl")) if worker is None else [self.file(worker)]
        for path in paths:
            if path.exists():
                yield from read_journal(path)

    def clear(self) -> None:
        """Remove journals whose every record is committed."""
        for directory in self._all:
            for path in directory.glob("*.jsonl"):
                kept = list(_of_stages(path)) if self._keep_stages else []
                if kept:
                    durable.write_bytes(path, b"".join(encode(line) + b"\n" for line in kept))
                else:
                    path.unlink()
