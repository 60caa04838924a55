"""A cluster without processes: runs leases in this one, one job at a time, and can be told to misbehave."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from campaign.core.model import Lease, Node, Record, Slot, Task
from campaign.ports import Begun, Event, JobEnded, JobStarted, LeaseLost, LeaseReturned, NodeJoined, NodeLost

Run = Callable[[Task], Record]


class InlineCluster:
    """Implements `ports.Cluster`. `lose` names leases whose worker dies after their first job was begun."""

    def __init__(
        self,
        run: Run,
        nodes: Sequence[Node] = (Node("inline", 2),),
        lose: Iterable[int] = (),
        *,
        repeat_ends: bool = False,
        now_ms: Callable[[], int] = lambda: round(time.time() * 1000),
    ) -> None:
        self._now_ms = now_ms
        self.abandoned: list[Slot] = []
        self.released: list[str] = []
        self.journal: list[Begun | Record] = []
        self._run, self._lose, self._repeat = run, set(lose), repeat_ends
        self._waiting: deque[Lease] = deque()
        self._events: deque[Event] = deque(NodeJoined(node) for node in nodes)
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

    def abandon(self, slots: Sequence[Slot], why: str) -> None:
        """Nothing runs between two calls of this cluster."""
        self.abandoned.extend(slots)

    def expects_nodes(self) -> bool:
        """All of them are there from the beginning."""
        return False

    def demand(self, slots: int) -> None:
        """No node comes by itself."""

    def release(self, nodes: Sequence[str]) -> None:
        """Note what is given back."""
        self.released.extend(nodes)

    def memory(self) -> dict[str, tuple[int, int]]:
        """Nodes without processes use none."""
        return {}

    def lose_node(self, name: str) -> None:
        """Let a node die, whatever waits for it; call it between two events."""
        for lease in [lease for lease in self._waiting if name in lease.slot.nodes]:
            self._waiting.remove(lease)
            self._events.append(LeaseLost(lease.number, ""))
        self._events.append(NodeLost(name))

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
            if lease.starts_until_ms is not None and self._now_ms() > lease.starts_until_ms:
                yield LeaseReturned(lease.number, tuple(left.task.job for left in lease.calls[n:]))
                return
            self.journal.append(Begun(task.job, task.attempt, task.batch, 0))
            if lease.number in self._lose and n == len(lease.calls) // 2:
                yield LeaseLost(lease.number, f"inline-{lease.number}")  # a worker dies once
                return
            try:
                record = self._run(task)
            except OSError as error:  # as a worker whose journal can't be written
                yield LeaseLost(lease.number, f"inline-{lease.number}", str(error))
                return
            self.journal.append(record)
            if lease.number in self._lose:
                continue  # its end never reached the coordinator
            yield JobStarted(task.job, task.attempt, "inline", 0)
            yield JobEnded(record)
            if self._repeat:
                yield JobEnded(record)
        yield LeaseReturned(lease.number, ())
