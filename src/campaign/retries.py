"""Another chance for jobs that have ended: which are meant, and sending them back to pending."""

from __future__ import annotations

import shlex
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
from campaign.analyse.triage import signature
from campaign.core.design import is_meant
from campaign.core.model import Axis, Config, FailureClass, Record, Scalar, State
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
    where: Mapping[str, str] = field(default_factory=dict)  # parameter -> values as they are typed; all must match
    classes: frozenset[FailureClass] = frozenset()  # of their failures; empty: any
    like: str = ""  # names a job: only those that failed as it did; empty: any


def requeue(config: Config, generator: Generator, chosen: Chosen, *, dry_run: bool = False) -> list[str]:
    """Send the jobs that are meant back to pending with fresh budgets; their names. UsageError for a parameter that there is not."""
    layout = Layout(Path(config.directory))
    manifest.read(layout)
    plan = lay_out(config, generator)
    matching = _matching(plan, chosen.where)
    with writing(plan, generator, layout, may_grow=False) as gatherer:
        recover(gatherer, layout)
        matching &= np.isin(gatherer.table.state, chosen.states)
        if chosen.classes or chosen.like:
            failed = list(failures_of(plan, ArtifactStore(layout.root), gatherer.table))
            matching &= np.isin(np.arange(plan.size), [record.job for record in _alike(plan, failed, chosen)])
        jobs = [int(job) for job in np.flatnonzero(matching)]
        if not dry_run:
            gatherer.requeue(jobs, SystemClock().now_ms())
    return [plan.name(job) for job in jobs]


def _alike(plan: Plan, failed: Sequence[Record], chosen: Chosen) -> Sequence[Record]:
    """Records of the classes that are meant, and like that of the job that is named; UsageError where it has none."""
    if chosen.classes:
        failed = [record for record in failed if record.failure and class_of(record.failure) in chosen.classes]
    if not chosen.like:
        return failed
    job = plan.named(chosen.like)
    known = [signature(record) for record in failed if record.job == job and record.failure]
    if not known:
        raise UsageError(
            Code.JOB_UNKNOWN,
            f"{plan.name(job)} has not failed",
            action=f"see what has: campaign failures {shlex.quote(plan.config.directory)}",
        )
    return [record for record in failed if record.failure and signature(record) == known[0]]


def _matching(plan: Plan, where: Mapping[str, str]) -> npt.NDArray[np.bool_]:
    """Jobs at these points, (n,)."""
    known = {parameter.name: parameter for parameter in plan.grid.parameters}
    selection: dict[str, Sequence[object]] = {}
    for name, typed in where.items():
        if name not in known:
            raise UsageError(
                Code.CONFIG_INVALID, f"there is no parameter {name!r}", action=f"name one of: {', '.join(known)}"
            )
        selection[name] = values_meant(known[name], typed)
    matching = np.zeros(plan.size, bool)
    matching[plan.grid.where(selection)] = True
    return matching


def values_meant(parameter: Axis, typed: str) -> list[Scalar]:
    """The values that are meant by `VALUE,VALUE`; text of which a comma is a part is one value. UsageError for what it has not."""
    values = parameter.values
    texts = [typed] if any(is_meant(value, typed) for value in values) else typed.split(",")
    for text in texts:
        if not any(is_meant(value, text) for value in values):
            raise UsageError(Code.CONFIG_INVALID, f"{parameter.name} has no value {text}", action=_some(values))
    return [value for value in values if any(is_meant(value, text) for text in texts)]


def _some(values: Sequence[Scalar]) -> str:
    return "it has " + ", ".join(map(str, values[:10])) + (", ..." if len(values) > 10 else "")
