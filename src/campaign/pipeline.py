"""The jobs of a slot, each in another stage: while one is computed, the next is loaded and the one before is written."""

from __future__ import annotations

import os
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from campaign.attempt import Attempt
from campaign.core.model import Record, Task


class _Entry:
    """A job in the hands of a slot."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt, self.task = attempt, attempt.task
        self.claimed = False  # whether somebody loads it
        self.loaded = threading.Event()

    @property
    def alone(self) -> bool:
        """Whether no other job may be at work beside it: its first attempt failed, maybe under the others."""
        return self.task.attempt > 1


class Pipeline:
    """Works off jobs in their order. Holds at most one job that is loaded, one that is computed, one that is written.

    A generator without stages has its jobs one after another. `ended` is told each record, in the order of the jobs.
    """

    def __init__(
        self,
        make: Callable[[Task], Attempt],
        tell: Callable[[Mapping[str, Any]], None],
        ended: Callable[[Record], None],
        *,
        staged: bool,
    ) -> None:
        self._make, self._tell, self._ended, self._staged = make, tell, ended, staged
        self._changed = threading.Condition()
        self._loading = threading.Lock()
        self._waiting: deque[_Entry] = deque()
        self._computed: _Entry | None = None  # the job that is computed
        self._written: _Entry | None = None  # the job that is written
        self._closed = False

    def put(self, tasks: Iterable[Task]) -> None:
        """Take jobs on, behind the others."""
        with self._changed:
            self._waiting.extend(_Entry(self._make(task)) for task in tasks)
            self._changed.notify_all()

    def take_back(self) -> list[int]:
        """Give up the jobs that are not begun; one that was loaded ahead is among them. Returns when nobody is at work at them."""
        with self._changed:
            entries = list(self._waiting)
            self._waiting.clear()
        for entry in entries:
            if entry.claimed:
                entry.loaded.wait()
        return [entry.task.job for entry in entries]

    def close(self) -> None:
        """Begin no job any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def work(self) -> None:
        """Compute, in this thread, until closed."""
        if not self._staged:
            while (entry := self._next()) is not None:
                self._compute(entry)
                self._ended(entry.attempt.finish())
            return
        for act, name in ((self._load_ahead, "load-ahead"), (self._write_behind, "write-behind")):
            threading.Thread(target=_or_die, args=(act,), daemon=True, name=name).start()
        while (entry := self._next()) is not None:
            self._compute(entry)
            with self._changed:
                self._changed.wait_for(lambda: self._written is None)
                self._written, self._computed = entry, None
                self._changed.notify_all()
        with self._changed:
            self._changed.wait_for(lambda: self._written is None)

    def _next(self) -> _Entry | None:
        """The job that begins now; None where none does any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._may_begin())
            if self._closed:
                return None
            self._computed = entry = self._waiting.popleft()
            self._changed.notify_all()
            return entry

    def _may_begin(self) -> bool:
        if not self._waiting:
            return False
        return self._written is None or not (self._written.alone or self._waiting[0].alone)

    def _compute(self, entry: _Entry) -> None:
        self._tell({"event": "begun", "job": entry.task.job})
        if self._claim(entry):
            self._load(entry)
        else:
            entry.loaded.wait()
        entry.attempt.compute()

    def _load(self, entry: _Entry) -> None:
        with self._loading:
            entry.attempt.load()
        entry.loaded.set()

    def _claim(self, entry: _Entry) -> bool:
        with self._changed:
            free, entry.claimed = not entry.claimed, True
            return free

    def _load_ahead(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._may_load_ahead)
                entry = self._waiting[0]
                entry.claimed = True
            self._load(entry)

    def _may_load_ahead(self) -> bool:
        """Whether the next job may be loaded while others are at work: not where one of them is to be alone."""
        if not self._waiting or self._waiting[0].claimed or self._waiting[0].alone:
            return False
        return not any(entry is not None and entry.alone for entry in (self._computed, self._written))

    def _write_behind(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._written is not None)
                entry = self._written
            assert entry is not None
            self._ended(entry.attempt.finish())
            with self._changed:
                self._written = None
                self._changed.notify_all()


def _or_die(act: Callable[[], None]) -> None:
    """A stage that ends by other than an Exception takes the process along: whoever waits for it would wait for ever."""
    try:
        act()
    except BaseException:  # noqa: BLE001 - SystemExit of a generator among them
        traceback.print_exc()
        os._exit(1)
