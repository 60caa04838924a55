"""Results that were made by other means: looked for case by case, proven like our own, and recorded as attempts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from campaign import opening
from campaign.adapters import foreign, ledger
from campaign.adapters.foreign import Foreign
from campaign.adapters.local import SystemClock
from campaign.attempt import run_attempt
from campaign.core.model import Outcome, Record, State, Task, Variable
from campaign.errors import Code, FormatError, ProductError
from campaign.layout import Layout
from campaign.plan import Plan, States
from campaign.ports import Filing, Generator, Reading

NO_PRODUCT = "the job makes a product, and no `result_file` (or list of `products`) is named"


@dataclass(slots=True)
class Tracked:
    """What others have made of a campaign."""

    found: list[str] = field(default_factory=list)  # names of jobs that are adopted, or would be
    refused: list[str] = field(default_factory=list)  # why others are not


def look(directory: Path) -> Tracked:
    """What could be adopted, without writing."""
    plan, generator, layout = opening.opened(directory)
    states = ledger.states(layout.ledger, plan.size) if layout.ledger.exists() else np.zeros(plan.size, np.int8)
    tracked = Tracked()
    for found in _search(plan, generator, layout, states, tracked.refused):
        if plan.product(found.job) and not found.products:
            tracked.refused.append(f"{found.sources[0]}: {NO_PRODUCT}")
        else:
            tracked.found.append(plan.name(found.job))
    return tracked


def update(directory: Path) -> Tracked:
    """Adopt what others have made: products are taken over, verified and hashed; LockedError while the campaign runs."""
    plan, generator, layout = opening.opened(directory)
    tracked = Tracked()
    everything = np.zeros(plan.size, np.int8)
    there = _search(plan, generator, layout, everything, tracked.refused)  # before anything of ours is written
    with opening.committing(plan, generator, layout) as gatherer:
        adopted = []
        for found in there:
            if gatherer.table.state[found.job] == State.COMPLETED:
                continue
            record = _attempt(plan, generator, layout, found, gatherer.next_attempt(found.job))
            if record.failure is not None:
                tracked.refused.append(f"{found.sources[0]}: {record.failure.message}")
            else:
                adopted.append(record)
        gatherer.adopt(adopted)
        tracked.found = [record.name for record in adopted]
    return tracked


def _search(plan: Plan, generator: Generator, layout: Layout, states: States, refused: list[str]) -> list[Foreign]:
    """What was found of the jobs that are not completed; what can't be trusted is added to `refused`."""
    found = []
    for job in np.flatnonzero(states != State.COMPLETED).tolist():
        names = [variable.name for variable in generator.variables(plan.options(job))]
        try:
            one = foreign.find(layout, job, plan.size, plan.point(job), names)
        except FormatError as error:
            refused.append(error.message)
            continue
        if one is not None:
            found.append(one)
    return found


def _attempt(plan: Plan, generator: Generator, layout: Layout, found: Foreign, attempt: int) -> Record:
    """The record of an attempt whose product and values are what was found."""
    record = run_attempt(plan.task(found.job, attempt, -1), _HandedOver(generator, found), layout.root, SystemClock())
    if record.outcome is not Outcome.COMPLETED:
        return record
    sources = ", ".join(str(path.relative_to(layout.root)) for path in found.sources)
    seconds = record.duration_s if found.seconds is None else found.seconds
    return replace(record, duration_s=seconds, notes=(*record.notes, f"adopted from {sources}"))


class _HandedOver:
    """A generator, as far as an attempt needs it, that takes over what was found."""

    def __init__(self, generator: Generator, found: Foreign) -> None:
        self._generator, self._found = generator, found
        self.version = generator.version

    def variables(self, config: Mapping[str, Any]) -> tuple[Variable, ...]:
        return self._generator.variables(config)

    def generate(self, task: Task, target: Path, phase: Callable[[str], None]) -> Mapping[str, Any]:
        phase("adopt")
        if task.product:
            self._take(task, target)
        declared = {variable.name for variable in self._generator.variables(task.config)}
        absent = sorted(declared - self._found.values.keys())
        if not absent:
            return self._found.values
        if task.product and isinstance(self._generator, Reading):
            return {**self._generator.read(task, target, absent), **self._found.values}
        raise ProductError(Code.PRODUCT_INVALID, f"there is no value of {', '.join(absent)}")

    def verify(self, task: Task, product: Path, measurements: Mapping[str, Any]) -> None:
        self._generator.verify(task, product, measurements)

    def _take(self, task: Task, target: Path) -> None:
        """Copy the product: what was found stays whose it is."""
        products = self._found.products
        if not products:
            raise ProductError(Code.PRODUCT_INVALID, NO_PRODUCT)
        if not task.product.endswith("/"):
            shutil.copyfile(products[0], target)
            return
        main = self._generator.main_file(task.config) if isinstance(self._generator, Filing) else ""
        for product in products:
            if product.is_dir():
                shutil.copytree(product, target, dirs_exist_ok=True)
                continue
            into = target / (main if main and len(products) == 1 else product.name)
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(product, into)
