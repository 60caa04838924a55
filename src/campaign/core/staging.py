"""When jobs that need the results of others may start: bookkeeping alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from campaign.core.lifecycle import TERMINAL
from campaign.core.model import State

OVER = np.array([int(state) for state in TERMINAL])


@dataclass(frozen=True, slots=True)
class Gate:
    """What one job waits for: every one of `inputs` has ended for good, and so many of them have completed."""

    job: int
    inputs: npt.NDArray[np.int64]
    at_least: int


class Gates:
    """All jobs that wait. `states`, (n,), are those of all jobs when a run begins."""

    def __init__(self, gates: Sequence[Gate], states: npt.NDArray[np.int8]) -> None:
        self._gates = list(gates)
        self._left = np.zeros(len(gates), np.int64)
        self._completed = np.zeros(len(gates), np.int64)
        ended = np.isin(states, OVER)
        opens: dict[int, list[int]] = {}  # input -> numbers of the gates that wait for it
        self._open: list[int] = []
        for number, gate in enumerate(self._gates):
            over = ended[gate.inputs]
            self._left[number] = int((~over).sum())
            self._completed[number] = int((states[gate.inputs] == State.COMPLETED).sum())
            for job in gate.inputs[~over].tolist():
                opens.setdefault(job, []).append(number)
            if not self._left[number]:
                self._pass(number)
        self._opens = opens

    def ended(self, job: int, state: State) -> None:
        """A job has ended for good."""
        for number in self._opens.pop(job, ()):
            self._left[number] -= 1
            self._completed[number] += state is State.COMPLETED
            if not self._left[number]:
                self._pass(number)

    def _pass(self, number: int) -> None:
        if self._completed[number] >= self._gates[number].at_least:
            self._open.append(self._gates[number].job)

    @property
    def waiting(self) -> bool:
        """Whether jobs could start whose results have to be read from disk first."""
        return bool(self._open)

    def take(self) -> list[int]:
        """Jobs that may start now; each is given once."""
        taken, self._open = self._open, []
        return taken
