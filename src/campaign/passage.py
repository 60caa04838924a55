"""Lets jobs that need the results of others start, as soon as those can be read from the dataset."""

from __future__ import annotations

import asyncio

from campaign.commits import FLUSH_SHARE, Commits
from campaign.core.lifecycle import JobTable
from campaign.core.model import State
from campaign.core.staging import Gates
from campaign.dispatch import Dispatcher
from campaign.ports import Clock

APART_S = 5.0
"""Time between two looks at which jobs may start, while others run."""


class Passage:
    """Between the gates and the dispatcher."""

    def __init__(self, gates: Gates, table: JobTable, dispatcher: Dispatcher, commits: Commits, clock: Clock) -> None:
        self.gates = gates
        self._table, self._dispatcher, self._commits, self._clock = table, dispatcher, commits, clock
        self._written: asyncio.Task[list[int]] | None = None  # while results are written that jobs wait for
        self._next_s = 0.0

    @property
    def busy(self) -> bool:
        """Whether jobs are about to start."""
        return self.gates.waiting or self._written is not None

    def step(self, *, idle: bool) -> bool:
        """Admit what can be read by now; whether there was something. Where nothing runs there is nothing to wait for."""
        admitted = False
        if self._written is not None and self._written.done():
            jobs, self._written = self._written.result(), None
            self._table.state[jobs] = State.PENDING
            self._dispatcher.admit(jobs)
            admitted = True
        now = self._clock.monotonic_s()
        if self._written is None and self.gates.waiting and (idle or now >= self._next_s):
            self._next_s = now + max(APART_S, FLUSH_SHARE * self._commits.slowest_flush_s)
            for number, records in self._dispatcher.hand_over():
                self._commits.put(number, records)
            self._written = asyncio.create_task(self._write(self.gates.take()))
        return admitted

    async def _write(self, jobs: list[int]) -> list[int]:
        await self._commits.in_the_dataset()
        return jobs

    def close(self) -> None:
        """Nobody is admitted any more."""
        if self._written is not None:
            self._written.cancel()
