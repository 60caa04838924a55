"""The states of a campaign as a small picture: any two axes, as many jobs in a tile as there must be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from campaign.core.model import State

TROUBLE = (State.FAILED, State.TIMEOUT, State.MISSING_INPUT, State.CANCELLED)
"""States that a tile shows as soon as one of its jobs is in it; the first of them comes first."""


Window = tuple[range, range]
"""Places of the axis that runs down and of the one that runs across."""


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
    states: npt.NDArray[np.int8],
    shape: Sequence[int],
    axes: tuple[int, int | None],
    height: int,
    width: int,
    window: Window | None = None,
) -> Mosaic:
    """The picture of `states`, (n,) in C order over `shape`, at most `height` x `width` tiles of one size (the last may be smaller).

    `axes` are those that run down and across; jobs that differ along the others share a tile. Without a second one there is one column.
    Only what lies in `window` is shown; without one, everything.
    """
    down, across = axes
    grid = np.moveaxis(states.reshape(tuple(shape)), down, 0)
    if across is None:
        grid = grid.reshape(shape[down], 1, -1)
    else:
        grid = np.moveaxis(grid, across + (across < down), 1).reshape(shape[down], shape[across], -1)
    seen_down, seen_across = window or (range(grid.shape[0]), range(grid.shape[1]))
    rows, columns = _bins(seen_down, height), _bins(seen_across, width)
    grid = grid[seen_down.start : seen_down.stop, seen_across.start : seen_across.stop]
    tile = np.add.outer(_number_of(rows) * len(columns), _number_of(columns))[:, :, None]
    tiles = len(rows) * len(columns)
    counts = np.bincount((grid.astype(np.int64) * tiles + tile).reshape(-1), minlength=len(State) * tiles)
    return Mosaic(counts.reshape(len(State), len(rows), len(columns)), rows, columns)


def overview(
    states: npt.NDArray[np.int8], shape: Sequence[int], height: int, width: int
) -> tuple[Mosaic, int | None, int]:
    """(the picture, axis that runs down, axis that runs across) over the two longest axes, the longest across; a single axis is one row."""
    longest = sorted(range(len(shape)), key=lambda n: -shape[n])
    if len(longest) == 1:
        return mosaic(states, (1, *shape), (0, 1), height, width), None, 0
    across, down = longest[:2]
    return mosaic(states, shape, (down, across), height, width), down, across


def _bins(places: range, most: int) -> tuple[range, ...]:
    """Consecutive places in at most so many bins of one size, of which the last may be smaller."""
    step = -(-len(places) // max(most, 1))
    return tuple(places[first : first + step] for first in range(0, len(places), step))


def _number_of(bins: Sequence[range]) -> npt.NDArray[np.int64]:
    """Number of the bin of each place."""
    return np.repeat(np.arange(len(bins)), [len(one) for one in bins])
