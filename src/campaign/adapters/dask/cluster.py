"""Leases on a Dask cluster in the coordinator's own event loop."""

from __future__ import annotations

import asyncio
import logging
import socket
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dask
from dask.delayed import Delayed, delayed
from distributed import Client, Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin

from campaign.adapters.dask import pages
from campaign.adapters.dask.sources import WorkerSource
from campaign.adapters.dask.worker import (
    ABANDON,
    DRAIN,
    EVENT,
    GRANT,
    JOIN,
    MEMORY,
    Describe,
    MakeSupervisor,
    Said,
    SlotsPlugin,
    run_job,
    run_lease,
)
from campaign.core.model import JobCall, Lease, Node, Slot
from campaign.ports import Event, JobEnded, JobStarted, LeaseLost, LeaseReturned, NodeJoined, NodeLost
from campaign.wire import Raw, decode, encode

logger = logging.getLogger("campaign")

SETTINGS = {
    "distributed.scheduler.worker-saturation": "inf",  # we bound what is in flight ourselves; halves the cost of a task
    "distributed.scheduler.work-stealing": False,  # placement is ours
    "distributed.scheduler.allowed-failures": 0,  # a lost worker is our decision, not a silent second run
    "distributed.scheduler.worker-ttl": "60s",
    "distributed.admin.low-level-log-length": 10,  # the default keeps 1000 payloads a connection for ever
    "distributed.worker.profile.enabled": False,  # it would sample threads that only wait
    "distributed.worker.memory.terminate": False,  # jobs are limited in their slots
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
    "distributed.comm.timeouts.connect": "60s",
}
TEND_S = 1.0
"""Time between two looks after the workers."""

RELEASED_S = 1.0
"""How long the controller may take to free what a step held: a step that asks before waits for a minute, if no other ends."""

ABANDON_S = 30.0
"""How long a worker may take to end slots."""


def configure() -> None:
    """Settle Dask in this process as the engine needs it."""
    dask.config.set(SETTINGS)
    logging.getLogger("distributed").setLevel(logging.ERROR)
    logging.getLogger("distributed.scheduler").setLevel(logging.CRITICAL)  # lost tasks are ours to tell
    warnings.filterwarnings("ignore", message="(?s).*Port .* is already in use", module="distributed")


def delayed_jobs(calls: Iterable[JobCall], slot: Slot) -> list[Delayed]:
    """One `dask.delayed` call a job: `run_job(task, slot)`, under the key `("job", index)`, in one layer for all of them."""
    from dask._task_spec import Task as DaskTask
    from dask.highlevelgraph import HighLevelGraph

    where = encode(slot).decode()
    layer: dict[Any, Any] = {call.key: DaskTask(call.key, run_job, encode(call.task).decode(), where) for call in calls}
    graph = HighLevelGraph.from_collections("jobs", layer, dependencies=[])
    return [Delayed(key, graph, layer="jobs") for key in layer]


class _Departures(SchedulerPlugin):
    """Tells the cluster which worker left."""

    name = "campaign-departures"

    def __init__(self, left: Any) -> None:
        self._left = left

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        self._left(worker)


