"""Another chance for jobs that have ended: which are meant, and sending them back to pending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from campaign import manifest
from campaign.adapters.artifacts import ArtifactStore
from campaign.adapters.local import SystemClock
from campaign.analyse.audit import failures_of
from campaign.core.design import is_meant
from campaign.core.model import Config, FailureClass, Scalar, State
from campaign.core.policy import class_of
from campaign.errors import Code, UsageError
from campaign.layout import Layout
from campaign.opening import lay_out, recover, writing
from campaign.plan import Plan

if TYPE_CHECKING:
    from campaign.ports import Generator


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which jobs are meant."""

    states: Sequence[State]
    where: Mapping[str, Sequence[str]] = field(
        default_factory=dict
    )  # parameter -> values as they are typed; all must match
    classes: frozenset[FailureClass] = frozenset()  # of their failures; empty: any


def requeue(config: Config, generator: Generator, chosen: Chosen, *, dry_run: bool = False) -> list[str]:
    """Send the jobs that are meant back to pending with fresh budgets; their names. UsageError for a parameter that there is not."""
    layout = Layout(Path(config.directory))
    manifest.read(layout)
    plan = lay_out(config, generator)
    matching = _matching(plan, chosen.where)
    with writing(plan, generator, layout, may_grow=False) as gatherer:
        recover(gatherer, layout)
        matching &= np.isin(gatherer.table.state, chosen.states)
        if chosen.classes:
            failed = failures_of(plan, ArtifactStore(layout.root), gatherer.table)
            ours = [record.job for record in failed if record.failure and class_of(record.failure) in chosen.classes]
            matching &= np.isin(np.arange(plan.size), ours)
        jobs = [int(job) for job in np.flatnonzero(matching)]
        if not dry_run:
            gatherer.requeue(jobs, SystemClock().now_ms())
    return [plan.name(job) for job in jobs]


def _matching(plan: Plan, where: Mapping[str, Sequence[str]]) -> npt.NDArray[np.bool_]:
    """Jobs at these points, (n,)."""
    known = {parameter.name: parameter for parameter in plan.grid.parameters}
    selection: dict[str, Sequence[object]] = {}
    for name, typed in where.items():
        if name not in known:
            raise UsageError(
                Code.CONFIG_INVALID, f"there is no parameter {name!r}", action=f"name one of: {', '.join(known)}"
            )
        selection[name] = [value for value in known[name].values if any(is_meant(value, text) for text in typed)]
        if not selection[name]:
            raise UsageError(
                Code.CONFIG_INVALID, f"{name} has no value {', '.join(typed)}", action=_some(known[name].values)
            )
    matching = np.zeros(plan.size, bool)
    matching[plan.grid.where(selection)] = True
    return matching


def _some(values: Sequence[Scalar]) -> str:
    return "it has " + ", ".join(map(str, values[:10])) + (", ..." if len(values) > 10 else "")
