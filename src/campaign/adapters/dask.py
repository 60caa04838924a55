"""Dask: an in-process scheduler, one worker a node that supervises slots, leases out and events back."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import dask
from dask.delayed import Delayed, delayed
from distributed import Client, LocalCluster, Scheduler, Worker, WorkerPlugin, get_worker
from distributed.utils import sync

from campaign.core.model import JobCall, Lease, Record, Task, task_to_json
from campaign.errors import Code, StoppedError
from campaign.ports import Event, JobEnded, JobStarted, LeaseLost, LeaseReturned, Supervisor

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
WORKERS_UP_S = 60
PLUGIN = "campaign-slots"
EVENT = "campaign-event"
GRANT = "campaign_grant"
DRAIN = "campaign_drain"

MakeSupervisor = Callable[[str], Supervisor]
"""Makes the slots of a node, given the worker's address; travels to the worker by pickle."""


def delayed_jobs(calls: Iterable[JobCall]) -> list[Delayed]:
    """One `dask.delayed` call a job: `run_job(task)`, under the key `("job", index)`, in one layer for all of them."""
    from dask._task_spec import Task as DaskTask
    from dask.highlevelgraph import HighLevelGraph

    layer: dict[Any, Any] = {
        call.key: DaskTask(call.key, run_job, json.dumps(task_to_json(call.task))) for call in calls
    }
    graph = HighLevelGraph.from_collections("jobs", layer, dependencies=[])
    return [Delayed(key, graph, layer="jobs") for key in layer]


def run_job(task: str) -> int:
    """Run one job, given as JSON, in a slot of this worker; what a call of `delayed_jobs` does."""
    return run_lease(-1, f"[{task}]")


def run_lease(lease: int, tasks: str) -> int:
    """Run a lease, a JSON list of tasks, in one slot of this worker, if the coordinator grants the start.

    Returns how many jobs began.

    Dask re-runs a task that it believes lost; the grant makes sure that a lease starts once.
    """
    worker = get_worker()
    plugin = cast("SlotsPlugin", worker.plugins[PLUGIN])
    if lease >= 0 and not sync(worker.loop, getattr(worker.scheduler, GRANT), lease=lease, worker=worker.address):
        return 0

    def emit(message: Mapping[str, Any]) -> None:
        envelope = {"op": EVENT, "lease": lease, "body": json.dumps(message)}
        worker.loop.add_callback(worker.batched_send, envelope)

    try:
        if plugin.supervisor is None:
            raise RuntimeError(plugin.trouble)
        mine = [Task(**task) for task in json.loads(tasks)]
        unstarted = plugin.supervisor.run(mine, emit, plugin.draining.is_set)
    except Exception as error:  # noqa: BLE001 - a journal that can't be written, or a defect of ours: the coordinator must know
        emit({"event": "broken", "error": f"{type(error).__name__}: {error}"})
        return 0
    emit({"event": "returned", "unstarted": unstarted})
    return len(mine) - len(unstarted)


class SlotsPlugin(WorkerPlugin):
    """Gives a worker its slots; the worker itself runs no user code."""

    name = PLUGIN

    def __init__(self, make_supervisor: MakeSupervisor) -> None:
        self._make = make_supervisor

    def setup(self, worker: Worker) -> None:
        """Make the slots when the worker starts."""
        # Ctrl-C reaches every process of a terminal's group; the coordinator alone decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.draining = threading.Event()
        try:
            self.supervisor: Supervisor | None = self._make(str(worker.address))
        except Exception as error:  # noqa: BLE001 - Dask would go on without it; the first lease tells the coordinator
            self.supervisor, self.trouble = None, f"its slots can't be made: {type(error).__name__}: {error}"

        def drain() -> None:
            self.draining.set()

        worker.handlers[DRAIN] = drain

    def teardown(self, worker: Worker) -> None:
        """End the slots when the worker stops."""
        if self.supervisor is not None:
            self.supervisor.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"_make": self._make}


