"""The report that outlasts a run: what a campaign's directory tells, as one page."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign import manifest
from campaign.adapters import provenance
from campaign.adapters.artifacts import ArtifactStore
from campaign.adapters.web.report import chart, map_figure, pictures, write_report
from campaign.analyse.audit import failures_of
from campaign.analyse.report import Account, Rate, account, job_table
from campaign.analyse.results import open_results
from campaign.analyse.triage import grouped, retry_command, what
from campaign.core.lifecycle import JobTable
from campaign.core.model import State
from campaign.layout import Layout
from campaign.plan import Plan

if TYPE_CHECKING:
    import xarray

GROUPS_MAX, SIZED = 30, 100
"""Groups of failures that are shown, and products whose size is looked at."""


def write(plan: Plan, layout: Layout) -> Path:
    """Write the report of a campaign, from what is in its dataset; the path. UsageError where there is no dataset."""
    dataset = open_results(layout.root, completed_only=False, chunks=None)
    told = account(dataset)
    groups, hidden = _groups(plan, layout, job_table(dataset)) if _failed(told) else ([], 0)
    write_report(
        layout.report,
        title=f"{plan.config.version} {plan.config.name}", description=dataset.attrs.get("description", ""),
        made=provenance.now(), directory=str(layout.root), account=told, map=map_figure(told.states, plan.grid.axes),
        rate=_chart(told.rate) if told.rate is not None else None, groups=groups, hidden=hidden,
        product_bytes=_product_bytes(dataset, layout), pictures=pictures(layout.root / "qa" / "summary_plots"),
        manifest=manifest.read(layout), configuration=layout.config.read_text(),
    )  # fmt: skip
    return layout.report


def _chart(rate: Rate) -> dict[str, Any]:
    return chart(rate.began, rate.hours, rate.completed_per_min, rate.failed_per_min)


def _failed(told: Account) -> int:
    return told.counts[State.FAILED] + told.counts[State.TIMEOUT] + told.counts[State.MISSING_INPUT]


def _groups(plan: Plan, layout: Layout, table: JobTable) -> tuple[list[dict[str, Any]], int]:
    """Failures that are alike, the most first, and how many groups are left out."""
    groups = grouped(failures_of(plan, ArtifactStore(layout.root), table), plan.grid.parameters)
    shown = [
        {
            "count": len(group.jobs),
            "what": what(group),
            "example": group.example,
            "retry": retry_command(group, layout.root),
        }
        for group in groups[:GROUPS_MAX]
    ]
    return shown, max(len(groups) - GROUPS_MAX, 0)


def _product_bytes(dataset: xarray.Dataset, layout: Layout) -> float | None:
    """Mean size of some of the products; None where there are none."""
    names = [str(name) for name in dataset["product"].to_numpy().reshape(-1).tolist() if name]
    sizes = []
    for name in names[:: max(len(names) // SIZED, 1)][:SIZED]:
        with contextlib.suppress(OSError):
            sizes.append(layout.inside(name).stat().st_size)
    return sum(sizes) / len(sizes) if sizes else None
