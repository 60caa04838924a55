"""The coordinator: leases out to slots, events in, verdicts, retries, finished batches to the committer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from campaign.attempt import interrupted_record
from campaign.commits import Commits
from campaign.core.health import Health
from campaign.core.lifecycle import TERMINAL, JobTable, Row
from campaign.core.model import Order, Outcome, Record, Slot, State
from campaign.core.packing import LaunchRate
from campaign.core.staging import Gates
from campaign.core.walltime import Durations
from campaign.dispatch import Dispatcher
from campaign.errors import Code, StoppedError
from campaign.flights import Flights
from campaign.nodes import Nodes
from campaign.passage import Passage
from campaign.plan import Jobs
from campaign.ports import (
    Audience,
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
    Nobody,
    NodeJoined,
    NodeLook,
    NodeLost,
    Progress,
)
from campaign.tally import Summary, Tally, first_line, told

logger = logging.getLogger("campaign")

IDLE_POLL_S = 0.2
"""Longest wait for an event, so that stops, retries and views are served."""

STORAGE_CODES = frozenset({Code.STORAGE_FULL, Code.STORAGE_UNWRITABLE})
OBSERVE_S = 0.2
"""Time between two looks at the progress."""

MEANS = {
    Order.RESUME: "jobs are started again",
    Order.PAUSE: "no job is started until `campaign resume`; running ones end",
    Order.STOP: "no job is started any more; the run ends with those that run",
    Order.ABORT: "running jobs are ended, and the run with them; they run again in the next one",
}
ORDERS_POLL_S = 1.0
"""Time between two looks at what a person wants."""

FLUSH_MIN_S = 10.0
"""Time before the end of an allocation that is kept for the last commit and for the dataset, at least."""

FLUSH_FACTOR = 3.0
"""How many of the slowest flushes so far are kept for it."""

LAUNCH_BURST = 16
WALLTIME, ENOUGH = "walltime", "enough"


class Execution:
    """One run of a plan on a cluster. `durations_s` are those of jobs that earlier runs completed, oldest first."""

    def __init__(
        self,
        plan: Jobs,
        table: JobTable,
        cluster: Cluster,
        committer: Committer,
        journals: Journals,
        clock: Clock,
        reserve: Callable[[], int],
        left_s: Callable[[], float | None] = lambda: None,
        durations_s: Iterable[tuple[int, float]] = (),
        nodes_hoped_for: int = 0,
        orders: Callable[[], Order | None] = lambda: None,
        suffices: Callable[[Record], bool] = lambda _: False,
        gates: Gates | None = None,
    ) -> None:
        self._orders, self._suffices = orders, suffices
        self._plan, self._table, self._cluster, self._committer = plan, table.copy(), cluster, committer
        self._commits = Commits(committer, clock, plan.config.execution.flush_interval_s)
        self._journals, self._clock, self._allocation_left_s = journals, clock, left_s
        self.audience: Audience = Nobody()
        self._policy = plan.config.execution
        rate = LaunchRate(plan.config.slurm.launches_per_s, LAUNCH_BURST)
        self._dispatcher = Dispatcher(
            plan, self._table, reserve, Durations(self._policy.walltime_quantile), rate, durations_s
        )
        self._flights = Flights()
        known = gates if gates is not None else Gates((), table.state)
        self._passage = Passage(known, self._table, self._dispatcher, self._commits, clock)
        self._draining = self._paused = self._cut = False
        self._order: Order | None = None  # the one that was obeyed last
        self._asked_s = -ORDERS_POLL_S
        self._stopped_by = self._fault = ""
        self._fault_code, self.tally = Code.RUN_STOPPED, Tally(clock.monotonic_s())
        # of the worker that was lost last
        self._journal_of: tuple[str, dict[tuple[int, int], Begun | Record]] = ("", {})
        self._room, self._look_again_s = True, 0.0  # whether a lease may fit that did not before; when to look anyhow
        self._health = Health(self._policy.max_failure_rate)
        self._nodes = Nodes(self._dispatcher, cluster, clock, self._health, self.tally.node_time, nodes_hoped_for)
        self._begun_slots: set[int] = set()  # slots whose first job has completed

    async def run(self) -> Summary:
        """Run until every job is terminal, or until drained; everything that ended is committed when this returns."""
        self._commits.start()
        seen = 0.0
        try:
            while not self._is_over():
                await self._obey()
                if self._room or self._clock.monotonic_s() >= self._look_again_s:
                    self._refill()
                event = await self._cluster.next_event(IDLE_POLL_S)
                while event is not None:
                    if isinstance(event, LeaseLost) and event.worker:
                        if event.error:  # it lives, and has written since we read
                            self._journal_of = ("", {})
                        await asyncio.to_thread(self._journal, event.worker)  # on a file system that may be slow
                    self._take(event)
                    event = await self._cluster.next_event(0)
                if not self._draining and self._passage.step(idle=not self._flights):
                    self._room = True
                if self._commits.failed:
                    self._give_up("what was computed can't be committed")
                seen = self._observed(seen)
        finally:
            self._passage.close()
            for number, records in self._dispatcher.close_batches():
                self._commits.put(number, records)
            await self._commits.finish()
        await asyncio.to_thread(self._committer.flush)
        self.audience.observe(self.progress())
        if self._fault:
            retry = f"campaign retry {self._plan.config.directory} --run"
            again = "start again" if self._fault_code is Code.RUN_STOPPED else retry
            raise StoppedError(
                self._fault_code, self._fault, action=f"mend that, then {again}: nothing that was done is lost"
            )
        tally, left = self.tally, int(np.count_nonzero(self._table.state == State.PENDING))
        usage = tally.node_time.usage(self._clock.monotonic_s())
        return Summary(tally.completed, tally.ended, tally.duplicates, self._draining, usage, left, self._stopped_by)

    def _observed(self, seen_s: float) -> float:
        """Let others see how far it is, if it is time; when they last did."""
        now = self._clock.monotonic_s()
        if now - seen_s < OBSERVE_S:
            return seen_s
        self.audience.observe(self.progress())
        return now

    def drain(self, why: str = "") -> None:
        """Start nothing more; let running jobs end."""
        if not self._draining or why in (Order.STOP, Order.ABORT):  # a person's word counts more than a deadline
            self._stopped_by = why
        if not self._draining:
            self._draining = True
            self.audience.hear("draining", why=why)
            self._cluster.drain()

    async def _obey(self) -> None:
        """Do what a person wants."""
        now = self._clock.monotonic_s()
        if now - self._asked_s < ORDERS_POLL_S:
            return
        self._asked_s = now
        order = await asyncio.to_thread(self._orders)
        if order is None or order is self._order:
            return
        self._order = order
        self._paused, self._room = order is Order.PAUSE, True
        logger.warning("%s: %s", order, MEANS[order])
        self.audience.hear("order", order=order)
        if order in (Order.STOP, Order.ABORT):
            self.drain(order)
        if order is Order.ABORT:
            self._abandon_all("the run was aborted")

    def _give_up(self, why: str, code: Code = Code.RUN_STOPPED) -> None:
        """Storage, slots or nodes refuse, or everything fails: going on would only fail every job in turn."""
        if not self._fault:
            self._fault, self._fault_code = why, code
        self.drain(why)

    def progress(self) -> Progress:
        """How far the run is, now."""
        running, flying = self._flights.running, self._flights.jobs
        codes = np.bincount(self._table.state, minlength=len(State))
        counts = {state: int(codes[state]) for state in State}
        counts[State.RUNNING] += running
        counts[State.QUEUED] += flying - running
        counts[State.PENDING] -= flying
        now = self._clock.monotonic_s()
        rate, elapsed = self.tally.rate_per_s(now), self.tally.elapsed_s(now)
        self.tally.rates.note(elapsed, rate)
        left = counts[State.PENDING] + flying
        return Progress(
            counts=counts,
            total=self._plan.size,
            done_this_run=self.tally.ended,
            elapsed_s=elapsed,
            rate_per_s=rate,
            remaining_s=left / rate if rate > 0 else None,
            slots=self._dispatcher.capacity(),
            draining=self._draining,
            paused=self._paused,
            failures=tuple(self.tally.failures),
            nodes=self._nodes.count,
            allocation_left_s=self._allocation_left_s(),
        )

    def states(self) -> npt.NDArray[np.int8]:
        """State of every job now, (n,), of those in flight as well."""
        return self._flights.shown_in(self._table.state)

    def row(self, job: int) -> Row:
        """What is known of a job between attempts."""
        return self._table.row(job)

    def nodes(self) -> list[NodeLook]:
        """The nodes that there are, and those that are gone."""
        return self._nodes.look(self.tally.by_node)

    def _is_over(self) -> bool:
        if self._flights:
            return False
        return self._draining or not (self._dispatcher.waiting or self._dispatcher.retries or self._passage.busy)

    # Out: jobs -> leases.

    def _left_s(self) -> float | None:
        """Seconds that are left for jobs; None where nothing ends."""
        left = self._allocation_left_s()
        return None if left is None else left - max(FLUSH_MIN_S, FLUSH_FACTOR * self._commits.slowest_flush_s)

    def _refill(self) -> None:
        now, left = self._clock.monotonic_s(), self._left_s()
        self._room, self._look_again_s = False, now + IDLE_POLL_S
        if left is not None and left <= 0:
            self._cut_off()
        if self._draining:
            return
        leases = [] if self._paused else self._dispatcher.next_leases(now, left, self._clock.now_ms())
        for lease in leases:
            self._flights.take_off(lease, self._dispatcher.slots.share(lease.slot))
        if leases:
            self._cluster.submit(leases)
        if left is not None and (left <= 0 or (self._dispatcher.waiting and self._dispatcher.nothing_fits(left))):
            logger.info("the allocation ends in %.0f s: no job is started that would not end before", left)
            self.drain(WALLTIME)
        behind = self._passage.gates.closed
        self._cluster.demand(self._dispatcher.waiting + len(self._flights) + behind)
        if why := self._nodes.missing(busy=bool(self._flights)):
            self._give_up(why)
        if self._plan.config.slurm.give_back and not (self._dispatcher.waiting or self._dispatcher.retries or behind):
            self._nodes.give_back()

    def _cut_off(self) -> None:
        """What still runs when only the time for the last commit is left would be lost with everything else."""
        if self._flights and not self._cut:
            self._cut = True
            logger.warning("the allocation ends: what runs is stopped, and runs again in the next one")
            self._abandon_all("the allocation ends")

    def _abandon_all(self, why: str) -> None:
        """End every job that runs."""
        slots = {flight.slot.number: flight.slot for flight in self._flights}
        if slots:
            self._cluster.abandon(list(slots.values()), why)

    # In: events -> verdicts -> batches that are complete.

    def _take(self, event: Event) -> None:
        match event:
            case JobStarted(job=job, at_ms=at_ms):
                flight = self._flights.of(job)
                if flight is not None:
                    flight.running[job] = at_ms
            case JobEnded(record=record):
                self._job_ended(record)
            case _:
                self._room = True
                self._take_change(event)

    def _take_change(self, event: Event) -> None:
        """What may make room for other leases."""
        match event:
            case LeaseReturned(lease=number):
                self._release(number)
            case LeaseLost(lease=number, worker=worker, error=error):
                self._settle_lost(number, worker)
                if error and (number >= 0 or not worker or not self._nodes.count):
                    self._give_up(f"a worker can't go on: {error}")
                elif error:
                    logger.warning("a node can't be used: %s", error)
            case NodeJoined(node=node):
                self.audience.hear("node_joined", node=node.name, cpus=node.cpus, gpus=node.gpus)
                self._nodes.join(node)
            case NodeLost(name=name):
                self.audience.hear("node_lost", node=name)
                self._nodes.lose(name, expected=self._draining)

    def _job_ended(self, record: Record) -> None:
        job = record.job
        flight = self._flights.of(job)
        if flight is None or flight.tasks[job].attempt != record.attempt:
            self.tally.duplicates += 1
            logger.warning(
                "job %s ended twice (attempt %d); the second end is not counted", record.name, record.attempt
            )
            return
        self._note_start(flight.slot, self._flights.end(job), record)
        self._note_end(record, flight.nodes)
        self._watch(record, flight.slot)
        self._judge(record, flight.slot)

    def _note_start(self, slot: Slot, begun_ms: int | None, record: Record) -> None:
        """Learn how long a new slot took to be ready for its first job."""
        number = slot.number
        if begun_ms is not None and record.outcome is Outcome.COMPLETED and number not in self._begun_slots:
            self._begun_slots.add(number)
            passed_s = (self._clock.now_ms() - begun_ms) / 1000
            self._dispatcher.note_start(slot.shape, max(passed_s - record.duration_s, 0.0))

    def _judge(self, record: Record, slot: Slot) -> None:
        verdict = self._table.judge(record, self._policy)
        concluded = record.concluded(verdict.state.word)
        self._table.fold(concluded)
        self.audience.hear("job_ended", **told(concluded, verdict.retry_after_s))
        if verdict.retry_after_s is not None:
            avoided = slot.nodes if verdict.another_node else ()
            self._dispatcher.retry(record.job, self._clock.monotonic_s() + verdict.retry_after_s, avoided)
        complete = self._dispatcher.ended(concluded)
        if complete is not None:
            self._commits.put(record.batch, complete)
        if verdict.state in TERMINAL:
            self._passage.gates.ended(record.job, verdict.state)
        if verdict.state is State.COMPLETED and self._suffices(record):
            self.drain(ENOUGH)

    def _watch(self, record: Record, slot: Slot) -> None:
        """Give up where an attempt tells of trouble that is not its own."""
        failure = record.failure
        if failure is not None and failure.code in STORAGE_CODES:
            self._give_up(f"{record.name} could not write: {first_line(failure)}")
        fresh = not self._table.failures[record.job]
        if why := self._nodes.watch(record, slot.nodes, fresh=fresh):
            self._give_up(why)
        if why := self._health.trouble_everywhere():
            self._give_up(f"{why}; the last: {self.tally.last_failure()}", Code.CAMPAIGN_FAILING)

    def _note_end(self, record: Record, nodes: float) -> None:
        self.tally.note(record, nodes, self._clock.monotonic_s())
        completed = record.outcome is Outcome.COMPLETED
        if completed or record.outcome is Outcome.TIMEOUT:
            self._dispatcher.note(record, completed=completed)

    def _release(self, number: int) -> None:
        """A lease is over: what it did not begin goes back to the front, unblamed."""
        flight = self._flights.land(number)
        if flight is None:
            return
        self._dispatcher.slots.release(flight.slot.number)
        if flight.tasks:
            self._dispatcher.put_back(next(iter(flight.tasks.values())).batch, list(flight.tasks))

    def _settle_lost(self, number: int, worker: str) -> None:
        """A worker died with a lease: its journal says what ended and what was begun; only that is an attempt.

        A lease that no worker had been granted was not begun at all.
        """
        flight = self._flights.get(number)
        if flight is None:
            return
        known = self._journal(worker) if worker else {}
        for job, task in list(flight.tasks.items()):
            entry = known.get((job, task.attempt))
            if isinstance(entry, Begun):
                self._job_ended(interrupted_record(task, entry.at_ms, self._clock.now_ms()))
            elif entry is not None:
                self._job_ended(entry)
        self._release(number)

    def _journal(self, worker: str) -> dict[tuple[int, int], Begun | Record]:
        """(job, attempt) -> the last that a lost worker wrote about it; read once for all of its leases."""
        if self._journal_of[0] != worker:
            known: dict[tuple[int, int], Begun | Record] = {}
            for entry in self._journals.read(worker):
                if not isinstance(entry, Begun) or (entry.job, entry.attempt) not in known:
                    known[entry.job, entry.attempt] = entry
            self._journal_of = (worker, known)
        return self._journal_of[1]
