"""Supervises the slot servers of one node: hands them jobs, ends them when they overrun, starts them again."""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from campaign.core.model import Failure, Outcome, Record, Task, task_to_json
from campaign.errors import Code
from campaign.ports import Clock, Journal, Launcher, Process

POLL_S = 0.25
"""How often a running job's time and memory are looked at."""

READY_TIMEOUT_S = 600.0
"""How long a slot server may import and warm up."""

Emit = Callable[[Mapping[str, Any]], None]
BlankRecord = Callable[[Task, str, int], Record]


@dataclass(slots=True)
class _Slot:
    number: int
    process: Process | None = None
    version: str = ""


class _UnreadyError(Exception):
    """A slot server could not be warmed up; carries the failure that the attempt reports."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class SlotPool:
    """The slots of one node. A crash, a hang or a leak in user code takes one slot server and nothing else."""

    def __init__(
        self,
        slots: int,
        launcher: Launcher,
        journal: Journal,
        clock: Clock,
        blank_record: BlankRecord,
        memory_limit_bytes: int | None = None,
    ) -> None:
        self._launcher, self._journal, self._clock = launcher, journal, clock
        self._blank, self._memory_limit = blank_record, memory_limit_bytes
        self._free: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        self._all = [_Slot(n) for n in range(slots)]
        for slot in self._all:
            self._free.put(slot)
        # The kernel ends a child with the thread that started it, so one thread that lives as long as we do starts all.
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="slot-spawner")
        self._closing = threading.Event()
        for slot in self._all:  # warm up before the first job comes
            self._spawner.submit(self._prestart, slot)

    def run(self, tasks: Sequence[Task], emit: Emit, stopped: Callable[[], bool]) -> list[int]:
        """Run `tasks` one after another in a free slot; returns the jobs left over when stopped."""
        slot = self._free.get()
        try:
            for n, task in enumerate(tasks):
                if stopped() or self._closing.is_set():
                    return [left.job for left in tasks[n:]]
                self._run_one(slot, task, emit)
        finally:
            self._free.put(slot)
        return []

    def close(self) -> None:
        """End every slot server."""
        self._closing.set()
        self._spawner.shutdown(cancel_futures=True)  # waits for a server that is just being started
        for slot in self._all:
            if slot.process is not None:
                slot.process.kill()
        self._journal.close()

    def _run_one(self, slot: _Slot, task: Task, emit: Emit) -> None:
        started = self._clock.now_ms()
        self._journal.started(task, started)
        emit({"event": "started", "job": task.job, "attempt": task.attempt, "at_ms": started})
        try:
            self._ensure_ready(slot)
            record = self._supervise(slot, task)
        except _UnreadyError as error:
            record = self._lost(slot, task, started, Outcome.INTERRUPTED, error.failure)
        self._journal.ended(record)
        emit({"event": "ended", "record": record.to_json()})

    def _prestart(self, slot: _Slot) -> None:
        if slot.process is None and not self._closing.is_set():
            slot.process = self._launcher.start(slot.number)

    def _ensure_ready(self, slot: _Slot) -> None:
        """Have a warm slot server in `slot`; _UnreadyError where it can't be had."""
        self._spawner.submit(self._prestart, slot).result()
        process = slot.process
        if slot.version or process is None:
            return
        try:
            message = process.receive(READY_TIMEOUT_S)
        except EOFError:
            failure = _death(process.wait())
            self._discard(slot)
            raise _UnreadyError(replace(failure, phase="warm_up", blames_job=False)) from None
        if message is None or message["event"] != "ready":
            self._discard(slot)
            why = message["failure"]["message"] if message else f"not warm after {READY_TIMEOUT_S:g} s"
            raise _UnreadyError(_unready(f"the generator can't be started in a slot: {why}"))
        slot.version = message["version"]

    def _supervise(self, slot: _Slot, task: Task) -> Record:
        """Let the slot server run `task`, and end it when time or memory run out."""
        process, begun, started = slot.process, self._clock.monotonic_s(), self._clock.now_ms()
        if process is None:
            raise _UnreadyError(_unready("the slot was closed"))
        phase = ""
        try:
            process.send({"op": "run", "task": task_to_json(task)})
            while True:
                message = process.receive(POLL_S)
                if message is not None and message["event"] == "end":
                    return Record.from_json(message["record"])
                if message is not None:
                    phase = message["phase"]
                elif not process.alive():  # a child of its may still hold the channel
                    raise EOFError
                failure = self._overrun(process, task, self._clock.monotonic_s() - begun)
                if failure is not None:
                    self._discard(slot)
                    outcome = Outcome.TIMEOUT if failure.code == Code.TIMED_OUT else Outcome.FAILED
                    return self._lost(slot, task, started, outcome, replace(failure, phase=phase))
        except (EOFError, OSError):
            failure = _death(process.wait())
            self._discard(slot)
            outcome = Outcome.FAILED if failure.blames_job else Outcome.INTERRUPTED
            return self._lost(slot, task, started, outcome, replace(failure, phase=phase))

    def _overrun(self, process: Process, task: Task, elapsed_s: float) -> Failure | None:
        if elapsed_s > task.timeout_s:
            return Failure("TimeoutError", Code.TIMED_OUT, f"still running after its limit of {task.timeout_s:g} s")
        if self._memory_limit is not None and (used := process.memory_bytes()) > self._memory_limit:
            limit = f"{used / 2**20:.0f} MiB in use, the limit is {self._memory_limit / 2**20:.0f} MiB"
            return Failure("MemoryError", Code.MEMORY_EXCEEDED, limit)
        return None

    def _lost(self, slot: _Slot, task: Task, started_ms: int, outcome: Outcome, failure: Failure) -> Record:
        seconds = (self._clock.now_ms() - started_ms) / 1000
        return replace(
            self._blank(task, slot.version, started_ms), outcome=outcome, failure=failure, duration_s=seconds
        )

    def _discard(self, slot: _Slot) -> None:
        if slot.process is not None:
            slot.process.kill()
        slot.process, slot.version = None, ""
        if not self._closing.is_set():
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                self._spawner.submit(self._prestart, slot)


def _unready(why: str) -> Failure:
    """A slot that does not come up is nobody's fault among the jobs."""
    return Failure("SlotUnready", Code.SLOT_UNREADY, why, phase="warm_up", blames_job=False)


def _death(status: int) -> Failure:
    """Who is to blame for a slot server that died under a job: SIGKILL and SIGTERM come from outside, the rest from it."""
    word = _ending(status)
    outside = status in (-signal.SIGKILL, -signal.SIGTERM)
    code = Code.SLOT_KILLED if outside else Code.SLOT_CRASHED
    name = signal.Signals(-status).name if status < 0 else "SystemExit"
    return Failure(name, code, f"the slot process ended with {word}", blames_job=not outside)


def _ending(status: int) -> str:
    return f"signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"exit status {status}"
