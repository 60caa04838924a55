"""Supervises the slot servers that one node launches: hands them jobs, ends them when they overrun, starts them again."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from campaign.core.model import Failure, Outcome, Record, Slot, Task, task_to_json
from campaign.errors import CampaignError, Code
from campaign.ports import Clock, Journal, Launcher, Process

POLL_S = 0.25
"""How often a running job's time and memory are looked at."""

LAST_WORDS_S = 5.0
"""How long the end of a job that ran may take to reach the journal of a worker that is ended."""

READY_TIMEOUT_S = 600.0
"""How long a slot server may import and warm up."""

Emit = Callable[[Mapping[str, Any]], None]
BlankRecord = Callable[[Task, str, int], Record]


@dataclass(slots=True)
class _Server:
    """What serves one slot."""

    slot: Slot
    turn: threading.Lock = field(default_factory=threading.Lock)
    process: Process | None = None
    version: str = ""
    abandoned: str = ""  # why the coordinator wants it gone


class _UnreadyError(Exception):
    """A slot server could not be warmed up; carries the failure that the attempt reports."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class SlotPool:
    """The slots that one node launches. A crash, a hang or a leak in user code takes one slot server and nothing else."""

    def __init__(self, launcher: Launcher, journal: Journal, clock: Clock, blank_record: BlankRecord) -> None:
        self._launcher, self._journal, self._clock = launcher, journal, clock
        self._blank = blank_record
        self._servers: dict[int, _Server] = {}
        self._lock = threading.Lock()
        # The kernel ends a child with the thread that started it, so one thread that lives as long as we do starts all.
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="slot-spawner")
        self._closing = threading.Event()
        self._gone: set[int] = set()  # slots that the coordinator gave to others

    def run(self, slot: Slot, tasks: Sequence[Task], emit: Emit, stopped: Callable[[], bool]) -> list[int]:
        """Run `tasks` one after another in a slot; returns the jobs left over when stopped."""
        server = self._server(slot)
        if server is None:
            return [task.job for task in tasks]
        with server.turn:
            for n, task in enumerate(tasks):
                if stopped() or self._closing.is_set() or server.abandoned:
                    return [left.job for left in tasks[n:]]
                self._run_one(server, task, emit)
                if not slot.shape.warm:
                    self._discard(server, again=False)
        if not slot.shape.warm:
            self._forget([slot.number])
        return []

    def abandon(self, numbers: Sequence[int], why: str) -> None:
        """End the servers of these slots; a job that runs in one is interrupted, unblamed. Returns when they are gone."""
        self._gone.update(numbers)
        for server in self._forget(numbers):
            server.abandoned = why
            if (process := server.process) is not None:
                process.kill()

    def close(self) -> None:
        """End every slot server."""
        self._closing.set()
        self._spawner.shutdown(cancel_futures=True)  # waits for a server that is just being started
        with self._lock:
            servers = list(self._servers.values())
        processes = [process for server in servers if (process := server.process) is not None]
        with ThreadPoolExecutor(max(len(processes), 1)) as together:
            list(together.map(lambda process: process.kill(), processes))
        for server in servers:  # what ran has its end in the journal before that is closed
            server.turn.acquire(timeout=LAST_WORDS_S)
        self._launcher.close()
        self._journal.close()

    def _server(self, slot: Slot) -> _Server | None:
        """What serves a slot; None where the coordinator has given its place to others."""
        with self._lock:
            return None if slot.number in self._gone else self._servers.setdefault(slot.number, _Server(slot))

    def _forget(self, numbers: Sequence[int]) -> list[_Server]:
        with self._lock:
            return [self._servers.pop(number) for number in numbers if number in self._servers]

    def _run_one(self, server: _Server, task: Task, emit: Emit) -> None:
        started = self._clock.now_ms()
        self._journal.started(task, started)
        emit({"event": "started", "job": task.job, "attempt": task.attempt, "at_ms": started})
        try:
            self._ensure_ready(server)
            record = self._supervise(server, task)
        except _UnreadyError as error:
            record = self._lost(server, task, started, Outcome.INTERRUPTED, error.failure)
        self._journal.ended(record)
        emit({"event": "ended", "record": record.to_json()})

    def _prestart(self, server: _Server) -> None:
        if server.process is None and self._wanted(server):
            server.process = process = self._launcher.start(server.slot)
            if not self._wanted(server):  # any more
                process.kill()

    def _wanted(self, server: _Server) -> bool:
        return not self._closing.is_set() and not server.abandoned

    def _ensure_ready(self, server: _Server) -> None:
        """Have a warm slot server; _UnreadyError where it can't be had."""
        try:
            self._spawner.submit(self._prestart, server).result()
        except (CampaignError, OSError) as error:
            raise _UnreadyError(_unready(f"a slot can't be started: {error}")) from error
        except (RuntimeError, CancelledError) as error:  # the spawner was shut down
            raise _UnreadyError(self._taken_away(server)) from error
        process = server.process
        if server.version or process is None:
            return
        try:
            message = process.receive(READY_TIMEOUT_S)
        except EOFError:
            failure = self._ending(server, process)
            said = process.said()
            self._discard(server)
            if server.abandoned or self._closing.is_set():
                raise _UnreadyError(failure) from None
            words = f"{failure.message}; it said:\n{said}" if said else failure.message
            raise _UnreadyError(replace(failure, message=words, phase="warm_up", blames_job=False)) from None
        if message is None or message["event"] != "ready":
            self._discard(server)
            why = message["failure"]["message"] if message else f"not warm after {READY_TIMEOUT_S:g} s"
            raise _UnreadyError(_unready(f"the generator can't be started in a slot: {why}"))
        server.version = message["version"]

    def _supervise(self, server: _Server, task: Task) -> Record:
        """Let the slot server run `task`, and end it when time or memory run out."""
        process, begun, started = server.process, self._clock.monotonic_s(), self._clock.now_ms()
        if process is None:
            raise _UnreadyError(self._taken_away(server))
        phase = ""
        try:
            process.send({"op": "run", "task": task_to_json(task)})
            while True:
                message = process.receive(POLL_S)
                if message is not None and message["event"] == "end":
                    if message.get("last"):  # its ranks may be out of step now
                        self._discard(server)
                    return Record.from_json(message["record"])
                if message is not None:
                    phase = message["phase"]
                elif not process.alive():  # a child of its may still hold the channel
                    raise EOFError
                failure = self._overrun(process, server.slot, task, self._clock.monotonic_s() - begun)
                if failure is not None:
                    self._discard(server)
                    outcome = Outcome.TIMEOUT if failure.code == Code.TIMED_OUT else Outcome.FAILED
                    return self._lost(server, task, started, outcome, replace(failure, phase=phase))
        except (EOFError, OSError):
            failure = self._ending(server, process)
            self._discard(server)
            outcome = Outcome.FAILED if failure.blames_job else Outcome.INTERRUPTED
            return self._lost(server, task, started, outcome, replace(failure, phase=failure.phase or phase))

    def _overrun(self, process: Process, slot: Slot, task: Task, elapsed_s: float) -> Failure | None:
        if elapsed_s > task.timeout_s:
            return Failure("TimeoutError", Code.TIMED_OUT, f"still running after its limit of {task.timeout_s:g} s")
        limit = slot.shape.memory_bytes
        if limit is not None and (used := process.memory_bytes()) > limit:
            words = f"{used / 2**20:.0f} MiB in use, the limit is {limit / 2**20:.0f} MiB"
            return Failure("MemoryError", Code.MEMORY_EXCEEDED, words)
        return None

    def _ending(self, server: _Server, process: Process) -> Failure:
        """Why a slot server is gone, and who is to blame."""
        status = process.wait()
        if server.abandoned or self._closing.is_set():
            return self._taken_away(server)
        return process.last_words() or _death(status, ranks=server.slot.shape.ranks, said=process.said())

    def _taken_away(self, server: _Server) -> Failure:
        """The coordinator, or whoever ends this worker, wants the slot."""
        return Failure("SlotAbandoned", Code.INTERRUPTED, server.abandoned or "the worker was ended", blames_job=False)

    def _lost(self, server: _Server, task: Task, started_ms: int, outcome: Outcome, failure: Failure) -> Record:
        seconds = (self._clock.now_ms() - started_ms) / 1000
        return replace(
            self._blank(task, server.version, started_ms), outcome=outcome, failure=failure, duration_s=seconds
        )

    def _discard(self, server: _Server, *, again: bool = True) -> None:
        process, server.process, server.version = server.process, None, ""
        if process is not None:
            process.kill()
        if again and self._wanted(server) and server.slot.shape.warm:
            with contextlib.suppress(RuntimeError):  # closed meanwhile
                self._spawner.submit(self._prestart, server)


