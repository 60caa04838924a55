"""What runs in the Dask worker of a node: it supervises slots, and runs no user code."""

from __future__ import annotations

import asyncio
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import psutil
from distributed import Worker, WorkerPlugin, get_worker
from distributed.utils import sync

from campaign.core.model import Node, Record, Slot, Task
from campaign.garbage import collect_seldom
from campaign.ports import Supervisor
from campaign.wire import decode, encode

PLUGIN = "campaign-slots"
EVENT = "campaign-event"
GRANT = "campaign_grant"
JOIN = "campaign_join"
DRAIN = "campaign_drain"
ABANDON = "campaign_abandon"
MEMORY = "campaign_memory"

MakeSupervisor = Callable[[str], Supervisor]
"""Makes the supervisor of a node's slots, given the worker's address; travels to the worker by pickle."""

Describe = Callable[[], Node]
"""Tells which node the worker is on; travels likewise."""


def run_job(task: str, slot: str) -> int:
    """Run one job, given as JSON, in a slot of this worker; what a call of `delayed_jobs` does."""
    return run_lease(-1, f"[{task}]", slot)


def run_lease(lease: int, tasks: str, slot: str, starts_until_ms: int | None = None) -> int:
    """Run a lease, a JSON list of tasks, in a slot of this worker, if the coordinator grants the start.

    Returns how many jobs began. No job begins later than `starts_until_ms`, whatever the coordinator is doing; one of
    less than seconds that is in the hands of its slot may begin a moment later.

    Dask re-runs a task that it believes lost; the grant makes sure that a lease starts once.
    """
    worker = get_worker()
    plugin = cast("SlotsPlugin", worker.plugins[PLUGIN])
    if lease >= 0 and not sync(worker.loop, getattr(worker.scheduler, GRANT), lease=lease, worker=worker.address):
        return 0

    emit = _Outbox(worker, lease)
    try:
        if plugin.supervisor is None:
            raise RuntimeError(plugin.trouble)
        mine = decode(tasks, list[Task])
        deadline_ms = math.inf if starts_until_ms is None else starts_until_ms

        def stopped() -> bool:
            return plugin.draining.is_set() or time.time() * 1000 > deadline_ms

        unstarted = plugin.supervisor.run(decode(slot, Slot), mine, emit, stopped)
    except Exception as error:  # noqa: BLE001 - a journal that can't be written, or a defect of ours: the coordinator must know
        if not plugin.closing:  # a worker that is ended loses its leases as any that dies
            emit({"event": "broken", "error": f"{type(error).__name__}: {error}"})
        return 0
    emit({"event": "returned", "unstarted": unstarted})
    return len(mine) - len(unstarted)


def _memory(_: Worker) -> tuple[int, int]:
    """(used, all) bytes of this node's memory, told with each heartbeat."""
    seen = psutil.virtual_memory()
    return seen.total - seen.available, seen.total


class _Outbox:
    """What a lease has to tell the coordinator: one envelope takes all that is said until the loop comes to it."""

    def __init__(self, worker: Worker, lease: int) -> None:
        self._worker, self._lease = worker, lease
        self._said: deque[Mapping[str, Any]] = deque()

    def __call__(self, message: Mapping[str, Any]) -> None:
        self._said.append(message)
        if len(self._said) == 1:  # or a callback is on its way already, or it has just emptied us
            self._worker.loop.add_callback(self._send)

    def _send(self) -> None:
        messages = []
        while self._said:
            messages.append(self._said.popleft())
        if messages:
            self._worker.batched_send({"op": EVENT, "lease": self._lease, "body": encode(messages)})


@dataclass(frozen=True, slots=True)
class Said:
    """What a lease told the coordinator, as it arrives."""

    event: str  # started, ended, returned, broken
    record: Record | None = None  # ended
    job: int = -1  # started
    attempt: int = 0
    at_ms: int = 0
    unstarted: tuple[int, ...] = ()  # returned
    error: str = ""  # broken


class SlotsPlugin(WorkerPlugin):
    """Gives a worker its slots; the worker itself runs no user code."""

    name = PLUGIN

    def __init__(self, make_supervisor: MakeSupervisor, describe: Describe) -> None:
        self._make, self._describe = make_supervisor, describe

    def setup(self, worker: Worker) -> None:
        """Make the supervisor of the slots when the worker starts, and tell the coordinator that the node is there."""
        # Ctrl-C reaches every process of a terminal's group; the coordinator alone decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        collect_seldom()
        self.draining = threading.Event()
        self.closing = False
        self.supervisor: Supervisor | None = None
        self.trouble, node = "", None
        try:
            self.supervisor = self._make(str(worker.address))
            node = asdict(self._describe())
        except Exception as error:  # noqa: BLE001 - Dask would go on without it; the coordinator must know
            self.trouble = f"its slots can't be made: {type(error).__name__}: {error}"

        def drain() -> None:
            self.draining.set()

        async def abandon(numbers: list[int], why: str) -> None:
            if self.supervisor is not None:
                await asyncio.to_thread(self.supervisor.abandon, numbers, why)

        worker.metrics[MEMORY] = _memory
        worker.handlers[DRAIN] = drain
        worker.handlers[ABANDON] = abandon
        join = getattr(worker.scheduler, JOIN)
        self._joining = asyncio.ensure_future(join(worker=worker.address, node=node, trouble=self.trouble))

    def teardown(self, worker: Worker) -> None:
        """End the slots when the worker stops."""
        self.closing = True
        if self.supervisor is not None:
            self.supervisor.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"_make": self._make, "_describe": self._describe}
