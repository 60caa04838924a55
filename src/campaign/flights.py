"""Leases in flight: which jobs have left and not come back, and which of them run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from campaign.core.model import Lease, Slot, State, Task


@dataclass(slots=True)
class Flight:
    """A lease in flight."""

    slot: Slot
    tasks: dict[int, Task]  # jobs that have not ended
    nodes: float  # nodes' worth of CPUs
    running: dict[int, int] = field(default_factory=dict)  # job -> when its attempt began, ms


class Flights:
    """All leases in flight."""

    def __init__(self) -> None:
        self._by_number: dict[int, Flight] = {}
        self._number_of: dict[int, int] = {}  # job -> lease

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._by_number.values())

    def get(self, number: int) -> Flight | None:
        """A lease by its number, while it is in flight."""
        return self._by_number.get(number)

    def of(self, job: int) -> Flight | None:
        """The lease that holds a job which has not ended."""
        return self._by_number.get(self._number_of.get(job, -1))

    def take_off(self, lease: Lease, nodes: float) -> None:
        """A lease has left."""
        tasks = {call.task.job: call.task for call in lease.calls}
        self._by_number[lease.number] = Flight(lease.slot, tasks, nodes)
        self._number_of |= dict.fromkeys(tasks, lease.number)

    def end(self, job: int) -> int | None:
        """A job in flight has ended; when its attempt began, ms, where that was heard of."""
        flight = self._by_number[self._number_of.pop(job)]
        del flight.tasks[job]
        return flight.running.pop(job, None)

    def land(self, number: int) -> Flight | None:
        """A lease is over; what it held, or None where it was not in flight."""
        flight = self._by_number.pop(number, None)
        for job in flight.tasks if flight is not None else ():
            self._number_of.pop(job, None)
        return flight

    @property
    def jobs(self) -> int:
        """Jobs that have not ended."""
        return sum(len(flight.tasks) for flight in self)

    @property
    def running(self) -> int:
        """Those of which it was heard that they began."""
        return sum(len(flight.running) for flight in self)

    def shown_in(self, states: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """States of all jobs, (n,), with those in flight as queued or running."""
        seen = states.copy()
        for flight in self:
            seen[list(flight.tasks)] = State.QUEUED
            seen[list(flight.running)] = State.RUNNING
        return seen