def _unready(why: str) -> Failure:
    """A slot that does not come up is nobody's fault among the jobs."""
    return Failure("SlotUnready", Code.SLOT_UNREADY, why, phase="warm_up", blames_job=False)


_RANK_ENDED = re.compile(r"tasks? [\d,-]+: (.+)|EXIT STRING: (.+)|EXIT CODE: (\d+)")
"""How `srun` and MPICH's `mpiexec` say how a rank ended."""

_FROM_OUTSIDE = ("Killed", "Terminated", "Out Of Memory", "EXIT CODE: 9", "EXIT CODE: 15", "EXIT CODE: 0")


def _death(status: int, *, ranks: int = 1, said: str = "") -> Failure:
    """Who is to blame for a slot server that died under a job: SIGKILL and SIGTERM come from outside, the rest from it."""
    if ranks > 1:
        return _death_of_ranks(status, said)
    outside = status in (-signal.SIGKILL, -signal.SIGTERM)
    code = Code.SLOT_KILLED if outside else Code.SLOT_CRASHED
    name = signal.Signals(-status).name if status < 0 else "SystemExit"
    return Failure(name, code, f"the slot process ended with {_ending(status)}", blames_job=not outside)


def _death_of_ranks(status: int, said: str) -> Failure:
    """A rank that dies takes the others along, by SIGKILL or SIGTERM: only what the launcher says tells which was first.

    Where every rank was killed or terminated the batch system did it, or a person.
    """
    ends = [match.group().strip() for line in said.splitlines() if (match := _RANK_ENDED.search(line))]
    own = [end for end in ends if not any(word in end for word in _FROM_OUTSIDE)]
    if own:
        return Failure("RankDied", Code.SLOT_CRASHED, f"a rank ended: {own[0]}", blames_job=True)
    if not ends and 0 < status < 128 and status not in (signal.SIGKILL, signal.SIGTERM):
        return Failure("RankDied", Code.SLOT_CRASHED, f"a rank ended: exit status {status}", blames_job=True)
    last = said.splitlines()[-1] if said else f"exit status {status}"
    return Failure("RanksKilled", Code.SLOT_KILLED, f"the ranks were ended from outside: {last}", blames_job=False)


def _ending(status: int) -> str:
    return f"signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"exit status {status}"
