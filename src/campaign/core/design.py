"""Which points, and in which order: a full grid of axes as index arithmetic over numpy, never a list of a million dicts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from campaign.core.model import Axis, Point, Scalar

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Grid:
    """Every combination of the axes; job `i` is the i-th in C order, the last axis running fastest."""

    axes: tuple[Axis, ...]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(len(axis.values) for axis in self.axes)

    @cached_property
    def size(self) -> int:
        """Number of points."""
        return math.prod(self.shape)

    @cached_property
    def parameters(self) -> tuple[Axis, ...]:
        """Everything that a point has a value of, in order."""
        return tuple(parameter for axis in self.axes for parameter in axis.parameters)

    def point(self, job: int) -> Point:
        """Parameters of one job; IndexError outside the grid."""
        if not 0 <= job < self.size:
            raise IndexError(f"job {job} is outside the grid of {self.size}")
        values = []
        for length, parameters in self._from_the_last:
            job, i = divmod(job, length)
            for name, along in parameters:
                values.append((name, along[i]))
        return dict(reversed(values))

    @cached_property
    def _from_the_last(self) -> list[tuple[int, list[tuple[str, tuple[Scalar, ...]]]]]:
        """(length, parameters and their values, the last one first) of each axis, the last one first."""
        return [(len(a.values), [(p.name, p.values) for p in reversed(a.parameters)]) for a in reversed(self.axes)]

    def where(self, selection: dict[str, Sequence[object]]) -> Indices:
        """Jobs whose value of every named axis or parameter is among the given ones, ascending."""
        keep = np.ones(self.shape, dtype=bool)
        for n, axis in enumerate(self.axes):
            for named in dict.fromkeys((axis, *axis.parameters)):
                if named.name in selection:
                    wanted = set(selection[named.name])
                    chosen = np.array([v in wanted for v in named.values])
                    keep &= chosen.reshape([-1 if m == n else 1 for m in range(len(self.axes))])
        return np.flatnonzero(keep).astype(np.int64)


def order(grid: Grid, policy: str, seed: int, block: int = 25) -> Indices:
    """The jobs of `grid` in the order of `policy`.

    `shuffled`: one seeded permutation of everything. `block`: whole blocks of `block` values of the first axis are
    shuffled, and the jobs inside each, so that a flush of the dataset touches few chunks. `<axis>_major`: that axis is
    the slowest. ValueError on any other word. The permutation is the same for ever (numpy's frozen MT19937 stream).
    """
    jobs = np.arange(grid.size, dtype=np.int64)
    if policy == "shuffled":
        return _stream(seed).permutation(jobs)
    if policy == "block":
        return _blockwise(jobs.reshape(grid.shape[0], -1), block, _stream(seed))
    names = [axis.name for axis in grid.axes]
    if policy.endswith("_major") and (name := policy.removesuffix("_major")) in names:
        return np.ascontiguousarray(np.moveaxis(jobs.reshape(grid.shape), names.index(name), 0)).reshape(-1)
    allowed = ", ".join(["shuffled", "block", *(f"{n}_major" for n in names)])
    raise ValueError(f"unknown order {policy!r}; allowed: {allowed}")


def together(jobs: Indices, input_of: npt.NDArray[np.int32]) -> Indices:
    """`jobs`, (n,), in their order, but those that share an input right behind the first of them.

    `input_of`, (n,), numbers the input of each job; a negative number is none.
    """
    inputs = input_of[jobs]
    _, first, group = np.unique(inputs, return_index=True, return_inverse=True)
    place = np.where(inputs < 0, np.arange(len(jobs)), first[group])
    return jobs[np.argsort(place, kind="stable")]


def _blockwise(rows: Indices, block: int, stream: np.random.RandomState) -> Indices:
    blocks = [rows[i : i + block].reshape(-1) for i in range(0, len(rows), block)]
    return np.concatenate([stream.permutation(blocks[i]) for i in stream.permutation(len(blocks))])


def _stream(seed: int) -> np.random.RandomState:
    words = hashlib.sha256(f"campaign-order-1:{seed}".encode()).digest()
    return np.random.RandomState(np.frombuffer(words, dtype="<u4"))


def is_meant(value: Scalar, given: object) -> bool:
    """Whether somebody who writes or types `given` means the value of an axis; fractions may differ in the tenth digit."""
    if isinstance(value, str):
        return value == given
    if isinstance(value, bool) or isinstance(given, bool):
        return str(value).lower() == str(given).lower()
    try:
        number = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return number == value if isinstance(value, int) else math.isclose(number, value, rel_tol=1e-9)
