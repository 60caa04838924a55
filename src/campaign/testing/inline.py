"""A cluster without processes: runs leases in this one, one job at a time, and can be told to misbehave."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from campaign.core.model import Lease, Record, Task
from campaign.ports import Begun, Event, JobEnded, JobStarted, LeaseLost, LeaseReturned

Run = Callable[[Task], Record]


class InlineCluster:
    """Implements `ports.Cluster`. `lose` names leases whose worker dies after their first job was begun."""

    def __init__(self, run: Run, slots: int = 2, lose: Iterable[int] = (), *, repeat_ends: bool = False) -> None:
        self.slots = slots
        self.journal: list[Begun | Record] = []
        self._run, self._lose, self._repeat = run, set(lose), repeat_ends
        self._waiting: deque[Lease] = deque()
        self._events: deque[Event] = deque()
        self._draining = False

    def submit(self, leases: Iterable[Lease]) -> None:
        """Put leases into flight."""
        self._waiting.extend(leases)

    async def next_event(self, timeout_s: float) -> Event | None:
        """The next thing that happened; runs the next lease where nothing did yet."""
        if not self._events and self._waiting and timeout_s > 0:
            self._events.extend(self._work(self._waiting.popleft()))
        return self._events.popleft() if self._events else None

    def drain(self) -> None:
        """Give back what was not begun."""
        self._draining = True

    def read(self, worker: str | None = None) -> Iterator[Begun | Record]:
        """The journal of the one worker (`ports.Journals`)."""
        yield from self.journal

    def clear(self) -> None:
        """Forget the journal."""
        self.journal.clear()

    def _work(self, lease: Lease) -> Iterator[Event]:
        if self._draining:
            yield LeaseReturned(lease.number, None)
            return
        for n, call in enumerate(lease.calls):
            task = call.task
            self.journal.append(Begun(task.job, task.attempt, task.batch, 0))
            if lease.number in self._lose and n == len(lease.calls) // 2:
                yield LeaseLost(lease.number, "inline")
                return
            try:
                record = self._run(task)
            except OSError as error:  # as a worker whose journal can't be written
                yield LeaseLost(lease.number, "inline", str(error))
                return
            self.journal.append(record)
            if lease.number in self._lose:
                continue  # its end never reached the coordinator
            yield JobStarted(task.job, task.attempt, "inline", 0)
            yield JobEnded(record)
            if self._repeat:
                yield JobEnded(record)
        yield LeaseReturned(lease.number, ())
