"""A campaign and its stages, executed as one: whose each job is, and what it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from campaign.core.lifecycle import JobTable
from campaign.core.model import Config, Record, Shape, State, Task
from campaign.core.staging import Gates, Waiting, members_needed
from campaign.plan import Plan

if TYPE_CHECKING:
    from campaign.gather import Gatherer

    Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """The jobs of a campaign or of one of its stages, among all that are executed."""

    name: str  # of the stage; empty: the campaign itself
    plan: Plan
    gatherer: Gatherer
    offset: int  # number of its first job among all

    @property
    def jobs(self) -> slice:
        """Where its jobs are among all."""
        return slice(self.offset, self.offset + self.plan.size)


class Parts:
    """A campaign and its stages as one: implements `plan.Jobs`, and `ports.Committer`."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        self.config = parts[0].plan.config
        self.staged = parts[0].plan.staged
        self._ends = np.array([part.offset + part.plan.size for part in parts])

    @property
    def size(self) -> int:
        """Number of all jobs."""
        return int(self._ends[-1])

    @cached_property
    def order(self) -> Indices:
        """All jobs; those of the campaign first."""
        return np.concatenate([part.plan.order + part.offset for part in self.parts])

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes that jobs have; those of the campaign first."""
        return tuple(dict.fromkeys(shape for part in self.parts for shape in part.plan.shapes))

    @cached_property
    def shape_of(self) -> Indices:
        """Number of each job's shape, (n,)."""
        return np.concatenate([
            np.array([self.shapes.index(shape) for shape in part.plan.shapes])[part.plan.shape_of] for part in self.parts
        ])  # fmt: skip

    @cached_property
    def duration_group_of(self) -> Indices:
        """Which jobs are expected to take equally long, (n,)."""
        before = np.cumsum([0, *(part.plan.duration_groups for part in self.parts)])
        return np.concatenate([part.plan.duration_group_of + n for part, n in zip(self.parts, before, strict=False)])

    @property
    def duration_groups(self) -> int:
        """Number of duration groups."""
        return sum(part.plan.duration_groups for part in self.parts)

    def part_of(self, job: int) -> Part:
        """The part that a job belongs to."""
        return self.parts[int(np.searchsorted(self._ends, job, side="right"))]

    def task(self, job: int, attempt: int, batch: int) -> Task:
        """The task of one attempt."""
        part = self.part_of(job)
        task = part.plan.task(job - part.offset, attempt, batch)
        return task if not part.name else replace(task, job=job, directory=below(self.config, part.plan.config))

    def table(self, gates: Gates) -> JobTable:
        """What is known of all jobs; those that have to wait for others are queued."""
        tables = [part.gatherer.table for part in self.parts]
        joined = JobTable(
            *(np.concatenate([getattr(table, column.name) for table in tables]) for column in fields(JobTable))
        )
        ready = gates.take()  # what they need was in the dataset before the run began
        pending = joined.state == State.PENDING
        pending[: self.parts[0].plan.size] = False
        pending[ready] = False
        joined.state[pending] = State.QUEUED
        return joined

    def gates(self) -> Gates:
        """What each job of a stage that is left waits for."""
        states = np.concatenate([part.gatherer.table.state for part in self.parts])
        found = []
        for part in self.parts[1:]:
            left = np.flatnonzero(part.gatherer.table.state == State.PENDING)
            inputs = needs_of(self, part)[left]
            options = part.plan.config.options
            share = options["at_least"] if options["kind"] == "reduce" else 1.0
            found.append(Waiting(part.offset + left, inputs, members_needed(share, inputs.shape[1])))
        return Gates(found, states)

    def counts(self) -> dict[str, dict[str, int]]:
        """Of each stage: state -> jobs."""
        found = {}
        for part in self.parts[1:]:
            codes = np.bincount(part.gatherer.table.state, minlength=len(State)).tolist()
            found[part.name] = {state.word: codes[state] for state in State if codes[state]}
        return found

    @property
    def complete(self) -> bool:
        """Whether every job of every stage has completed."""
        return all((part.gatherer.table.state == State.COMPLETED).all() for part in self.parts[1:])

    def are_left(self) -> bool:
        """Whether jobs of stages are left that could run: all that they need has completed."""
        return self.gates().waiting

    def commit(self, batches: Sequence[tuple[int, Sequence[Record]]]) -> None:
        """Commit the records of each part as its own."""
        for number, records in batches:
            for part in self.parts:
                own = [record for record in records if part.jobs.start <= record.job < part.jobs.stop]
                if own and not part.name:
                    part.gatherer.commit([(number, own)])
                elif own:
                    part.gatherer.commit_concluded([replace(record, job=record.job - part.offset) for record in own])

    def flush(self) -> None:
        """Bring every dataset up to what is committed."""
        for part in self.parts:
            part.gatherer.flush()


def needs_of(parts: Parts, part: Part) -> Indices:
    """Which jobs, among all, each job of a stage needs, (n, k)."""
    campaign, options = parts.parts[0], part.plan.config.options
    shape = campaign.plan.grid.shape
    numbers = np.arange(campaign.plan.size).reshape(shape)
    axes = [axis.name for axis in campaign.plan.grid.axes]
    if options["kind"] == "reduce":
        axis = axes.index(options["over"])
        return np.moveaxis(numbers, axis, -1).reshape(-1, shape[axis])
    before = next((p for p in parts.parts if p.plan.config.directory == options["after"]), None)
    if before is None:
        return numbers.reshape(-1, 1)
    over = axes.index(before.plan.config.options["over"])
    lengths = [length for axis, length in enumerate(shape) if axis != over]
    of_stage = np.expand_dims(np.arange(before.plan.size).reshape(lengths), over)
    return np.stack([numbers.reshape(-1), before.offset + np.broadcast_to(of_stage, shape).reshape(-1)], axis=1)


def below(config: Config, stage: Config) -> str:
    """Where a stage lies, below its campaign."""
    return str(Path(stage.directory).relative_to(config.directory))
