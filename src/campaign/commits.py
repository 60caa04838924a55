"""Finished batches on their way to the committer, beside the coordinator's loop: at once, and to the dataset now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from campaign.core.model import Record
from campaign.errors import CampaignError, Code, StorageError
from campaign.ports import Clock, Committer

FLUSH_SHARE = 20
"""Flushes take at most one part in so many of the time."""


class Commits:
    """A queue that a task empties; `flush_interval_s` is the shortest time between two updates of the dataset."""

    def __init__(self, committer: Committer, clock: Clock, flush_interval_s: float) -> None:
        self._committer, self._clock, self._interval = committer, clock, flush_interval_s
        self._queue: asyncio.Queue[tuple[int, Sequence[Record]]] = asyncio.Queue()
        self._asked: list[asyncio.Future[None]] = []  # who waits for the dataset
        self.slowest_flush_s = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to empty the queue."""
        self._task = asyncio.create_task(self._loop())

    @property
    def failed(self) -> bool:
        """Whether nothing can be committed any more."""
        return self._task is not None and self._task.done()

    def put(self, number: int, records: Sequence[Record]) -> None:
        """A batch is complete."""
        self._queue.put_nowait((number, records))

    async def in_the_dataset(self) -> None:
        """Wait until what was put so far is in the dataset as well."""
        told = asyncio.get_running_loop().create_future()
        self._asked.append(told)
        self.put(-1, ())
        await told

    async def _loop(self) -> None:
        flushed, cost = self._clock.monotonic_s(), 0.0
        while True:
            batches = [await self._queue.get()]
            while not self._queue.empty():
                batches.append(self._queue.get_nowait())
            asked, self._asked = self._asked, []
            await asyncio.to_thread(self._committer.commit, [batch for batch in batches if batch[1]])
            now = self._clock.monotonic_s()
            if asked or now - flushed > max(self._interval, FLUSH_SHARE * cost):
                await asyncio.to_thread(self._committer.flush)
                flushed = self._clock.monotonic_s()
                cost = flushed - now
                self.slowest_flush_s = max(self.slowest_flush_s, cost)
            for told in asked:
                if not told.done():  # or nobody waits any more
                    told.set_result(None)
            for _ in batches:  # not when committing failed: then the queue never counts as emptied
                self._queue.task_done()

    async def finish(self) -> None:
        """Wait until everything that was put is committed; StorageError where it can't be."""
        assert self._task is not None
        joined = asyncio.create_task(self._queue.join())
        await asyncio.wait({joined, self._task}, return_when=asyncio.FIRST_COMPLETED)
        joined.cancel()
        if not self._task.done():
            self._task.cancel()
            return
        error = self._task.exception()
        if isinstance(error, (OSError, CampaignError)):
            raise StorageError(
                Code.STORAGE_FULL,
                f"what was computed can't be committed: {error}",
                action="make room or permission, then start again: the finished jobs are kept in staging/journal/",
            ) from error
        if error is not None:
            raise error
