"""What serves one slot: a process that is started when there is work, watched while it works, and started again when it dies.

A thread of its own hands jobs over, hears what becomes of them, and ends the process where a job overruns.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from campaign.adapters.deaths import death, unready
from campaign.adapters.handed import BlankRecord, Emit, Given, HandedLease
from campaign.core.lifecycle import STAGES
from campaign.core.model import Failure, Outcome, Record, Slot, Task
from campaign.core.pace import Pace
from campaign.errors import CampaignError, Code
from campaign.ports import Clock, Journal, Process
from campaign.wire import convert

POLL_S = 0.25
"""How often a running job's time and memory are looked at."""

READY_TIMEOUT_S = 600.0
"""How long a slot server may import and warm up."""


class _UnreadyError(Exception):
    """The process could not be warmed up; carries the failure that the attempt reports."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class SlotServer:
    """Works off the leases of one slot, in their order. `start` gives a process whose first message says that it is ready."""

    def __init__(
        self,
        slot: Slot,
        start: Callable[[SlotServer], Process | None],
        journal: Journal,
        clock: Clock,
        blank: BlankRecord,
    ) -> None:
        self.slot, self._start, self._journal, self._clock, self._blank = slot, start, journal, clock, blank
        self._changed = threading.Condition()
        self._leases: deque[HandedLease] = deque()
        self._given: dict[int, Given] = {}  # job -> in the order in which they were handed over
        self._thread: threading.Thread | None = None
        self.process: Process | None = None
        self.version = ""  # of the generator, once the process is ready
        self.unwanted = ""  # why it is to end
        self._staged = False
        self._pace = Pace()
        self._ends: list[tuple[HandedLease, Record]] = []  # that nobody has heard of

    def run(self, tasks: Sequence[Task], emit: Emit, stopped: Callable[[], bool]) -> list[int]:
        """Work off `tasks`; returns the jobs that were not begun when stopped. OSError where the journal can't be written."""
        lease = HandedLease(deque(tasks), emit, stopped)
        with self._changed:
            if self.unwanted:
                return [task.job for task in tasks]
            self._leases.append(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name=f"slot-{self.slot.number}")
                self._thread.start()
            self._changed.notify_all()
        lease.over.wait()
        if lease.error is not None:
            raise lease.error
        return lease.left

    def retire(self) -> bool:
        """Take no lease any more, if there is none; whether that is so."""
        with self._changed:
            if self._leases:
                return False
            self.unwanted = self.unwanted or "its job has ended"
            self._changed.notify_all()
            return True

    def dismiss(self, why: str) -> None:
        """End the process; a job that is at work is interrupted, unblamed, and nothing is begun any more."""
        with self._changed:
            self.unwanted = self.unwanted or why
            self._changed.notify_all()
        if (process := self.process) is not None:
            process.kill()

    def join(self, timeout_s: float) -> None:
        """Wait until what was at work has its end in the journal."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._leases or self.unwanted)
                if not self._leases:
                    return
            try:
                self._step()
            except Exception as error:  # noqa: BLE001 - a journal that can't be written, or a defect of ours
                self._break(error)

    def _break(self, error: Exception) -> None:
        """Let every lease know that it can't go on."""
        try:
            for given in self._given.values():
                if not given.touched:
                    with suppress(OSError):
                        self._journal.returned([given.task])
            self._given.clear()
            with suppress(OSError):
                self._journal.ended([record for _, record in self._ends])
            self._ends.clear()
            self._discard(again=False)
        finally:
            with self._changed:
                for lease in self._leases:
                    lease.error = error
                    lease.over.set()
                self._leases.clear()

    def _step(self) -> None:
        try:
            self._stop_leases()
            if self._hand_over():
                self._listen()
        except _UnreadyError as error:
            self._end_head(error.failure)
        except EOFError:
            self._settle_death()
        self._tell_ends()
        self._close_leases()

    # Out: jobs to the process.

    def _stop_leases(self) -> None:
        """What is not begun of a stopped lease is left; what the process holds of it is asked back."""
        for lease in list(self._leases):
            if not (lease.waiting or lease.given) or not (self.unwanted or lease.stopped()):
                continue
            lease.left += [task.job for task in lease.waiting]
            lease.waiting.clear()
            unbegun = any(given.lease is lease and not given.begun for given in self._given.values())
            if unbegun and self.version and not (lease.asked_back or self.unwanted):
                lease.asked_back = True
                self._send({"op": "hold"})

    def _hand_over(self) -> bool:
        """Fill the hands of the process; False where there is nothing in them."""
        with self._changed:
            leases = [lease for lease in self._leases if lease.waiting]
        room = self._window() - len(self._given)
        now_ms = self._clock.now_ms()
        fresh: list[Given] = []
        for lease in leases:
            while lease.waiting and len(fresh) < room:
                fresh.append(Given(lease.waiting.popleft(), lease, now_ms))
        if fresh:
            self._journal.started([given.task for given in fresh], now_ms)
            for given in fresh:
                self._given[given.task.job] = given
                given.lease.given += 1
            if len(self._given) == len(fresh):
                self._tell_start(fresh[0])
            self._ensure_ready()
            if any(given.lease.stopped() for given in fresh):  # it may have taken long
                self._take_back(fresh)
                return bool(self._given)
            self._send({"op": "run", "tasks": [given.task for given in fresh]})
        return bool(self._given)

    def _window(self) -> int:
        """How many jobs the process may have in its hands."""
        if not self.version or not self.slot.shape.warm:
            return 1
        return self._pace.ahead(STAGES if self._staged else 1)

    def _tell_start(self, given: Given) -> None:
        if not given.told:
            given.told = True
            task = given.task
            given.lease.emit({"event": "started", "job": task.job, "attempt": task.attempt, "at_ms": given.started_ms})

    def _ensure_ready(self) -> None:
        """Have a warm process; _UnreadyError where it can't be had."""
        if self.process is None:
            try:
                self.process = self._start(self)
            except (CampaignError, OSError) as error:
                raise _UnreadyError(unready(f"a slot can't be started: {error}")) from error
        self._kill_if_unwanted()
        process = self.process
        if self.version:
            if self.unwanted:  # jobs are at work in it
                raise EOFError
            return
        if process is None or self.unwanted:
            raise _UnreadyError(self._taken_away())
        try:
            message = process.receive(READY_TIMEOUT_S)
        except EOFError:
            failure, said = self._ending(process), process.said()
            self._discard()
            if self.unwanted:
                raise _UnreadyError(failure) from None
            words = f"{failure.message}; it said:\n{said}" if said else failure.message
            raise _UnreadyError(replace(failure, message=words, phase="warm_up", blames_job=False)) from None
        if message is None or message["event"] != "ready":
            self._discard()
            why = message["failure"]["message"] if message else f"not warm after {READY_TIMEOUT_S:g} s"
            raise _UnreadyError(unready(f"the generator can't be started in a slot: {why}"))
        self.version, self._staged = message["version"], bool(message.get("staged"))

    def _send(self, message: Mapping[str, Any]) -> None:
        """EOFError where the process is gone."""
        assert self.process is not None
        try:
            self.process.send(message)
        except OSError as error:
            raise EOFError from error

    # In: what becomes of them.

    def _listen(self) -> None:
        process = self.process
        assert process is not None
        if rest_s := self._pace.rest_s(len(self._given)):
            time.sleep(rest_s)
        message = process.receive(POLL_S)
        if message is None and not process.alive():  # a child of its may still hold the channel
            raise EOFError
        while message is not None:
            self._take(message)
            message = process.receive(0) if self.process is process else None
        heard_s = self._clock.monotonic_s()  # what ends while the journal is written is in time
        self._tell_ends()
        for given in self._given.values():
            if given.begun:
                self._tell_start(given)
        if self.process is process:
            self._end_overruns(process, heard_s)

    def _take(self, message: Mapping[str, Any]) -> None:
        now = self._clock.monotonic_s()
        match message["event"]:
            case "begun":
                given = self._given[message["job"]]
                given.begun = given.touched = True
                if not given.phase:
                    given.since_s, given.phase = now, "prepare"
                if not given.told:
                    given.started_ms = self._clock.now_ms()
            case "phase":
                given = self._given[message["job"]]
                given.touched = True
                given.spent_s, given.since_s, given.phase = given.elapsed_s(now), now, message["phase"]
            case "end":
                record = convert(message["record"], Record)
                self._pace.note(now, record.duration_s, busy=len(self._given) > 1)
                self._end(self._given[record.job], record)
                if message.get("last"):  # its ranks may be out of step now
                    self._end_after_last()
                elif not self.slot.shape.warm:
                    self._discard(again=False)
            case "returned":
                self._take_back([self._given[job] for job in message["jobs"] if job in self._given])

    def _take_back(self, unbegun: Sequence[Given]) -> None:
        """Jobs that the process did not begin wait again, or are left where their lease was stopped."""
        if unbegun:
            self._journal.returned([given.task for given in unbegun])
        for given in reversed(unbegun):
            del self._given[given.task.job]
            given.lease.given -= 1
            if self.unwanted or given.lease.stopped():
                given.lease.left.append(given.task.job)
            else:
                given.lease.waiting.appendleft(given.task)

    def _end(self, given: Given, record: Record) -> None:
        del self._given[given.task.job]
        self._ends.append((given.lease, record))

    def _tell_ends(self) -> None:
        """Write down how attempts ended, then tell."""
        if self._ends:
            self._journal.ended([record for _, record in self._ends])
        for lease, record in self._ends:
            lease.given -= 1
            lease.emit({"event": "ended", "record": record})
        self._ends.clear()

    def _close_leases(self) -> None:
        with self._changed:
            for lease in [lease for lease in self._leases if not (lease.waiting or lease.given)]:
                self._leases.remove(lease)
                lease.over.set()

    # Whatever goes wrong.

    def _end_overruns(self, process: Process, now_s: float) -> None:
        for given in list(self._given.values()):
            if given.elapsed_s(now_s) > given.task.timeout_s:
                words = f"still running after its limit of {given.task.timeout_s:g} s"
                self._settle([given], Failure("TimeoutError", Code.TIMED_OUT, words), Outcome.TIMEOUT)
                return
        limit = self.slot.shape.memory_bytes
        if limit is not None and (used := process.memory_bytes()) > limit:
            words = f"{used / 2**20:.0f} MiB in use, the limit is {limit / 2**20:.0f} MiB"
            holders = [given for given in self._given.values() if given.touched]
            self._settle(holders, Failure("MemoryError", Code.MEMORY_EXCEEDED, words), Outcome.FAILED)

    def _settle_death(self) -> None:
        process = self.process
        assert process is not None
        with suppress(EOFError):  # what it said before it was gone counts
            while self.process is process and (message := process.receive(0)) is not None:
                self._take(message)
        self._tell_ends()
        if self.process is not process:
            return
        failure = self._ending(process)
        suspects = [given for given in self._given.values() if given.phase]
        if not suspects and self._given and not self.unwanted:
            suspects, failure = [next(iter(self._given.values()))], replace(failure, blames_job=False)
        self._settle(suspects, failure, Outcome.FAILED if failure.blames_job else Outcome.INTERRUPTED)

    def _settle(self, suspects: Sequence[Given], failure: Failure, outcome: Outcome) -> None:
        """End the process, and the attempts that may be why; jobs that were begun beside them are interrupted, unblamed.

        Where one of several may be to blame none is: each is tried again alone, and then it shows.
        """
        self._discard()
        if len(suspects) > 1 and failure.blames_job:
            words = f"{failure.message}, with {len(suspects)} jobs in its hands; each is tried again alone"
            failure, outcome = Failure("SlotShared", Code.INTERRUPTED, words, blames_job=False), Outcome.INTERRUPTED
        beside = Failure(
            "SlotShared", Code.INTERRUPTED, f"another job of the slot ended it: {failure.message}", blames_job=False
        )
        for given in list(self._given.values()):
            if (given.begun or given.phase) and given not in suspects:
                self._end(given, self._lost(given, Outcome.INTERRUPTED, beside))
        for given in suspects:
            self._end(given, self._lost(given, outcome, failure))
        self._take_back(list(self._given.values()))

    def _end_after_last(self) -> None:
        """The process ends after its last job; whatever else it holds is not begun."""
        self._discard()
        self._take_back(list(self._given.values()))

    def _end_head(self, failure: Failure) -> None:
        """No process could be had for the first job; where nobody wants one any more that is no attempt."""
        if self.unwanted:
            self._take_back(list(self._given.values()))
            return
        given = next(iter(self._given.values()))
        self._end(given, self._lost(given, Outcome.INTERRUPTED, failure))

    def _lost(self, given: Given, outcome: Outcome, failure: Failure) -> Record:
        blank = self._blank(given.task, self.version, given.started_ms)
        seconds = (self._clock.now_ms() - given.started_ms) / 1000
        failure = replace(failure, phase=failure.phase or given.phase)
        return replace(blank, outcome=outcome, failure=failure, duration_s=seconds)

    def _ending(self, process: Process) -> Failure:
        """Why the process is gone, and who is to blame."""
        status = process.wait()
        if self.unwanted:
            return self._taken_away()
        return process.last_words() or death(status, ranks=self.slot.shape.ranks, said=process.said())

    def _taken_away(self) -> Failure:
        """The coordinator, or whoever ends this worker, wants the slot."""
        return Failure("SlotAbandoned", Code.INTERRUPTED, self.unwanted or "the worker was ended", blames_job=False)

    def _discard(self, *, again: bool = True) -> None:
        """End the process, once what it said is told; one that will be needed is started at once."""
        self._tell_ends()
        process, self.process, self.version = self.process, None, ""
        if process is not None:
            process.kill()
        if again and self.slot.shape.warm and not self.unwanted:
            with suppress(CampaignError, OSError):
                self.process = self._start(self)
            self._kill_if_unwanted()

    def _kill_if_unwanted(self) -> None:
        """Whoever dismissed us while the process was started could not end it."""
        if self.process is not None and self.unwanted:
            self.process.kill()
