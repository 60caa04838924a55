"""The ledger: an SQLite index of committed batches and of attempts. A projection of `batches/`; delete it and start."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.core.lifecycle import JobTable
from campaign.core.model import Record, State
from campaign.errors import Code, FormatError, StorageError
from campaign.ports import Commit

SCHEMA_VERSION = 2

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE job (
    job INTEGER PRIMARY KEY, state INTEGER NOT NULL, attempt INTEGER NOT NULL, batch INTEGER NOT NULL,
    failures INTEGER NOT NULL, interruptions INTEGER NOT NULL, timeouts INTEGER NOT NULL,
    memory_failures INTEGER NOT NULL, revoked INTEGER NOT NULL, revoked_in INTEGER NOT NULL
);
CREATE TABLE batch (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, batch INTEGER NOT NULL UNIQUE, path TEXT NOT NULL, jobs INTEGER NOT NULL
);
CREATE TABLE attempt (
    job INTEGER NOT NULL, attempt INTEGER NOT NULL, batch INTEGER NOT NULL, outcome TEXT NOT NULL,
    started_ms INTEGER NOT NULL, duration_s REAL NOT NULL, node TEXT NOT NULL, code TEXT, error_class TEXT, message TEXT,
    name TEXT NOT NULL, PRIMARY KEY (job, attempt, outcome)
) WITHOUT ROWID;
CREATE INDEX attempt_failed ON attempt (started_ms) WHERE code IS NOT NULL;
"""


