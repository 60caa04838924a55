"""The coordinator: leases out in a bounded window, events in, verdicts, retries, finished batches to the committer."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from campaign.attempt import interrupted_record
from campaign.core import lifecycle
from campaign.core.lifecycle import JobTable
from campaign.core.model import Lease, Outcome, Record, State, Task
from campaign.errors import CampaignError, Code, StoppedError, StorageError
from campaign.graph import build_graph, pack
from campaign.plan import Plan
from campaign.ports import (
    Begun,
    Clock,
    Cluster,
    Committer,
    Event,
    JobEnded,
    JobStarted,
    Journals,
    LeaseLost,
    LeaseReturned,
    Progress,
)

logger = logging.getLogger("campaign")

IDLE_POLL_S = 0.2
"""Longest wait for an event, so that stops, retries and views are served."""

STORAGE_CODES = frozenset({Code.STORAGE_FULL, Code.STORAGE_UNWRITABLE})
OBSERVE_S = 0.2
"""Time between two looks at the progress."""

RETRIES_GATHER_S = 5.0
"""How long retries that are due wait for others, so that they share a batch, while other work is there."""

WARM_UP = "warm_up"
UNREADY_ALLOWED = 3
"""Slots that can't be warmed up, one after another, before the run gives up."""

RATE_WINDOW_S = 120.0
LATEST_FAILURES = 5


@dataclass(slots=True)
class _OpenBatch:
    """A batch some of whose jobs have not had their attempt yet."""

    waiting: set[int]
    records: list[Record] = field(default_factory=list)


