"""The report that outlasts a run: what a campaign's directory tells, as one page."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import Any

from campaign import manifest
from campaign.adapters import provenance
from campaign.adapters.artifacts import ArtifactStore
from campaign.adapters.web.report import chart, map_figure, pictures, write_report
from campaign.analyse.audit import failures_of
from campaign.analyse.report import Account, Rate, account, job_table
from campaign.analyse.results import open_results
from campaign.analyse.triage import grouped, retry_command, what
from campaign.core.lifecycle import UNMET, JobTable
from campaign.errors import FormatError
from campaign.layout import Layout
from campaign.plan import Plan

GROUPS_MAX, SIZED = 30, 10
"""Groups of failures that are shown, and batches that tell the sizes of products."""


def write(plan: Plan, layout: Layout) -> Path:
    """Write the report of a campaign, from what is in its dataset; the path. UsageError where there is no dataset."""
    dataset = open_results(layout.root, completed_only=False, chunks=None)
    told = account(dataset)
    groups, hidden = _groups(plan, layout, job_table(dataset)) if _failed(told) else ([], 0)
    write_report(
        layout.report,
        title=f"{plan.config.version} {plan.config.name}", description=dataset.attrs.get("description", ""),
        made=provenance.now(), directory=str(layout.root), here=shlex.quote(str(layout.root)), account=told, map=map_figure(told.states, plan.grid.axes),
        rate=_chart(told.rate) if told.rate is not None else None, groups=groups, hidden=hidden,
        product_bytes=_product_bytes(plan, layout), pictures=pictures(layout.root / "qa" / "summary_plots"),
        manifest=manifest.read(layout), configuration=layout.config.read_text(),
    )  # fmt: skip
    return layout.report


def _chart(rate: Rate) -> dict[str, Any]:
    return chart(rate.began, rate.hours, rate.completed_per_min, rate.failed_per_min)


def _failed(told: Account) -> int:
    return sum(told.counts[state] for state in UNMET)


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


def _product_bytes(plan: Plan, layout: Layout) -> float | None:
    """Mean size of what a completed job made, as some of the batches tell; None where nothing was made."""
    store = ArtifactStore(layout.root)
    numbers = list(store.numbers())
    sizes: list[int] = []
    for number in numbers[:: max(len(numbers) // SIZED, 1)][:SIZED]:
        with contextlib.suppress(FormatError):
            records = plan.own(store.read(number).records)
            sizes += [sum(product.size_bytes for product in one.products) for one in records if one.products]
    return sum(sizes) / len(sizes) if sizes else None
