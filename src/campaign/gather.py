"""Records -> sealed -> validated -> committed -> ledger -> dataset. Interruptible anywhere, repeatable always."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.attempt import blank_record, checked, interrupted_record
from campaign.core.lifecycle import BATCH_JOBS_MAX, JobTable
from campaign.core.model import Failure, Outcome, Record, State, Variable
from campaign.crashpoints import reach
from campaign.errors import Code, FormatError, JobError
from campaign.meanings import Meanings
from campaign.plan import MissingInput, Plan
from campaign.ports import Artifacts, Begun, Commit, Journals, Ledger, ResultStore

logger = logging.getLogger("campaign")

FLUSHED, BUILDING = "flushed", "building"
"""What the ledger remembers: up to where the dataset is, and whether a new one is being filled."""

NEW_DATASET = {FLUSHED: "0", BUILDING: "1"}
REBUILD_SLICE = 200
"""Batches that are adopted in one transaction of the ledger."""

DURATIONS_KEPT = 10_000
"""Durations that a start learns from."""

SPEAKERS_KEPT = 20_000
"""Records that wait for the dataset at most, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a start found and mended."""

    adopted: int = 0  # batches that were committed or staged, but not in the ledger
    settled: int = 0  # records that only a journal had
    interrupted: int = 0  # attempts that were begun and have no end
    reapplied: int = 0  # batches that the dataset had not seen
    quarantined: int = 0


class Gatherer:
    """The one writer of a campaign's artifacts, ledger and dataset."""

    def __init__(
        self,
        plan: Plan,
        artifacts: Artifacts,
        ledger: Ledger,
        store: ResultStore,
        provenance: Callable[[], Mapping[str, Any]],
        numbering: tuple[int, int] = (1, 0),
        variables: Sequence[Variable] = (),
    ) -> None:
        """`numbering` = (step, residue): which batch numbers are ours to give, where others give some as well.

        `variables` are what a job measures; records that others made are checked against them.
        """
        self._variables = variables
        self._meanings = Meanings(variables)
        self._plan, self._artifacts, self._ledger, self._store = plan, artifacts, ledger, store
        self._provenance = provenance
        self.table = ledger.jobs(plan.size)
        self._speakers: dict[int, Record] = {}  # records that the dataset has not seen, one a job
        self._building = False  # whether a new dataset is being filled that readers don't see yet
        self._numbering = threading.Lock()
        self._step, self._residue = numbering
        self._next = max([artifacts.last_number(), *ledger.known_batches()]) + 1

    def reserve(self) -> int:
        """A batch number that was never used; may be called while another thread commits."""
        with self._numbering:
            number = self._next + (self._residue - self._next) % self._step
            self._next = number + 1
            return number

    @property
    def next_number(self) -> int:
        """The smallest batch number that was never used."""
        return self._next

    def durations_s(self) -> list[tuple[int, float]]:
        """(job, seconds) of the latest jobs that completed, oldest first: what is known about how long they take."""
        return [(job, seconds) for job, seconds in self._ledger.durations_s(DURATIONS_KEPT) if job < self._plan.size]

    def commit(self, batches: Sequence[tuple[int, Sequence[Record]]]) -> None:
        """Seal, validate, promote and index batches whose records carry their verdicts."""
        done = []
        for number, records in batches:
            with self._numbering:
                self._next = max(self._next, number + 1)
            path = self._artifacts.commit(self._artifacts.seal(number, records, self.stamp()))
            if path is not None:
                done.append((number, records))
        self._index(done)

    def stamp(self) -> Mapping[str, Any]:
        """What an artifact tells of where it was made, and of the values in it."""
        return {**self._provenance(), **self._meanings.stamp}

    def flush(self) -> None:
        """Bring the dataset up to what is committed; write it again where it is damaged."""
        self._flush()
        if self._building:
            self._store.publish()
            reach("rebuild.published")
            self._building = False
            self._ledger.put(FLUSHED, str(self._ledger.last_seq()))
            self._ledger.put(BUILDING, "")

    def _flush(self) -> None:
        self._bring_up(self._write_speakers)

    def recover(self, journals: Journals) -> Recovery:
        """Make ledger and dataset agree with `batches/`, and save what an earlier run left in staging and journals."""
        unlisted = self._ledger.known_batches() - set(self._artifacts.numbers())
        if any(
            not self._artifacts.path(number).exists() for number in unlisted
        ):  # a listing may be older than a commit
            logger.warning(
                "batches that the ledger knows are gone from batches/; it is written again, their jobs run again"
            )
            self.forget()
        unknown = not self._ledger.known_batches()  # what an older dataset holds may be gone from batches/ since
        if unknown or self._ledger.get(BUILDING) or not self._store.ready:
            self._begin_dataset()
        late = [number for _, number in self._ledger.batches_after(int(self._ledger.get(FLUSHED, "0")))]
        damaged = self._bring_up(lambda: self._replay(late))
        reach("recover.replayed")
        adopted, quarantined = self._adopt()
        reach("recover.adopted")
        settled, interrupted = self._settle(journals)
        reach("recover.settled")
        journals.clear()
        reach("recover.cleared")
        self.flush()
        if damaged:  # what they held is unknown now: start over without them
            return self.recover(journals)
        return Recovery(adopted, settled, interrupted, len(late), quarantined)

    def forget(self) -> None:
        """Drop ledger and dataset; `recover` makes them again from `batches/`."""
        self._ledger.clear(NEW_DATASET)
        self.table = self._ledger.jobs(self._plan.size)
        self._begin_dataset()

    def _bring_up(self, write: Callable[[], int]) -> int:
        """Let `write` fill the dataset and move the mark; returns how many batches were found damaged."""
        last = self._ledger.last_seq()
        try:
            damaged = write()
        except FormatError as error:
            logger.warning("%s; the dataset is written again from batches/", error.message)
            self._begin_dataset()
            damaged = self._replay(self._artifacts.numbers())
        if not self._building:
            self._ledger.put(FLUSHED, str(last))
            reach("flush.marked")
        return damaged

    def _begin_dataset(self) -> None:
        """A new dataset, filled before it is shown; whatever happens in between, all of it is written again."""
        for key, value in NEW_DATASET.items():
            self._ledger.put(key, value)
        self._speakers.clear()
        self._store.create()
        self._building = True
        reach("rebuild.created")

    def _write_speakers(self) -> int:
        self._store.write(list(self._speakers.values()), {job: self._state(job) for job in self._speakers})
        self._speakers.clear()
        return 0

    def mark_missing(
        self, missing: Sequence[MissingInput], at_ms: int, among: npt.NDArray[np.bool_] | None = None
    ) -> int:
        """Record jobs whose input is not there, and send back to pending those whose input has come since.

        `among`, (n,), names the jobs that are ours to judge; None for all.
        """
        ours = np.ones(len(self.table.state), bool) if among is None else among
        lacking = {m.job for m in missing}
        pending = (self.table.state == State.PENDING) & ours
        news = [self._missing_record(m, at_ms) for m in missing if pending[m.job]]
        waiting = np.flatnonzero((self.table.state == State.MISSING_INPUT) & ours).tolist()
        news += [self._requeue_record(job, at_ms) for job in waiting if job not in lacking]
        self.commit_concluded(news)
        return len(news)

    def requeue(self, jobs: Sequence[int], at_ms: int) -> None:
        """Send jobs back to pending by a person's word, which is committed like any record."""
        self.commit_concluded([self._requeue_record(job, at_ms) for job in jobs])
        self.flush()

    def adopt(self, records: Sequence[Record]) -> None:
        """Commit attempts that no run of ours has made."""
        table = self.table.copy()
        self.commit_concluded([self._conclude(record, table) for record in records])
        self.flush()

    def next_attempt(self, job: int) -> int:
        """Number of the next attempt at a job."""
        return self._ledger.last_attempt(job) + 1

    def revoke(self, jobs: Sequence[int], at_ms: int, why: Mapping[int, str]) -> None:
        """Send completed jobs back to pending because what they made is lost or spoilt, with the reason for each."""
        records = []
        for job in jobs:
            task = self._plan.task(job, attempt=self._ledger.last_attempt(job), batch=-1)
            notes = (f"revoked: {why[job]}",)
            blank = blank_record(task, "", at_ms)
            records.append(replace(blank, outcome=Outcome.REVOKED, verdict=State.PENDING.word, notes=notes))
        self.commit_concluded(records)
        self.flush()

    def commit_concluded(self, records: Sequence[Record]) -> None:
        """Commit concluded records that no run made, in batches of their own."""
        size = self._plan.config.execution.batch_size or BATCH_JOBS_MAX
        for start in range(0, len(records), size):
            number = self.reserve()
            self.commit([(number, [replace(r, batch=number) for r in records[start : start + size]])])

    def unmeasured(self) -> Iterator[tuple[Record, tuple[str, ...]]]:
        """Completed jobs that lack values of what is measured now; see `Meanings.unmeasured`."""
        return self._meanings.unmeasured(self._plan, self._artifacts, self.table)

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def _requeue_record(self, job: int, at_ms: int) -> Record:
        """The record by which a job goes back to pending with fresh budgets."""
        task = self._plan.task(job, attempt=int(self.table.attempt[job]), batch=-1)
        return replace(blank_record(task, "", at_ms), outcome=Outcome.REQUEUED, verdict=State.PENDING.word)

    def _missing_record(self, missing: MissingInput, at_ms: int) -> Record:
        task = self._plan.task(missing.job, attempt=int(self.table.attempt[missing.job]), batch=-1)
        why = f"there is no {missing.path}"
        if missing.skipped_with is not None:
            why = f"skipped with job {self._plan.name(missing.skipped_with)}: {why}"
        failure = Failure("InputError", Code.INPUT_MISSING, why, phase="plan", transient=False)
        return replace(
            blank_record(task, "", at_ms),
            outcome=Outcome.MISSING_INPUT,
            failure=failure,
            verdict=State.MISSING_INPUT.word,
        )

    def _index(self, batches: Sequence[tuple[int, Sequence[Record]]]) -> None:
        """Fold committed records into table and ledger, and queue them for the dataset."""
        commits, jobs = [], set()
        for number, records in batches:
            relative = self._artifacts.relative(self._artifacts.path(number))
            commits.append((Commit(number, relative, len(records)), records))
            for record in records:
                jobs.add(record.job)
                if self.table.fold(record):
                    self._speakers[record.job] = record
        if commits:
            self._ledger.record(commits, self.table.rows(sorted(jobs)))
            reach("ledger.recorded")
        if len(self._speakers) > SPEAKERS_KEPT:
            self._flush()

    def _adopt(self) -> tuple[int, int]:
        """Commit what is staged, index what is committed and unknown to the ledger."""
        quarantined = 0
        for path in self._artifacts.staged():
            try:
                self._artifacts.commit(path)
            except FormatError as error:
                logger.warning("%s; set aside in quarantine/", error.message)
                quarantined += 1
        known = self._ledger.known_batches()
        unknown = [n for n in self._artifacts.numbers() if n not in known]
        adopted = 0
        for start in range(0, len(unknown), REBUILD_SLICE):
            readable = []
            for number in unknown[start : start + REBUILD_SLICE]:
                try:
                    readable.append((number, self._meanings.understood(self._artifacts.read(number))))
                except FormatError as error:
                    logger.warning("%s; set aside in quarantine/, its jobs run again", error.message)
                    self._artifacts.set_aside(self._artifacts.path(number), str(error))
                    quarantined += 1
            self._index([(n, self._plan.own(records)) for n, records in readable])
            adopted += len(readable)
        self._next = max([self._next - 1, *unknown]) + 1
        return adopted, quarantined + self._adopt_singles()

    def _adopt_singles(self) -> int:
        """Commit single records of an earlier form in batches; returns how many can't be trusted."""
        news, paths, quarantined = [], [], 0
        table = self.table.copy() if (found := self._artifacts.singles()) else self.table
        for path in found:
            try:
                record = self._trusted(path)
            except FormatError as error:
                logger.warning("%s; set aside in quarantine/", error.message)
                self._artifacts.set_aside(path, str(error))
                quarantined += 1
                continue
            paths.append(path)
            if record.outcome is Outcome.COMPLETED and table.row(record.job).state is not State.COMPLETED:
                later = max(record.attempt, self._ledger.last_attempt(record.job) + 1)
                news.append(self._conclude(replace(record, attempt=later), table))
            elif not self._ledger.has_attempt(record.job, record.attempt):
                news.append(self._conclude(record, table))
            else:
                logger.info("%s tells nothing new of %s", path, record.name)
        self.commit_concluded(news)
        for path in paths:
            path.unlink()
        return quarantined

    def _trusted(self, path: Path) -> Record:
        """The record of a single file, checked like one of ours; FormatError where it can't be trusted."""
        record = self._artifacts.read_single(path)
        ours = self._plan.own([record])
        if not ours:
            raise FormatError(Code.FORMAT_DAMAGED, f"{path} is of another campaign: its task_fingerprint is unknown")
        (record,) = ours
        if record.outcome not in (Outcome.COMPLETED, Outcome.FAILED, Outcome.TIMEOUT, Outcome.MISSING_INPUT):
            raise FormatError(Code.FORMAT_DAMAGED, f"{path} is no attempt that has ended: {record.outcome}")
        try:
            measured = checked(self._variables, record.measurements, whole=False)
        except JobError as error:
            raise FormatError(Code.FORMAT_DAMAGED, f"{path}: {error.message}") from error
        return replace(record, name=self._plan.name(record.job), measurements=measured)

    def _settle(self, journals: Journals) -> tuple[int, int]:
        """Commit what only the journals of an earlier run know."""
        begun: dict[tuple[int, int], Begun] = {}
        ended: dict[tuple[int, int], Record] = {}
        for entry in journals.read():
            if not isinstance(entry, Begun):
                for record in self._plan.own([entry]):
                    if not self._is_indexed(record.job, record.attempt):
                        ended[record.job, record.attempt] = record
            elif not entry.directory and entry.job < self._plan.size and not self._is_indexed(entry.job, entry.attempt):
                begun[entry.job, entry.attempt] = entry
        lost = [self._interrupted(entry) for key, entry in begun.items() if key not in ended]
        news = sorted([*ended.values(), *lost], key=lambda r: (r.job, r.attempt))
        table = self.table.copy()
        self.commit_concluded([self._conclude(r, table) for r in news])
        return len(ended), len(lost)

    def _is_indexed(self, job: int, attempt: int) -> bool:
        """Whether the end of an attempt is in the ledger; of most jobs the table tells."""
        decided = self.table.attempt.item(job) == attempt and self.table.state.item(job) == State.COMPLETED
        return decided or self._ledger.has_attempt(job, attempt)

    def _interrupted(self, begun: Begun) -> Record:
        return interrupted_record(self._plan.task(begun.job, begun.attempt, begun.batch), begun.at_ms)

    def _conclude(self, record: Record, table: JobTable) -> Record:
        """The record with the verdict on its job, which `table` takes in."""
        concluded = record.concluded(table.judge(record, self._plan.config.execution).state.word)
        table.fold(concluded)
        return concluded

    def _state(self, job: int) -> State:
        return State(self.table.state[job])

    def _replay(self, numbers: Sequence[int]) -> int:
        """Write committed batches into the dataset; returns how many could not be read, which are set aside."""
        damaged = 0
        for number in numbers:
            try:
                records = self._meanings.understood(self._artifacts.read(number))
            except FormatError as error:
                logger.warning("%s; set aside in quarantine/, its jobs run again at the next start", error.message)
                self._artifacts.set_aside(self._artifacts.path(number), str(error))
                damaged += 1
                continue
            self._speakers |= {r.job: r for r in self._plan.own(records) if self.table.stands_by(r)}
            if len(self._speakers) > SPEAKERS_KEPT:
                self._write_speakers()
        self._write_speakers()
        return damaged
