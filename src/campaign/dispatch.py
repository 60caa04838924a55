"""What starts next, and where: the jobs that are left, the slots, and the time until the allocation ends. No I/O."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np

from campaign.core import lifecycle
from campaign.core.backlog import Backlog, Ready
from campaign.core.lifecycle import JobTable
from campaign.core.model import FailureClass, JobCall, Lease, Node, Record, Shape, Slot, State
from campaign.core.packing import LaunchRate, Placement, SlotTable, capacity
from campaign.core.walltime import Durations, Estimate, choose
from campaign.graph import build_graph, pack
from campaign.plan import Jobs

RETRIES_GATHER_S = 5.0
"""How long retries that are due wait for others, so that they share a batch, while other work is there."""

AHEAD = 64
"""Jobs of a batch that are ready ahead of those that can start, so that there is something to choose from."""

PASSED_OVER = 4
"""Times its nodes' worth of slots that a job is passed over before nodes are kept for it."""

TAIL_ROUNDS = 2
"""Rounds of the slots before the end of a campaign from which on the longest jobs start first."""

LIKE, NEXT_TO_NOTHING_S = 2.0, 0.05
"""Jobs share a lease with those that take at most so many times as long, or less than so many seconds."""


@dataclass(slots=True)
class OpenBatch:
    """A batch some of whose jobs have not had their attempt yet."""

    waiting: set[int]
    records: list[Record] = field(default_factory=list)


