"""The slots that one node launches, each with its server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor

from campaign.adapters.handed import BlankRecord, Emit
from campaign.adapters.slot_server import SlotServer
from campaign.core.model import Slot, Task
from campaign.ports import Clock, Journal, Launcher, Process

LAST_WORDS_S = 5.0
"""How long the end of a job that ran may take to reach the journal of a worker that is ended."""


class SlotPool:
    """The slots that one node launches. A crash, a hang or a leak in user code takes one slot server and nothing else."""

    def __init__(self, launcher: Launcher, journal: Journal, clock: Clock, blank_record: BlankRecord) -> None:
        self._launcher, self._journal, self._clock = launcher, journal, clock
        self._blank = blank_record
        self._servers: dict[int, SlotServer] = {}
        self._lock = threading.Lock()
        # The kernel ends a child with the thread that started it, so one thread that lives as long as we do starts all.
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="slot-spawner")
        self._closing = False
        self._gone: set[int] = set()  # slots that the coordinator gave to others

    def run(self, slot: Slot, tasks: Sequence[Task], emit: Emit, stopped: Callable[[], bool]) -> list[int]:
        """Run `tasks` in a slot, in their order; returns the jobs left over when stopped."""
        server = self._server(slot)
        if server is None:
            return [task.job for task in tasks]
        left = server.run(tasks, emit, stopped)
        if not slot.shape.warm:
            with self._lock:
                if server.retire() and self._servers.get(slot.number) is server:
                    del self._servers[slot.number]
        return left

    def abandon(self, numbers: Sequence[int], why: str) -> None:
        """End the servers of these slots; a job that runs in one is interrupted, unblamed. Returns when they are gone."""
        self._gone.update(numbers)
        self._end(numbers, why)

    def close(self) -> None:
        """End every slot server."""
        self._closing = True
        self._launcher.give_up()
        self._spawner.shutdown(cancel_futures=True)  # waits for a server that is just being started
        with self._lock:
            servers = list(self._servers.values())
        with ThreadPoolExecutor(max(len(servers), 1)) as together:
            list(together.map(lambda server: server.dismiss("the worker was ended"), servers))
        for server in servers:  # what ran has its end in the journal before that is closed
            server.join(LAST_WORDS_S)
        self._launcher.close()
        self._journal.close()

    def _server(self, slot: Slot) -> SlotServer | None:
        """What serves a slot; None where the coordinator has given its place to others."""
        with self._lock:
            if slot.number in self._gone or self._closing:
                return None
            if slot.number not in self._servers:
                self._servers[slot.number] = SlotServer(slot, self._start, self._journal, self._clock, self._blank)
            return self._servers[slot.number]

    def _end(self, numbers: Sequence[int], why: str) -> None:
        with self._lock:
            servers = [self._servers.pop(number) for number in numbers if number in self._servers]
        for server in servers:
            server.dismiss(why)

    def _start(self, server: SlotServer) -> Process | None:
        """A process for a server; None where it is not wanted any more."""
        try:
            return self._spawner.submit(self._launch, server).result()
        except (RuntimeError, CancelledError):  # the spawner was shut down
            return None

    def _launch(self, server: SlotServer) -> Process | None:
        if not self._wanted(server):
            return None
        process = self._launcher.start(server.slot)
        if not self._wanted(server):  # any more
            process.kill()
        return process

    def _wanted(self, server: SlotServer) -> bool:
        return not (server.unwanted or self._closing)