class SqliteLedger:
    """The one writer's connection. Rollback journal, full sync: WAL needs shared memory, which Lustre and NFS lack."""

    def __init__(self, path: Path) -> None:
        """Open or create; FormatError where the file is damaged or of another schema."""
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.OperationalError as error:
            raise self._refused(error) from error
        try:
            for pragma in ("journal_mode=TRUNCATE", "synchronous=FULL", "locking_mode=EXCLUSIVE"):
                self._db.execute(f"PRAGMA {pragma}")
            self._create()
            if (found := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise FormatError(Code.FORMAT_DAMAGED, f"the ledger {path} is damaged: {found}")
        except FormatError:
            self._db.close()
            raise
        except sqlite3.DatabaseError as error:
            self._db.close()
            if isinstance(error, sqlite3.OperationalError):
                raise self._refused(error) from error
            raise FormatError(Code.FORMAT_DAMAGED, f"the ledger {path} is damaged: {error}") from error

    def _refused(self, error: sqlite3.OperationalError) -> StorageError:
        """A disk that is full, a directory that can't be written."""
        message = f"the ledger {self._path} can't be written: {error}"
        return StorageError(Code.STORAGE_FULL, message, action="make room, then start again")

    def _create(self) -> None:
        """Lay out the tables; those of an earlier schema are dropped, and filled again from `batches/`."""
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found == SCHEMA_VERSION:
            return
        tables = [name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        ours = [name for name in tables if not name.startswith("sqlite_")]
        if found > SCHEMA_VERSION or (ours and not found):
            raise FormatError(Code.FORMAT_UNKNOWN, f"the ledger {self._path} has an unknown schema")
        drop = "".join(f"DROP TABLE {name}; " for name in ours)
        self._db.executescript(f"BEGIN IMMEDIATE; {drop}{_TABLES} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")

    def clear(self, remember: Mapping[str, str]) -> None:
        """Forget everything but these values, in one transaction; the batches are indexed again."""
        with self._writing():
            for table in ("job", "batch", "attempt", "meta"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
            self._db.executemany("INSERT INTO meta VALUES (?, ?)", remember.items())

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def record(self, commits: Sequence[tuple[Commit, Sequence[Record]]], rows: Iterable[tuple[int, ...]]) -> None:
        """Index committed artifacts and the rows of the job table that follow, in one transaction."""
        with self._writing():
            for commit, records in commits:
                self._db.execute(
                    "INSERT OR IGNORE INTO batch (batch, path, jobs) VALUES (?, ?, ?)",
                    (commit.batch, commit.path, commit.jobs),
                )
                self._db.executemany(
                    "INSERT OR IGNORE INTO attempt VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_attempt_row, records)
                )
            self._db.executemany("INSERT OR REPLACE INTO job VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, whole or not at all; StorageError where the disk refuses."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise StorageError(
                Code.STORAGE_FULL,
                f"the ledger {self._path} can't be written: {error}",
                action="make room, then start again",
            ) from error
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def jobs(self, size: int) -> JobTable:
        """The job table of a campaign with `size` jobs."""
        return _jobs(self._db, size)

    def batches_after(self, seq: int) -> list[tuple[int, int]]:
        """(seq, batch) of the batches that were committed after `seq`, in order of commit."""
        return self._db.execute("SELECT seq, batch FROM batch WHERE seq > ? ORDER BY seq", (seq,)).fetchall()

    def last_seq(self) -> int:
        """The latest place in the order of commit, 0 where nothing is indexed."""
        return int(self._db.execute("SELECT coalesce(max(seq), 0) FROM batch").fetchone()[0])

    def known_batches(self) -> set[int]:
        """Numbers of all indexed batches."""
        return {row[0] for row in self._db.execute("SELECT batch FROM batch")}

    def durations_s(self, limit: int) -> list[tuple[int, float]]:
        """(job, seconds) of the latest attempts that completed, oldest first."""
        query = "SELECT job, duration_s FROM attempt WHERE outcome = 'completed' ORDER BY started_ms DESC LIMIT ?"
        return [(int(job), float(seconds)) for job, seconds in reversed(self._db.execute(query, (limit,)).fetchall())]

    def has_attempt(self, job: int, attempt: int) -> bool:
        """Whether the end of this attempt is indexed."""
        found = self._db.execute(
            "SELECT 1 FROM attempt WHERE job = ? AND attempt = ? AND outcome NOT IN ('requeued', 'revoked')",
            (job, attempt),
        ).fetchone()
        return found is not None

    def last_attempt(self, job: int) -> int:
        """Number of the latest attempt of a job, 0 where there was none."""
        return int(
            self._db.execute("SELECT coalesce(max(attempt), 0) FROM attempt WHERE job = ?", (job,)).fetchone()[0]
        )

    def get(self, key: str, default: str = "") -> str:
        """A remembered value, such as `flushed`."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else str(row[0])

    def put(self, key: str, value: str) -> None:
        """Remember a value."""
        with self._writing():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def _attempt_row(record: Record) -> tuple[Any, ...]:
    failure = record.failure
    cause = (failure.code, failure.error_class, failure.message[:1000]) if failure else (None, None, None)
    return (
        record.job, record.attempt, record.batch, str(record.outcome), record.started_ms, record.duration_s, record.node,
        *cause, record.name,
    )  # fmt: skip


def _jobs(db: sqlite3.Connection, size: int) -> JobTable:
    columns = [field.name for field in fields(JobTable)]
    rows = np.array(db.execute(f"SELECT job, {', '.join(columns)} FROM job").fetchall(), dtype=np.int64)  # noqa: S608
    table = JobTable.empty(size)
    if rows.size:
        rows = rows[rows[:, 0] < size]
        for n, name in enumerate(columns, start=1):
            getattr(table, name)[rows[:, 0]] = rows[:, n]
    return table


def _failures(db: sqlite3.Connection, limit: int) -> list[dict[str, Any]]:
    """The latest attempt of each job that is not completed, where it failed; newest first."""
    names = ("job", "name", "attempt", "outcome", "started_ms", "node", "code", "error_class", "message", "batch")
    columns = ", ".join(f"a.{name}" for name in names)
    query = (
        f"SELECT {columns} FROM attempt a JOIN job j ON j.job = a.job AND j.attempt = a.attempt"  # noqa: S608
        " WHERE a.code IS NOT NULL AND j.state != ? ORDER BY a.started_ms DESC LIMIT ?"
    )
    found = db.execute(query, (int(State.COMPLETED), limit))
    return [dict(zip(names, row, strict=True)) for row in found]


@dataclass(frozen=True, slots=True)
class LedgerView:
    """What a reader sees of a ledger that no coordinator holds."""

    counts: Mapping[State, int]
    mean_duration_s: float
    failures: Iterable[Mapping[str, Any]]


def view(path: Path, size: int, failures: int = 5) -> LedgerView:
    """Read the ledger of a campaign with `size` jobs, without writing; FormatError where it is damaged."""
    with _reading(path) as db:
        grouped = {State(s): n for s, n in db.execute("SELECT state, count(*) FROM job GROUP BY state")}
        listed = sum(grouped.values())
        counts = {state: grouped.get(state, 0) for state in State}
        counts[State.PENDING] += max(size - listed, 0)
        mean = db.execute("SELECT avg(duration_s) FROM attempt WHERE outcome = 'completed'").fetchone()[0]
        return LedgerView(counts, float(mean or 0.0), _failures(db, failures))


def states(path: Path, size: int) -> npt.NDArray[np.int8]:
    """State of every job as a reader sees it, (size,); FormatError where the ledger is damaged."""
    known = np.zeros(size, np.int8)
    with _reading(path) as db:
        for job, state in db.execute("SELECT job, state FROM job WHERE job < ?", (size,)):
            known[job] = state
    return known


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for reading a ledger that no coordinator holds.

    A coordinator that was killed in a transaction leaves a journal that must be rolled back before anything can be
    read; SQLite does that for a connection that may write.
    """
    try:
        for mode in ("ro", "rw"):
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)) as db:
                try:
                    db.execute("SELECT count(*) FROM meta").fetchone()
                except sqlite3.OperationalError:
                    if mode == "ro":
                        continue
                    raise
                yield db
                return
    except sqlite3.DatabaseError as error:
        raise FormatError(
            Code.FORMAT_DAMAGED,
            f"the ledger {path} can't be read: {error}",
            action="start the campaign again: the ledger is rebuilt from batches/",
        ) from error
