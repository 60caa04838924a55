"""Measurements of products that exist already: what a campaign measures now, and jobs that completed before do not have."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from campaign import manifest, opening
from campaign.adapters.artifacts import ArtifactStore
from campaign.adapters.local import usable_cores
from campaign.analyse import audit as auditing
from campaign.attempt import checked
from campaign.core.model import Config, Record, Task
from campaign.errors import CampaignError, Code, UsageError
from campaign.generators import find
from campaign.layout import Layout
from campaign.meanings import Meanings
from campaign.plan import Plan
from campaign.ports import Generator, Reading

COMMITTED_TOGETHER = 200
"""Jobs whose values are kept in memory before they are committed."""


@dataclass(slots=True)
class Measured:
    """What was filled in."""

    filled: list[str] = field(default_factory=list)  # names of jobs
    variables: list[str] = field(default_factory=list)  # that some of them lacked
    refused: list[str] = field(default_factory=list)  # why others are not


def fill(
    config: Config,
    generator: Generator,
    *,
    processes: int | None = None,
    dry_run: bool = False,
    tell: Callable[[int], None] = lambda _: None,
) -> Measured:
    """Read the products of completed jobs that lack a measurement, and commit it; LockedError while the campaign runs.

    What was committed stays committed: killed and started again, it goes on where it was. `processes` read side by side, as many as
    there are CPUs unless it is given. `tell` hears how many are done.
    """
    layout = Layout(Path(config.directory))
    manifest.read(layout)
    if not isinstance(generator, Reading):
        raise UsageError(
            Code.GENERATOR_UNAVAILABLE,
            f"generator {generator.name!r} can't measure a product that was made before",
            action="give it a method `read(task, product, names)`, or make the products again under a new version",
        )
    plan, told = opening.lay_out(config, generator), Measured()
    if dry_run:
        return _looked_up(plan, generator, layout)
    variables: set[str] = set()
    with opening.committing(plan, generator, layout) as gatherer:

        def jobs() -> Iterator[_Job]:
            for record, names in gatherer.unmeasured():
                variables.update(names)
                task = plan.task(record.job, record.attempt, record.batch)
                yield _Job(record, task, str(layout.inside(task.product)), names)

        ready: list[Record] = []
        for record, found in _read_all(generator, layout, jobs(), processes or usable_cores()):
            if isinstance(found, str):
                told.refused.append(f"{record.name}: {found}")
            else:
                ready.append(_amended(record, found))
                told.filled.append(record.name)
            if len(ready) == COMMITTED_TOGETHER:
                gatherer.commit_concluded(ready)
                ready = []
            tell(len(told.filled) + len(told.refused))
        gatherer.commit_concluded(ready)
    told.variables = sorted(variables)
    return told


def _looked_up(plan: Plan, generator: Generator, layout: Layout) -> Measured:
    """What is missing, as far as is committed; nothing is written."""
    artifacts, told, variables = ArtifactStore(layout.root), Measured(), set[str]()
    table = auditing.read_truth(plan, artifacts).table
    for record, names in Meanings(generator.variables(plan.config.options)).unmeasured(plan, artifacts, table):
        told.filled.append(record.name)
        variables.update(names)
    told.variables = sorted(variables)
    return told


def _amended(record: Record, found: Mapping[str, Any]) -> Record:
    note = f"measured later: {', '.join(found)}"
    return replace(record, measurements={**record.measurements, **found}, notes=(*record.notes, note))


@dataclass(frozen=True, slots=True)
class _Job:
    """One product to measure."""

    record: Record
    task: Task
    product: str
    names: Sequence[str]


def _read_all(
    generator: Generator, layout: Layout, jobs: Iterator[_Job], processes: int
) -> Iterator[tuple[Record, Mapping[str, Any] | str]]:
    """(record, the values of its product or why there are none), in the order in which they are read; a few are under way at any time."""
    first = next(jobs, None)
    if first is None:
        return
    waiting = chain([first], jobs)
    settings = (generator.name, dict(generator.environment(str(layout.root))))
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_prepare, initargs=settings
    ) as pool:
        under_way: dict[Future[Any], Record] = {}
        while True:
            for job in islice(waiting, 2 * processes - len(under_way)):
                under_way[pool.submit(_read, generator.name, job.task, job.product, job.names)] = job.record
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                record = under_way.pop(future)
                try:
                    yield record, future.result()
                except BrokenProcessPool as error:
                    raise CampaignError(
                        Code.SLOT_CRASHED,
                        f"a process died while it measured {record.name}, or one of the {len(under_way)} jobs beside it",
                        action="start it again, which goes on with what is left; --processes 1 finds the one that does it",
                    ) from error


def _prepare(name: str, environment: dict[str, str]) -> None:
    """What a slot would be given: environment and imports."""
    os.environ |= environment
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    find(name)


def _read(name: str, task: Task, product: str, names: Sequence[str]) -> Mapping[str, Any] | str:
    """The values of a product, as they are recorded, or why there are none."""
    generator = find(name)
    assert isinstance(generator, Reading)
    try:
        found = generator.read(task, Path(product), names)
        return checked(generator.variables(task.config), found, whole=False)
    except Exception as error:  # noqa: BLE001 - a product that can't be measured is no reason to leave the others
        return f"{type(error).__name__}: {error}".partition("\n")[0]
