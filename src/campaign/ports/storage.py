"""What is kept of a campaign: batches, journals, the index of both, the dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from campaign.core.lifecycle import JobTable
from campaign.core.model import Record, State


@dataclass(frozen=True, slots=True)
class Batch:
    """The content of one artifact."""

    number: int
    meta: Mapping[str, Any]
    records: tuple[Record, ...]


class Artifacts(Protocol):
    """Sealed batches of records: staged, then committed. What is committed is the truth."""

    def seal(self, number: int, records: Sequence[Record], provenance: Mapping[str, Any]) -> Path:
        """Write the artifact of a batch where it waits for its commit, durably."""

    def staged(self) -> list[Path]:
        """Sealed artifacts that wait for their commit."""

    def singles(self) -> list[Path]:
        """Files of single records, as they were before there were batches, that wait for their commit."""

    def read_single(self, path: Path) -> Record:
        """The record in such a file; FormatError where it can't be trusted."""

    def commit(self, staged: Path) -> Path | None:
        """Promote a validated artifact; None where its batch is committed already; FormatError where it is damaged."""

    def relative(self, path: Path) -> str:
        """`path` as the ledger writes it."""

    def path(self, number: int) -> Path:
        """Where a committed batch lies."""

    def numbers(self) -> list[int]:
        """Numbers of all committed batches, ascending."""

    def last_number(self) -> int:
        """The highest number that a batch ever had, wherever its artifact is now; -1 where there was none."""

    def read(self, number: int) -> Batch:
        """A committed batch; FormatError where it is damaged."""

    def set_aside(self, path: Path, why: str) -> Path:
        """Move a file that can't be trusted to quarantine, with the reason beside it."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt that was begun, and that may or may not have an end."""

    job: int
    attempt: int
    batch: int
    at_ms: int
    directory: str = ""  # of the stage that it belongs to; empty: none


class Journals(Protocol):
    """The journals of all workers."""

    def read(self, worker: str | None = None) -> Iterator[Begun | Record]:
        """Every line of the journal of one worker, or of every journal."""

    def clear(self) -> None:
        """Remove journals whose every record is committed."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One committed artifact as the ledger knows it."""

    batch: int
    path: str  # relative to the campaign's directory
    jobs: int


class Ledger(Protocol):
    """The index of committed artifacts and of attempts: a projection, rebuilt when it is lost."""

    def record(self, commits: Sequence[tuple[Commit, Sequence[Record]]], rows: Iterable[tuple[int, ...]]) -> None:
        """Index committed artifacts and the rows of the job table that follow, as `JobTable.rows` gives them, in one transaction."""

    def jobs(self, size: int) -> JobTable:
        """The job table of a campaign with `size` jobs."""

    def known_batches(self) -> set[int]:
        """Numbers of all indexed batches."""

    def batches_after(self, seq: int) -> list[tuple[int, int]]:
        """(seq, batch) of the batches that were committed after `seq`, in order of commit."""

    def last_seq(self) -> int:
        """The latest place in the order of commit, 0 where nothing is indexed."""

    def durations_s(self, limit: int) -> list[tuple[int, float]]:
        """(job, seconds) of the latest attempts that completed, oldest first."""

    def has_attempt(self, job: int, attempt: int) -> bool:
        """Whether the end of this attempt is indexed."""

    def last_attempt(self, job: int) -> int:
        """Number of the latest attempt of a job, 0 where there was none."""

    def get(self, key: str, default: str = "") -> str:
        """A remembered value."""

    def put(self, key: str, value: str) -> None:
        """Remember a value."""

    def clear(self, remember: Mapping[str, str]) -> None:
        """Forget everything but these values, in one transaction; the batches are indexed again."""

    def close(self) -> None:
        """Close the index."""


class ResultStore(Protocol):
    """The dataset: a projection, rebuilt when it is lost."""

    @property
    def ready(self) -> bool:
        """Whether the store is there, with every variable that is wanted."""

    def create(self) -> None:
        """Lay out an empty store that takes the place of any other when it is published."""

    def publish(self) -> None:
        """Let readers see what was created and filled since; nothing where nothing was created."""

    def write(self, records: Sequence[Record], states: Mapping[int, State]) -> None:
        """Put records and states in; returns when they are durable. FormatError where what is there is damaged."""


class Committer(Protocol):
    """Makes finished batches permanent."""

    def commit(self, batches: Sequence[tuple[int, Sequence[Record]]]) -> None:
        """Seal, validate, promote and index batches."""

    def flush(self) -> None:
        """Bring the dataset up to what is committed."""
