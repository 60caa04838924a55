"""The states of a campaign as a small picture: any two axes, as many jobs in a tile as there must be."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from campaign.core.model import State

TROUBLE = (State.FAILED, State.TIMEOUT, State.MISSING_INPUT, State.CANCELLED)
"""States that a tile shows as soon as one of its jobs is in it; the first of them comes first."""


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Jobs in tiles: counts of each state, (states, rows, columns), and which places of the axes each row and column holds."""

    counts: npt.NDArray[np.int64]
    rows: tuple[range, ...]
    columns: tuple[range, ...]

    @property
    def shown(self) -> npt.NDArray[np.int8]:
        """The state that each tile shows, (rows, columns): trouble if there is any, or else that of most jobs."""
        states: npt.NDArray[np.int8] = self.counts.argmax(axis=0).astype(np.int8)
        for state in reversed(TROUBLE):
            states[self.counts[state] > 0] = state
        return states


def mosaic(
    states: npt.NDArray[np.int8], shape: Sequence[int], axes: tuple[int, int | None], height: int, width: int
) -> Mosaic:
    """The picture of `states`, (n,) in C order over `shape`, at most `height` x `width` tiles.

    `axes` are those that run down and across; jobs that differ along the others share a tile. Without a second one there is one column.
    """
    down, across = axes
    rows = _bins(shape[down], height)
    columns = _bins(shape[across], width) if across is not None else (range(1),)
    places = np.indices(tuple(shape), sparse=True)
    row_of = _number_of(rows)[places[down]]
    column_of = _number_of(columns)[places[across]] if across is not None else np.zeros_like(row_of)
    tile = np.broadcast_to(row_of * len(columns) + column_of, tuple(shape)).reshape(-1)
    tiles = len(rows) * len(columns)
    counts = np.bincount(states.astype(np.int64) * tiles + tile, minlength=len(State) * tiles)
    return Mosaic(counts.reshape(len(State), len(rows), len(columns)), rows, columns)


def _bins(length: int, most: int) -> tuple[range, ...]:
    """Consecutive places in at most so many bins that differ by one in size."""
    edges = np.linspace(0, length, min(length, max(most, 1)) + 1).round().astype(int).tolist()
    return tuple(range(first, last) for first, last in itertools.pairwise(edges))


def _number_of(bins: Sequence[range]) -> npt.NDArray[np.int64]:
    """Number of the bin of each place."""
    return np.repeat(np.arange(len(bins)), [len(one) for one in bins])
