"""When jobs that need the results of others may start: bookkeeping alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from campaign.core.lifecycle import TERMINAL
from campaign.core.model import State

Indices = npt.NDArray[np.int64]

ENDED = np.array([int(state) for state in TERMINAL])
ROUNDING = 1e-9
"""Of a product of a share and a number of members, which may be a little above a whole number."""


def members_needed(share: float, members: int) -> int:
    """How many of so many members a share of them is, at least."""
    return math.ceil(share * members - ROUNDING)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Jobs that wait alike: each for all of its inputs to have ended for good, and for so many of them to have completed."""

    jobs: Indices  # (n,)
    inputs: Indices  # (n, k)
    at_least: int


class Gates:
    """All jobs that wait. `states` are those of every job when a run begins."""

    def __init__(self, waiting: Sequence[Waiting], states: npt.NDArray[np.int8]) -> None:
        waiting = [one for one in waiting if len(one.jobs)]
        self._jobs = np.concatenate([np.zeros(0, np.int64), *(one.jobs for one in waiting)])
        ended, completed = np.isin(states, ENDED), states == State.COMPLETED
        none = np.zeros(0, np.int64)
        self._left = np.concatenate([none, *((~ended[one.inputs]).sum(axis=1) for one in waiting)])
        self._lacking = np.concatenate([none, *(one.at_least - completed[one.inputs].sum(axis=1) for one in waiting)])
        flat = np.concatenate([none, *(one.inputs.reshape(-1) for one in waiting)])
        widths = np.concatenate([none, *(np.full(len(one.jobs), one.inputs.shape[1]) for one in waiting)])
        order = np.argsort(flat, kind="stable")
        self._waits_for = np.repeat(np.arange(len(self._jobs)), widths)[order]  # numbers of the gates, by input
        self._first = np.searchsorted(flat[order], np.arange(len(states) + 1))
        self._open: list[int] = self._jobs[(self._left == 0) & (self._lacking <= 0)].tolist()
        self.closed = int(((self._left > 0) & (self._lacking <= self._left)).sum())
        """Jobs that may still be let through."""

    def ended(self, job: int, state: State) -> None:
        """A job has ended for good."""
        for number in self._waits_for[self._first[job] : self._first[job + 1]].tolist():
            before = self._lacking[number] <= self._left[number]
            self._left[number] -= 1
            self._lacking[number] -= state is State.COMPLETED
            passes = not self._left[number] and self._lacking[number] <= 0
            if passes:
                self._open.append(int(self._jobs[number]))
            self.closed -= bool(before and (passes or self._lacking[number] > self._left[number]))

    @property
    def waiting(self) -> bool:
        """Whether jobs could start whose inputs have to be brought into the dataset first."""
        return bool(self._open)

    def take(self) -> list[int]:
        """Jobs that may start now; each is given once."""
        taken, self._open = self._open, []
        return taken