class Dispatcher:
    """Decides which jobs start in which slots. Every method is told the time."""

    def __init__(
        self,
        plan: Jobs,
        table: JobTable,
        reserve: Callable[[], int],
        durations: Durations,
        rate: LaunchRate,
        durations_s: Iterable[tuple[int, float]] = (),
    ) -> None:
        self._plan, self._table, self._reserve, self._rate = plan, table, reserve, rate
        self._durations = durations
        self.slots = SlotTable(plan.config.resources.slots)
        self.open: dict[int, OpenBatch] = {}
        self._groups = plan.duration_groups
        pending = table.state == State.PENDING
        starved = np.flatnonzero(pending & (table.memory_failures > 0)).tolist()
        pending[starved] = False  # what they get depends on the nodes
        order = plan.order[pending[plan.order]]
        self._shapes = list(plan.shapes)  # those of the plan, then those of jobs that need more memory
        self._kind_of = plan.shape_of * self._groups + plan.duration_group_of
        self._avoided: dict[int, frozenset[str]] = {}  # job -> nodes on which it failed
        self._backlog = Backlog(order, self._kind_of)
        self._ready: dict[int, deque[Ready]] = {}
        self._retries: list[tuple[float, int]] = [(-np.inf, job) for job in starved]  # heap of (due, job)
        self._became_ready = self._put_back = self._leases_made = 0
        self._start_s: dict[Shape, float] = {}
        self._passed_over: dict[int, int] = {}  # number of a shape -> placements of others while it waited
        for job, seconds in durations_s:
            durations.note(int(self._kind_of[job]), seconds)

    # What is left.

    @property
    def waiting(self) -> int:
        """Jobs that could start now or have not been looked at."""
        return self._backlog.count + sum(len(queue) for queue in self._ready.values())

    @property
    def retries(self) -> int:
        """Jobs whose delay is not over."""
        return len(self._retries)

    def unplaceable(self) -> Shape | None:
        """A shape that waits and for which even the empty nodes are too small; None where all that waits fits."""
        shapes = {kind // self._groups for kind in self._kinds()}
        misfits = [self._shapes[n] for n in sorted(shapes) if not self.slots.capacity(self._shapes[n])]
        return misfits[0] if misfits and len(misfits) == len(shapes) else None

    def retry(self, job: int, due_s: float, avoided: Sequence[str] = ()) -> None:
        """Give a job another attempt from `due_s` on, on other nodes than the `avoided` if there are any."""
        heapq.heappush(self._retries, (due_s, job))
        if avoided:
            self._avoided[job] = self._avoided.get(job, frozenset()) | frozenset(avoided)

    def _give_memory(self, job: int) -> None:
        """Move a job that ran out of memory to a shape that has more, as far as the nodes hold one."""
        factor = self._plan.config.execution.rules[FailureClass.OUT_OF_MEMORY].memory_factor
        shape = self._plan.shapes[int(self._plan.shape_of[job])]
        failures = int(self._table.memory_failures[job])
        if shape.memory_bytes is None or not failures or factor == 1:
            return
        counted = [node.memory_bytes for node in self.slots.nodes.values() if node.memory_bytes is not None]
        most = max(counted) * shape.nodes if counted else None
        wanted = round(shape.memory_bytes * factor**failures)
        larger = replace(shape, memory_bytes=wanted if most is None else max(shape.memory_bytes, min(wanted, most)))
        if not self.slots.capacity(larger):
            return
        if larger not in self._shapes:
            self._shapes.append(larger)
        self._kind_of[job] = self._shapes.index(larger) * self._groups + int(self._kind_of[job]) % self._groups

    def put_back(self, batch: int, jobs: Sequence[int]) -> None:
        """Jobs of a batch that were not begun go back to the front."""
        for job in reversed(jobs):
            self._put_back -= 1
            self._queue(job).appendleft(Ready(self._put_back, batch, job))

    def note(self, record: Record, *, completed: bool) -> None:
        """Learn from an attempt that completed, or that was cut off."""
        kind = int(self._kind_of[record.job])
        if completed:
            self._durations.note(kind, record.duration_s)
        else:
            self._durations.note_unfinished(kind, record.duration_s)

    # Batches.

    def _open_batch(self, jobs: Sequence[int], *, first: bool = False) -> None:
        """Make jobs ready, behind the others or before them."""
        if not jobs:
            return
        number = self._reserve()
        self.open[number] = OpenBatch(set(jobs))
        if first:
            self.put_back(number, jobs)
            return
        for job in jobs:
            self._became_ready += 1
            self._queue(job).append(Ready(self._became_ready, number, job))

    def _batch_size(self, kind: int | None = None) -> int:
        """How many jobs of a kind, or of any, share the next batch."""
        fixed = self._plan.config.execution.batch_size
        if fixed is not None:
            return fixed
        known = self._durations.estimates(self._kinds() if kind is None else [kind]).values()
        mean_s = fmean(estimate.mean_s for estimate in known) if known else None
        return lifecycle.batch_size(mean_s, self.waiting, self.capacity())

    def _queue(self, job: int) -> deque[Ready]:
        return self._ready.setdefault(int(self._kind_of[job]), deque())

    def ended(self, record: Record) -> list[Record] | None:
        """Put a concluded record into its batch; the batch's records where it is complete now."""
        batch = self.open[record.batch]
        batch.records.append(record)
        batch.waiting.discard(record.job)
        if batch.waiting:
            return None
        return self.open.pop(record.batch).records

    def hand_over(self) -> Iterator[tuple[int, list[Record]]]:
        """What open batches have so far, under numbers of their own, so that it can be committed before they are complete."""
        for batch in self.open.values():
            if batch.records:
                number = self._reserve()
                yield number, [replace(record, batch=number) for record in batch.records]
                batch.records = []

    def admit(self, jobs: Sequence[int]) -> None:
        """Jobs that had to wait for others may start now, before what nobody waits for."""
        size = self._batch_size()
        for start in reversed(range(0, len(jobs), size)):
            self._open_batch(jobs[start : start + size], first=True)

    def close_batches(self) -> Iterator[tuple[int, list[Record]]]:
        """At the end of a run every batch is complete with what it has."""
        for number, batch in self.open.items():
            if batch.records:
                yield number, batch.records
        self.open.clear()

    def _promote_retries(self, now_s: float) -> None:
        """Jobs whose delay is over become a batch of their own."""
        if not self._retries or self._retries[0][0] > now_s or not self.slots.nodes:
            return
        if self.waiting and now_s - self._retries[0][0] < RETRIES_GATHER_S:
            return
        due: list[int] = []
        size = self._batch_size()
        while self._retries and self._retries[0][0] <= now_s and len(due) < size:
            due.append(heapq.heappop(self._retries)[1])
            self._give_memory(due[-1])
        self._open_batch(due)

    # Nodes.

    def join(self, node: Node) -> None:
        """A node is there."""
        self.slots.join(node)

    def leave(self, name: str) -> list[Slot]:
        """A node is gone: the slots that are gone with it."""
        return self.slots.leave(name)

    def capacity(self) -> int:
        """Slots that the nodes hold side by side, of the shape that most jobs have."""
        return self.slots.capacity(self._plan.shapes[0])

    # Leases.

    def next_leases(self, now_s: float, left_s: float | None, now_ms: int) -> list[Lease]:
        """Leases that can start now; `left_s` seconds are left for jobs, None where nothing ends."""
        self._promote_retries(now_s)
        self._review_reservation(left_s)
        leases: list[Lease] = []
        while (lease := self._next_lease(now_s, left_s, now_ms)) is not None:
            leases.append(lease)
        return leases

    def _review_reservation(self, left_s: float | None) -> None:
        """Keep no nodes for a shape of which nothing waits that would still end in time."""
        reserved = self.slots.reserved
        if reserved is None:
            return
        waiting = [kind for kind in self._kinds() if self._shapes[kind // self._groups] == reserved]
        estimates = self._durations.estimates(waiting)
        if not any(left_s is None or kind not in estimates or estimates[kind].bound_s <= left_s for kind in waiting):
            self.slots.unreserve()

    def note_start(self, shape: Shape, seconds: float) -> None:
        """Learn how long a slot of `shape` takes until its first job begins."""
        self._start_s[shape] = max(seconds, 0.5 * self._start_s.get(shape, 0.0))

    def _top_up(self) -> None:
        """Have jobs ready ahead of those that start, as far as there are any."""
        while self._backlog.count and sum(map(len, self._ready.values())) < AHEAD:
            self._open_batch(self._backlog.take(self._batch_size()))

    def nothing_fits(self, left_s: float) -> bool:
        """Whether no job that waits is expected to end in time."""
        estimates = self._durations.estimates(self._kinds())
        return bool(estimates) and all(e.bound_s > left_s for e in estimates.values())

    def _next_lease(self, now_s: float, left_s: float | None, now_ms: int) -> Lease | None:
        self._top_up()
        wanted = kinds = self._kinds()
        estimates = self._durations.estimates(kinds)
        blocked: set[int] = set()  # shapes that can't be placed now
        while wanted := [kind for kind in wanted if kind // self._groups not in blocked]:
            kind = self._choose(wanted, estimates, left_s)
            if kind is None:
                return None
            lease = self._lease(kind, estimates, now_s, left_s, now_ms)
            if lease is not None:
                self._note_passed_over(blocked, kind // self._groups, now_s)
                return lease
            blocked.add(kind // self._groups)
        return None

    def _kinds(self) -> list[int]:
        """Kinds of which jobs wait: those that are ready before those that are not, the widest first, then as they are due.

        Small jobs fill the gaps that wide ones leave, not the other way round.
        """
        ready = [(queue[0].place, kind) for kind, queue in self._ready.items() if queue]
        ready.sort(key=lambda entry: (self._narrowness(entry[1]), entry[0]))
        known = [kind for _, kind in ready]
        return known + [kind for kind in self._backlog.kinds() if kind not in self._ready or not self._ready[kind]]

    def _narrowness(self, kind: int) -> tuple[int, int]:
        shape = self._shapes[kind // self._groups]
        return -shape.ranks * shape.threads, -shape.nodes

    def _choose(self, kinds: Sequence[int], estimates: dict[int, Estimate], left_s: float | None) -> int | None:
        """Which kind of job starts next: by order, by what fills the time that is left, or the longest at the very end."""
        if estimates and left_s is not None and (fills := choose(left_s, {k: estimates[k] for k in kinds})) != kinds[0]:
            return fills
        if estimates and len(kinds) > 1 and self.waiting <= TAIL_ROUNDS * max(self.capacity(), 1):
            fitting = [kind for kind in kinds if left_s is None or estimates[kind].bound_s <= left_s]
            return min(fitting, key=lambda kind: (self._narrowness(kind), -estimates[kind].mean_s))
        return kinds[0]

    def _lease(
        self, kind: int, estimates: dict[int, Estimate], now_s: float, left_s: float | None, now_ms: int
    ) -> Lease | None:
        shape = self._shapes[kind // self._groups]
        estimate = estimates.get(kind)
        mean, bound_s = (estimate.mean_s, estimate.bound_s) if estimate else (None, 0.0)
        slots = self.slots.capacity(shape)
        size = lifecycle.lease_size(mean, self.waiting, slots)
        if left_s is not None and bound_s:
            size = max(1, min(size, int(left_s / bound_s)))
        mates = self._kinds_like(kind, estimates)
        longest_s = max([bound_s, *(estimates[mate].bound_s for mate in mates if size > 1)])
        placement = self.slots.place(
            shape,
            now_s,
            now_s + size * (mean or 0.0),
            depth=self._depth(shape, mean, size, slots),
            may_make=self._may_make(shape, now_s, left_s, bound_s),
            without=self._ending(now_ms, longest_s) | self._avoided_by_first(kind),
        )
        if placement is None:
            return None
        if placement.fresh and shape.ranks > 1:
            self._rate.take()
        ends = [now_ms + 1000 * left_s] if left_s is not None else []
        ends += [e for name in placement.slot.nodes if (e := self.slots.nodes[name].ends_ms) is not None]
        until = round(max(min(ends) - 1000 * longest_s, now_ms)) if ends else None
        return self._packed(kind, mates, size, placement, until)

    def _depth(self, shape: Shape, mean_s: float | None, size: int, slots: int) -> int:
        """How many leases a slot may hold."""
        if not shape.warm:
            return 1
        staged = self._plan.staged and shape.ranks == 1
        return lifecycle.lease_depth(
            None if mean_s is None else mean_s * size, size, self.waiting, slots, staged=staged
        )

    def _kinds_like(self, kind: int, estimates: dict[int, Estimate]) -> list[int]:
        """Kinds of the same shape whose jobs take about as long, or next to nothing: they may share a lease."""
        if kind not in estimates:
            return [kind]
        limit = max(LIKE * estimates[kind].bound_s, NEXT_TO_NOTHING_S)
        others = [other for other in self._ready if other != kind and other // self._groups == kind // self._groups]
        return [kind, *(other for other in others if other in estimates and estimates[other].bound_s <= limit)]

    def _avoided_by_first(self, kind: int) -> frozenset[str]:
        """Nodes that the first job of a kind avoids; whoever avoids none goes first, so that nobody waits for it."""
        queue = self._ready.get(kind)
        if not queue or not self._avoided:
            return frozenset()
        for n, ready in enumerate(queue):
            if not self._avoided_now(ready.job):
                del queue[n]
                queue.appendleft(ready)
                return frozenset()
        return self._avoided_now(queue[0].job)

    def _avoided_now(self, job: int) -> frozenset[str]:
        """Nodes that a job avoids; none where the others can't hold it."""
        avoided = self._avoided.get(job)
        if not avoided:
            return frozenset()
        others = [node for name, node in self.slots.nodes.items() if name not in avoided]
        return avoided if capacity(self._shapes[int(self._kind_of[job]) // self._groups], others) else frozenset()

    def _ending(self, now_ms: int, bound_s: float) -> frozenset[str]:
        """Nodes whose own allocation ends before a job would."""
        nodes = self.slots.nodes.values()
        return frozenset(n.name for n in nodes if n.ends_ms is not None and n.ends_ms - now_ms < 1000 * bound_s)

    def _may_make(self, shape: Shape, now_s: float, left_s: float | None, bound_s: float) -> bool:
        """Whether a slot may be made: if it starts in time for a job, and not more often than the controller likes."""
        if left_s is not None and left_s < bound_s + self._start_s.get(shape, 0.0):
            return False
        return shape.ranks == 1 or self._rate.allows(now_s)

    def _packed(self, kind: int, mates: Sequence[int], size: int, placement: Placement, until_ms: int | None) -> Lease:
        if not self._ready.get(kind):
            self._open_batch(self._backlog.take(min(max(size, self.slots.busy), self._batch_size(kind)), kind))
        picked = [self._ready[kind].popleft()]
        if not self._avoided_now(picked[0].job):
            picked += self._mates(mates, picked[0].batch, size - 1)
        attempts = ((r.job, int(self._table.attempt[r.job]) + 1, r.batch) for r in picked)
        calls = [self._given_time(call) for call in build_graph(self._plan, attempts)]
        self._leases_made += 1
        return pack(calls, self._leases_made - 1, placement.slot, placement.evicted, until_ms)

    def _given_time(self, call: JobCall) -> JobCall:
        """A job that ran out of time has more the next time."""
        task, factor = call.task, self._plan.config.execution.rules[FailureClass.TIMEOUT].time_factor
        longer = task.timeout_s * factor ** int(self._table.timeouts[task.job])
        return call if longer == task.timeout_s else JobCall(replace(task, timeout_s=longer))

    def _mates(self, kinds: Sequence[int], batch: int, count: int) -> Iterator[Ready]:
        """Jobs of these kinds and of one batch, in order."""
        heads: list[tuple[int, int]] = []  # heap of (place, kind)

        def offer(kind: int) -> None:
            queue = self._ready.get(kind)
            if queue and queue[0].batch == batch and not self._avoided_now(queue[0].job):
                heapq.heappush(heads, (queue[0].place, kind))

        for kind in kinds:
            offer(kind)
        while heads and count:
            _, kind = heapq.heappop(heads)
            yield self._ready[kind].popleft()
            offer(kind)
            count -= 1

    def _note_passed_over(self, blocked: set[int], placed: int, now_s: float) -> None:
        """Keep nodes for a shape that was passed over too often by others."""
        self._passed_over.pop(placed, None)
        for number in blocked:
            self._passed_over[number] = self._passed_over.get(number, 0) + 1
            if self._passed_over[number] > PASSED_OVER * max(len(self.slots.nodes), 1):
                self.slots.reserve(self._shapes[number], now_s)