class DaskCluster:
    """Implements `ports.Cluster`; where its workers come from is the source's affair."""

    def __init__(self, source: WorkerSource, client: Client) -> None:
        self._source, self._client = source, client
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._flying: dict[int, Any] = {}  # lease -> its future, None until Dask has it
        self._pinned: dict[int, str] = {}  # lease -> address of the worker that it was given to
        self._granted: dict[int, str] = {}
        self._address: dict[str, str] = {}  # node -> worker
        self._draining = self._closing = False
        self._background: set[asyncio.Future[Any]] = set()
        self._releasing: asyncio.Future[None] | None = None
        self._scheduler: Any = source.cluster.scheduler
        self._scheduler.handlers[GRANT] = self._grant
        self._scheduler.handlers[JOIN] = self._join
        self._scheduler.stream_handlers[EVENT] = self._receive
        self._scheduler.add_plugin(_Departures(self._left))

    @classmethod
    async def open(cls, source: WorkerSource, make_supervisor: MakeSupervisor, describe: Describe) -> DaskCluster:
        """A cluster whose workers are on their way; they are told by `NodeJoined`."""
        configure()
        if source.shows_dashboard:
            pages.install()
        await source.open()
        client = await Client(source.cluster, asynchronous=True, set_as_default=False, security=source.security)
        self = cls(source, client)
        await client.register_plugin(SlotsPlugin(make_supervisor, describe))
        await source.bring()
        self._spawn(self._tend())
        return self

    @property
    def dashboard(self) -> str:
        """Address of the Dask dashboard, empty where there is none."""
        if not self._source.shows_dashboard:
            return ""
        page = pages.PAGE if pages.KEY in self._scheduler.extensions else "status"
        return f"http://127.0.0.1:{self._scheduler.http_server.port}/{page} on {socket.gethostname()}"

    def show_page(self, draw: pages.Draw) -> None:
        """Have our page drawn by `draw`, where there is a dashboard."""
        if self._source.shows_dashboard:
            pages.show(self._scheduler, draw)

    def submit(self, leases: Iterable[Lease]) -> None:
        """Put leases into flight, each on the first node of its slot, once the slots that it evicts are gone."""
        at_once: dict[str, list[Lease]] = defaultdict(list)
        for lease in leases:
            self._flying[lease.number] = None
            address = self._address.get(lease.slot.nodes[0])
            if address is None:
                self._lose(lease.number)
                continue
            self._pinned[lease.number] = address
            if lease.evicted:
                self._spawn(self._evict_first(lease, address))
            else:
                at_once[address].append(lease)
        for address, group in at_once.items():
            self._compute(group, address)

    def _compute(self, leases: Sequence[Lease], address: str) -> None:
        """What one lease holds is one task for the scheduler."""
        calls = []
        for lease in leases:
            tasks = encode([call.task for call in lease.calls]).decode()  # a text is not walked by Dask
            calls.append(delayed(run_lease, pure=False)(
                lease.number, tasks, encode(lease.slot).decode(), lease.starts_until_ms,
                dask_key_name=("lease", lease.number),
            ))  # fmt: skip
        futures = self._client.compute(calls, optimize_graph=False, workers=[address], allow_other_workers=False)
        for lease, future in zip(leases, futures, strict=True):
            self._flying[lease.number] = future
            future.add_done_callback(lambda _, n=lease.number: self._lose(n))  # unless it came back before

    async def _evict_first(self, lease: Lease, address: str) -> None:
        try:
            await self._end_slots(lease.evicted, "another shape needs its place")
            if any(slot.shape.ranks > 1 for slot in lease.evicted):
                await asyncio.sleep(RELEASED_S)
            if lease.number in self._flying:
                self._compute([lease], address)
        except Exception:
            self._lose(lease.number)
            raise

    async def next_event(self, timeout_s: float) -> Event | None:
        """The next thing that happened, in order; None if nothing did in time."""
        if not self._events.empty():
            return self._events.get_nowait()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._events.get()
        except TimeoutError:
            return None

    def drain(self) -> None:
        """Let running jobs end and give everything else back."""
        self._draining = True
        for lease in [number for number in self._flying if number not in self._granted]:
            future = self._flying[lease]
            self._return(lease, None)
            if future is not None:
                self._spawn(future.cancel())
        self._spawn(self._scheduler.broadcast(msg={"op": DRAIN}, on_error="ignore"))

    def abandon(self, slots: Sequence[Slot], why: str) -> None:
        """End what runs in these slots, wherever it is left; their leases come back, and no job is blamed."""
        self._spawn(self._end_slots(slots, why))

    def expects_nodes(self) -> bool:
        """Whether nodes may still come without anybody's help."""
        return self._source.expects_nodes()

    def demand(self, slots: int) -> None:
        """Say how many slots could be busy now, so that nodes can be brought."""
        self._source.demand(slots)

    def release(self, nodes: Sequence[str]) -> None:
        """Give nodes back to whoever lent them, where that is possible."""
        if self._releasing is None or self._releasing.done():
            self._releasing = asyncio.ensure_future(asyncio.to_thread(self._source.release, nodes))

    def memory(self) -> dict[str, tuple[int, int]]:
        """(used, all) bytes of the memory of each node, as of its worker's latest heartbeat."""
        known = {name: self._scheduler.workers.get(address) for name, address in self._address.items()}
        heard = {name: state.metrics.get(MEMORY) for name, state in known.items() if state is not None}
        return {name: (used, whole) for name, (used, whole) in ((n, m) for n, m in heard.items() if m)}

    async def close(self) -> None:
        """End workers and scheduler."""
        self._closing = True
        self._flying.clear()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._source.retire()
        await self._client.close()
        await self._source.close()

    async def _end_slots(self, slots: Sequence[Slot], why: str) -> None:
        """End servers through the workers that launched them, and sweep what a lost worker left."""
        by_worker: dict[str, list[int]] = defaultdict(list)
        lost = []
        for slot in slots:
            address = self._address.get(slot.nodes[0])
            if address is None:
                lost.append(slot)
            else:
                by_worker[address].append(slot.number)
        ends = [
            self._scheduler.broadcast(
                msg={"op": ABANDON, "numbers": numbers, "why": why}, workers=[address], on_error="ignore"
            )
            for address, numbers in by_worker.items()
        ]
        try:
            async with asyncio.timeout(ABANDON_S):
                await asyncio.gather(*ends, return_exceptions=True)
        except TimeoutError:
            lost = list(slots)
        if lost:
            await asyncio.to_thread(self._source.sweep, lost)

    async def _tend(self) -> None:
        """Look after the workers as long as the run lasts."""
        while True:
            await asyncio.sleep(TEND_S)
            try:
                trouble = await self._source.tend(frozenset(self._address))
            except Exception as error:  # noqa: BLE001 - a queue that does not answer now may do so later
                logger.warning("could not look after the workers: %s", error)
                continue
            if trouble and not self._closing:
                self._events.put_nowait(LeaseLost(-1, "", trouble))

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._settle)

    def _settle(self, task: asyncio.Future[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._closing:
            logger.warning("the cluster could not do what it was asked: %s: %s", type(error).__name__, error)

    async def _join(self, worker: str, node: Mapping[str, Any] | None, trouble: str) -> None:
        if node is None:
            self._events.put_nowait(LeaseLost(-1, worker, trouble))
            return
        joined = Node(**node)
        if self._address.get(joined.name, worker) in self._scheduler.workers and joined.name in self._address:
            logger.warning("node %s has a worker already; another one is sent home", joined.name)
            self._spawn(self._scheduler.retire_workers(workers=[worker], close_workers=True, remove=True))
            return
        self._address[joined.name] = worker
        self._events.put_nowait(NodeJoined(joined))

    def _left(self, worker: str) -> None:
        """A worker is gone, and so is what it was given."""
        if self._closing:
            return
        for lease in [number for number, address in self._pinned.items() if address == worker]:
            self._lose(lease)
        for name in [name for name, address in self._address.items() if address == worker]:
            del self._address[name]
            self._events.put_nowait(NodeLost(name))

    async def _grant(self, lease: int, worker: str) -> bool:
        if lease not in self._flying or lease in self._granted:
            return False
        if self._draining:
            self._return(lease, None)
            return False
        self._granted[lease] = worker
        return True

    async def _receive(self, lease: int, body: bytes, worker: str, **_: object) -> None:
        for message in decode(body, list[Raw]):
            try:
                self._hear(lease, decode(message, Said), worker)
            except Exception as error:  # noqa: BLE001 - Dask removes the worker whose stream handler raises
                asyncio.get_running_loop().call_exception_handler({"message": "a worker's event", "exception": error})

    def _hear(self, lease: int, said: Said, worker: str) -> None:
        if said.record is not None:
            self._events.put_nowait(JobEnded(said.record))
        elif said.event == "started":
            self._events.put_nowait(JobStarted(said.job, said.attempt, worker, said.at_ms))
        elif said.event == "returned":
            self._return(lease, said.unstarted)
        elif said.event == "broken":
            self._lose(lease, said.error)

    def _return(self, lease: int, unstarted: tuple[int, ...] | None) -> None:
        if lease in self._flying:
            self._forget(lease)
            self._events.put_nowait(LeaseReturned(lease, unstarted))

    def _lose(self, lease: int, error: str = "") -> None:
        """A lease will not come back: its worker is gone, or said that it can't go on."""
        if lease in self._flying:
            worker = self._granted.get(lease, "")
            self._forget(lease)
            self._events.put_nowait(LeaseLost(lease, worker, error))

    def _forget(self, lease: int) -> None:
        del self._flying[lease]
        self._pinned.pop(lease, None)
        self._granted.pop(lease, None)