class DaskCluster:
    """Leases on a Dask cluster in the coordinator's own event loop."""

    def __init__(self, cluster: Any, client: Client, slots: int, scratch: tempfile.TemporaryDirectory[str]) -> None:
        self._cluster, self._client, self.slots, self._scratch = cluster, client, slots, scratch
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._flying: dict[int, Any] = {}
        self._granted: dict[int, str] = {}
        self._draining = False
        self._shown = False
        self._alone_since: float | None = None
        self._cancelling: list[asyncio.Future[Any]] = []
        scheduler: Scheduler = cluster.scheduler
        scheduler.handlers[GRANT] = self._grant
        scheduler.stream_handlers[EVENT] = self._receive

    @classmethod
    async def local(cls, slots: int, make_supervisor: MakeSupervisor, dashboard_address: str | None) -> DaskCluster:
        """A scheduler in this process and one supervising worker on this machine, on the loopback interface."""
        dask.config.set(SETTINGS)
        scratch = tempfile.TemporaryDirectory(prefix="campaign-")
        logging.getLogger("distributed").setLevel(logging.ERROR)
        logging.getLogger("distributed.scheduler").setLevel(logging.CRITICAL)  # lost tasks are ours to tell
        warnings.filterwarnings("ignore", message="(?s).*Port .* is already in use", module="distributed")
        cluster = await LocalCluster(
            n_workers=0,
            processes=True,
            threads_per_worker=slots,
            host="127.0.0.1",
            dashboard_address=dashboard_address or "127.0.0.1:0",
            scheduler_kwargs={"dashboard": dashboard_address is not None},
            memory_limit=0,
            local_directory=scratch.name,
            silence_logs=40,
            asynchronous=True,
        )
        client = await Client(cluster, asynchronous=True, set_as_default=False)
        self = cls(cluster, client, slots, scratch)
        self._shown = dashboard_address is not None
        await client.register_plugin(SlotsPlugin(make_supervisor))
        cluster.scale(1)
        try:
            await client.wait_for_workers(1, timeout=WORKERS_UP_S)
        except TimeoutError:
            await self.close()
            raise StoppedError(
                Code.CLUSTER_UNREADY,
                f"no worker came up in {WORKERS_UP_S} s on this machine",
                action="look for a full disk, or for too little memory, and start again",
            ) from None
        return self

    @property
    def dashboard(self) -> str:
        """Address of the Dask dashboard, empty where there is none."""
        return str(self._cluster.dashboard_link) if self._shown else ""

    def submit(self, leases: Iterable[Lease]) -> None:
        """Put leases into flight: what one lease holds is one task for the scheduler."""
        calls = []
        for lease in leases:
            tasks = json.dumps([task_to_json(call.task) for call in lease.calls])  # a text is not walked by Dask
            calls.append((lease.number, delayed(run_lease, pure=False)(
                lease.number, tasks, dask_key_name=("lease", lease.number)
            )))  # fmt: skip
        futures = self._client.compute([call for _, call in calls], optimize_graph=False)
        for (number, _), future in zip(calls, futures, strict=True):
            self._flying[number] = future
            future.add_done_callback(lambda _, n=number: self._lose(n))  # unless it came back before

    async def next_event(self, timeout_s: float) -> Event | None:
        """The next thing that happened, in order; None if nothing did in time."""
        if not self._events.empty():
            return self._events.get_nowait()
        self._miss_workers()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._events.get()
        except TimeoutError:
            return None

    def _miss_workers(self) -> None:
        """Lose every lease where no worker is there, and none comes back."""
        loop = asyncio.get_running_loop()
        if self._cluster.scheduler.workers or not self._flying:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = loop.time()
        elif loop.time() - self._alone_since > WORKERS_UP_S:
            for lease in list(self._flying):
                self._lose(lease, f"no worker has been there for {WORKERS_UP_S} s")

    def drain(self) -> None:
        """Let running jobs end and give everything else back."""
        self._draining = True
        for lease in [number for number in self._flying if number not in self._granted]:
            future = self._flying[lease]
            self._return(lease, None)
            self._cancelling.append(asyncio.ensure_future(future.cancel()))
        self._telling = asyncio.ensure_future(self._cluster.scheduler.broadcast(msg={"op": DRAIN}))

    async def close(self) -> None:
        """End workers and scheduler."""
        self._flying.clear()
        await self._client.close()
        await self._cluster.close()
        self._scratch.cleanup()

    async def _grant(self, lease: int, worker: str) -> bool:
        if lease not in self._flying or lease in self._granted:
            return False
        if self._draining:
            self._return(lease, None)
            return False
        self._granted[lease] = worker
        return True

    async def _receive(self, lease: int, body: str, worker: str, **_: object) -> None:
        # Dask removes the worker whose stream handler raises.
        try:
            message = json.loads(body)
            match message["event"]:
                case "started":
                    self._events.put_nowait(JobStarted(message["job"], message["attempt"], worker, message["at_ms"]))
                case "ended":
                    self._events.put_nowait(JobEnded(Record.from_json(message["record"])))
                case "returned":
                    self._return(lease, tuple(message["unstarted"]))
                case "broken":
                    self._lose(lease, message["error"])
        except Exception as error:  # noqa: BLE001
            asyncio.get_running_loop().call_exception_handler({"message": "a worker's event", "exception": error})

    def _return(self, lease: int, unstarted: tuple[int, ...] | None) -> None:
        if self._flying.pop(lease, None) is not None:
            self._granted.pop(lease, None)
            self._events.put_nowait(LeaseReturned(lease, unstarted))

    def _lose(self, lease: int, error: str = "") -> None:
        """A lease will not come back: its worker is gone, or said that it can't go on."""
        if self._flying.pop(lease, None) is not None:
            self._events.put_nowait(LeaseLost(lease, self._granted.pop(lease, ""), error))
