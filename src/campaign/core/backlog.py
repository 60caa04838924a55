"""Jobs that wait in the order of a plan, taken one after another or by kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Ready:
    """A job that may start."""

    place: int  # in the order in which jobs became ready
    batch: int
    job: int


class Backlog:
    """Jobs that no batch has taken yet, in the order of the plan."""

    def __init__(self, order: npt.NDArray[np.int64], kind_of: npt.NDArray[np.int64]) -> None:
        self._order, self._kind_of = order, kind_of[order]
        self._left = np.ones(len(order), bool)
        self._first = 0
        self.count = len(order)
        self._counts = np.bincount(self._kind_of) if len(order) else np.zeros(1, int)

    def take(self, count: int, kind: int | None = None) -> list[int]:
        """The next jobs, or the next of one kind."""
        places = self._next_places(count) if kind is None else self._places_of(kind, count)
        self._left[places] = False
        self.count -= len(places)
        np.subtract.at(self._counts, self._kind_of[places], 1)
        if kind is None and len(places):
            self._first = int(places[-1]) + 1
        return [int(job) for job in self._order[places]]

    def _next_places(self, count: int) -> npt.NDArray[np.int64]:
        """The first places that are left, found without looking at all of them."""
        stop = self._first + count
        while (found := np.flatnonzero(self._left[self._first : stop])).size < min(count, self.count):
            stop += max(count, stop - self._first)
        return self._first + found[:count]

    def _places_of(self, kind: int, count: int) -> npt.NDArray[np.int64]:
        left = self._left[self._first :] & (self._kind_of[self._first :] == kind)
        return self._first + np.flatnonzero(left)[:count]

    def kinds(self) -> list[int]:
        """Kinds of which jobs are left."""
        return [int(kind) for kind in np.flatnonzero(self._counts)]