@dataclass(slots=True)
class _Flying:
    """A lease in flight."""

    tasks: dict[int, Task]  # jobs that have not ended
    running: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did."""

    completed: int
    ended: int  # attempts
    duplicates: int  # ends of attempts that had ended already
    drained: bool
    stopped_by: str = ""  # why it stopped early, empty where it did not


class Execution:
    """One run of a plan on a cluster."""

    def __init__(
        self,
        plan: Plan,
        table: JobTable,
        cluster: Cluster,
        committer: Committer,
        journals: Journals,
        clock: Clock,
        reserve: Callable[[], int],
        observe: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._plan, self._table, self._cluster, self._committer = plan, table.copy(), cluster, committer
        self._journals, self._clock, self._reserve, self._observe = journals, clock, reserve, observe
        self._policy = plan.config.execution
        self._todo = int(np.count_nonzero(table.state == State.PENDING))
        self._chunks = self._fresh_batches()
        self._ready: deque[tuple[int, int]] = deque()  # (batch, job)
        self._retries: list[tuple[float, int]] = []  # heap of (due, job)
        self._open: dict[int, _OpenBatch] = {}
        self._leases: dict[int, _Flying] = {}
        self._lease_of: dict[int, int] = {}  # job -> lease in flight
        self._leases_made = 0
        self._finished: asyncio.Queue[tuple[int, list[Record]]] = asyncio.Queue()
        self._draining = False
        self._stopped_by = self._fault = ""
        self._begin = clock.monotonic_s()
        self._ends: deque[float] = deque()
        self._mean_s: float | None = None
        self._completed = self._ended = self._duplicates = self._unready = 0
        self._failures: deque[Mapping[str, Any]] = deque(maxlen=LATEST_FAILURES)

    async def run(self) -> Summary:
        """Run until every job is terminal, or until drained; everything that ended is committed when this returns."""
        commits = asyncio.create_task(self._commit_loop())
        seen = 0.0
        try:
            while not self._is_over():
                self._promote_retries()
                self._refill()
                event = await self._cluster.next_event(IDLE_POLL_S)
                while event is not None:
                    self._take(event)
                    event = await self._cluster.next_event(0)
                if commits.done():  # only ever by an error
                    self._give_up("what was computed can't be committed")
                if (now := self._clock.monotonic_s()) - seen >= OBSERVE_S:
                    seen = now
                    self._observe(self.progress())
        finally:
            self._close_batches()
            await self._last_commits(commits)
        await asyncio.to_thread(self._committer.flush)
        self._observe(self.progress())
        if self._fault:
            raise StoppedError(
                Code.RUN_STOPPED, self._fault, action="mend that, then start again: nothing that was done is lost"
            )
        return Summary(self._completed, self._ended, self._duplicates, self._draining, self._stopped_by)

    def drain(self, why: str = "") -> None:
        """Start nothing more; let running jobs end."""
        if not self._draining:
            self._draining, self._stopped_by = True, why
            self._cluster.drain()

    def _give_up(self, why: str) -> None:
        """Storage or slots refuse: going on would only fail every job in turn."""
        self._fault = self._fault or why
        self.drain(why)

    def progress(self) -> Progress:
        """How far the run is, now."""
        running = sum(len(lease.running) for lease in self._leases.values())
        flying = sum(len(lease.tasks) for lease in self._leases.values())
        codes = np.bincount(self._table.state, minlength=len(State))
        counts = {state: int(codes[state]) for state in State}
        counts[State.RUNNING] += running
        counts[State.QUEUED] += flying - running
        counts[State.PENDING] -= flying
        rate = self._rate()
        left = counts[State.PENDING] + flying
        return Progress(
            counts=counts,
            total=self._plan.size,
            done_this_run=self._ended,
            elapsed_s=self._clock.monotonic_s() - self._begin,
            rate_per_s=rate,
            remaining_s=left / rate if rate > 0 else None,
            slots=self._cluster.slots,
            draining=self._draining,
            failures=tuple(self._failures),
        )

    def _is_over(self) -> bool:
        if self._leases:
            return False
        return self._draining or not (self._todo or self._ready or self._retries)

    # Out: batches -> jobs -> leases.

    def _fresh_batches(self) -> Iterator[tuple[int, Sequence[int]]]:
        for _, jobs in self._plan.batches(self._table.state.copy()):
            yield self._reserve(), [int(job) for job in jobs]

    def _promote_retries(self) -> None:
        """Jobs whose delay is over become a batch of their own."""
        now = self._clock.monotonic_s()
        if self._draining or not self._retries or self._retries[0][0] > now:
            return
        if (self._todo or self._ready) and now - self._retries[0][0] < RETRIES_GATHER_S:
            return
        due: list[int] = []
        while self._retries and self._retries[0][0] <= now and len(due) < self._policy.batch_size:
            due.append(heapq.heappop(self._retries)[1])
        self._open_batch(self._reserve(), due)

    def _open_batch(self, number: int, jobs: Sequence[int]) -> None:
        self._open[number] = _OpenBatch(set(jobs))
        self._ready.extend((number, job) for job in jobs)

    def _refill(self) -> None:
        if self._draining:
            return
        size = lifecycle.lease_size(self._mean_s, self._todo + len(self._ready), self._cluster.slots)
        mean_lease = None if self._mean_s is None else self._mean_s * size
        room = lifecycle.window(mean_lease, self._cluster.slots) - len(self._leases)
        if room <= 0:
            return
        while len(self._ready) < room * size and (chunk := next(self._chunks, None)) is not None:
            self._todo -= len(chunk[1])
            self._open_batch(*chunk)
        picked = [self._ready.popleft() for _ in range(min(len(self._ready), room * size))]
        attempts = ((job, int(self._table.attempt[job]) + 1, batch) for batch, job in picked)
        leases = pack(build_graph(self._plan, attempts), size, self._leases_made)
        self._leases_made += len(leases)
        for lease in leases:
            self._register(lease)
        if leases:
            self._cluster.submit(leases)

    def _register(self, lease: Lease) -> None:
        tasks = {call.task.job: call.task for call in lease.calls}
        self._leases[lease.number] = _Flying(tasks)
        self._lease_of |= dict.fromkeys(tasks, lease.number)

    # In: events -> verdicts -> batches that are complete.

    def _take(self, event: Event) -> None:
        match event:
            case JobStarted(job=job):
                lease = self._leases.get(self._lease_of.get(job, -1))
                if lease is not None:
                    lease.running.add(job)
            case JobEnded(record=record):
                self._job_ended(record)
            case LeaseReturned(lease=number):
                self._release(number)
            case LeaseLost(lease=number, worker=worker, error=error):
                self._settle_lost(number, worker)
                if error:
                    self._give_up(f"a worker can't go on: {error}")

    def _job_ended(self, record: Record) -> None:
        job = record.job
        lease = self._leases.get(self._lease_of.get(job, -1))
        if lease is None or job not in lease.tasks or lease.tasks[job].attempt != record.attempt:
            self._duplicates += 1
            logger.warning(
                "job %s ended twice (attempt %d); the second end is not counted", record.name, record.attempt
            )
            return
        del lease.tasks[job], self._lease_of[job]
        lease.running.discard(job)
        self._note_end(record)
        self._judge(record)

    def _judge(self, record: Record) -> None:
        verdict = self._table.judge(record, self._policy)
        if verdict.retry_after_s is not None:
            heapq.heappush(self._retries, (self._clock.monotonic_s() + verdict.retry_after_s, record.job))
        self._watch(record)
        concluded = replace(record, verdict=verdict.state.word)
        self._table.fold(concluded)
        batch = self._open[record.batch]
        batch.records.append(concluded)
        batch.waiting.discard(record.job)
        if not batch.waiting:
            del self._open[record.batch]
            self._finished.put_nowait((record.batch, batch.records))

    def _watch(self, record: Record) -> None:
        """Give up where an attempt tells of trouble that is not its own."""
        code = record.failure.code if record.failure is not None else ""
        cold = record.failure is not None and record.failure.phase == WARM_UP
        self._unready = self._unready + 1 if cold else 0
        if record.failure is not None and code in STORAGE_CODES:
            self._give_up(f"{record.name} could not write: {record.failure.message.splitlines()[0]}")
        if record.failure is not None and self._unready >= UNREADY_ALLOWED:
            self._give_up(f"{self._unready} slots in a row could not be started: {record.failure.message}")

    def _note_end(self, record: Record) -> None:
        self._ended += 1
        self._completed += record.outcome is Outcome.COMPLETED
        now = self._clock.monotonic_s()
        self._ends.append(now)
        while self._ends[0] < now - RATE_WINDOW_S:
            self._ends.popleft()
        if record.outcome is Outcome.COMPLETED:
            weight = 0.2 if self._mean_s is not None else 1.0
            self._mean_s = (1 - weight) * (self._mean_s or 0.0) + weight * record.duration_s
        if record.failure is not None:
            self._failures.appendleft(
                {
                    "job": record.job, "name": record.name, "attempt": record.attempt, "outcome": str(record.outcome),
                    "code": record.failure.code, "error_class": record.failure.error_class,
                    "message": record.failure.message.splitlines()[0] if record.failure.message else "",
                }
            )  # fmt: skip

    def _rate(self) -> float:
        if not self._ends:
            return 0.0
        now = self._clock.monotonic_s()
        span = min(now - self._begin, RATE_WINDOW_S)
        return len(self._ends) / span if span > 0 else 0.0

    def _release(self, number: int) -> None:
        """A lease is over: what it did not begin goes back to the front, unblamed."""
        lease = self._leases.pop(number, None)
        if lease is None:
            return
        for job, task in reversed(lease.tasks.items()):
            self._lease_of.pop(job, None)
            self._ready.appendleft((task.batch, job))

    def _settle_lost(self, number: int, worker: str) -> None:
        """A worker died with a lease: its journal says what ended and what was begun; only that is an attempt.

        A lease that no worker had been granted was not begun at all.
        """
        lease = self._leases.get(number)
        if lease is None:
            return
        attempts = {(job, task.attempt): task for job, task in lease.tasks.items()}
        begun: dict[int, int] = {}
        for entry in self._journals.read(worker) if worker else ():
            if (entry.job, entry.attempt) not in attempts:
                continue
            if isinstance(entry, Begun):
                begun[entry.job] = entry.at_ms
            else:
                begun.pop(entry.job, None)
                self._job_ended(entry)
        for job, at_ms in begun.items():
            self._job_ended(interrupted_record(attempts[job, lease.tasks[job].attempt], at_ms))
        self._release(number)

    # Down: committing beside the loop.

    def _close_batches(self) -> None:
        """At the end of a run a batch is sealed with what it has."""
        for number, batch in self._open.items():
            if batch.records:
                self._finished.put_nowait((number, batch.records))
        self._open.clear()

    async def _commit_loop(self) -> None:
        flushed = self._clock.monotonic_s()
        cost = 0.0
        while True:
            batches = [await self._finished.get()]
            while not self._finished.empty():
                batches.append(self._finished.get_nowait())
            await asyncio.to_thread(self._committer.commit, batches)
            now = self._clock.monotonic_s()
            if now - flushed > max(self._policy.flush_interval_s, 20 * cost):
                await asyncio.to_thread(self._committer.flush)
                flushed = self._clock.monotonic_s()
                cost = flushed - now
            for _ in batches:  # not when committing failed: then the queue never counts as emptied
                self._finished.task_done()

    async def _last_commits(self, commits: asyncio.Task[None]) -> None:
        """Wait until everything that ended is committed; StorageError where it can't be."""
        joined = asyncio.create_task(self._finished.join())
        await asyncio.wait({joined, commits}, return_when=asyncio.FIRST_COMPLETED)
        joined.cancel()
        if not commits.done():
            commits.cancel()
            return
        error = commits.exception()
        if isinstance(error, (OSError, CampaignError)):
            raise StorageError(
                Code.STORAGE_FULL,
                f"what was computed can't be committed: {error}",
                action="make room or permission, then start again: the finished jobs are kept in staging/journal/",
            ) from error
        if error is not None:
            raise error
