"""Show the jobs of a campaign in the order of execution: names, points, seeds, fingerprints, batches, and missing inputs."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from campaign import manifest
from campaign.assemble import find_place
from campaign.cli.arguments import add_settings
from campaign.core.model import Config
from campaign.layout import Layout
from campaign.opening import lay_out, read_config
from campaign.outcome import EXIT_DONE
from campaign.plan import Plan
from campaign.ports import Generator

SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("config", type=Path, help="the campaign's YAML, or its directory")
    add_settings(parser)
    parser.add_argument(
        "--limit", type=_count, default=SHOWN, metavar="N", help=f"show N jobs (default {SHOWN}; 0 for all)"
    )
    parser.add_argument("--json", action="store_true", help="report as JSON")
    parser.add_argument("--csv", action="store_true", help="every job as CSV")


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("a number of jobs, 0 for all")
    return number


def command(arguments: argparse.Namespace) -> int:
    """`campaign plan`."""
    config, generator = read_config(arguments.config, arguments.settings)
    plan = lay_out(config, generator)
    if arguments.csv:
        _write_csv(plan)
    elif arguments.json:
        limit = arguments.limit or plan.size
        print(
            json.dumps({**_head(plan), "jobs": list(islice(_rows(plan), limit)), "missing": _missing(plan)}, indent=1)
        )
    else:
        _print(plan, arguments.limit or plan.size)
    return EXIT_DONE


def print_dry_run(config: Config, generator: Generator, *, as_json: bool) -> int:
    """Everything that `campaign run` would run now, in order, unless there are enough before; jobs of stages follow from it."""
    from campaign.status import terminal_jobs

    plan = lay_out(config, generator)
    layout = Layout(Path(config.directory))
    if layout.manifest.exists():
        manifest.compare(plan, layout, generator)
    skipped = terminal_jobs(layout, plan.size) | {m.job for m in plan.missing}
    rows = [row for row in _rows(plan) if row["job"] not in skipped]
    if as_json:
        print(json.dumps({**_head(plan), "would_run": rows, "missing": _missing(plan)}, indent=1))
        return EXIT_DONE
    place = find_place(config)
    print(f"would run {len(rows)} of {plan.size} jobs in {place.capacity(config)} slots of {config.resources.shape},")
    print(f"writing to {config.directory}; {len(skipped)} are done or lack their input")
    for row in rows:
        print(f"{row['name']}\t{row['product']}\tseed {row['seed']}\t{row['task_fingerprint'][:12]}")
    return EXIT_DONE


def _head(plan: Plan) -> dict[str, Any]:
    return {
        "name": plan.config.name,
        "version": plan.config.version,
        "directory": plan.config.directory,
        "size": plan.size,
        "axes": {axis.name: len(axis.values) for axis in plan.grid.axes},
        "order": plan.config.execution.order,
        "batches": None if plan.config.execution.batch_size is None else sum(1 for _ in plan.batches()),
        "plan_fingerprint": plan.fingerprint,
    }


def _rows(plan: Plan) -> Iterator[dict[str, Any]]:
    measured = plan.config.execution.batch_size is None
    for batch, jobs in plan.batches():
        for job in jobs:
            task = plan.task(int(job), attempt=1, batch=batch)
            yield {
                "batch": None if measured else batch,
                "job": task.job,
                "name": task.name,
                **task.point,
                "seed": task.seed,
                "resolved_config_hash": task.resolved_config_hash,
                "task_fingerprint": task.task_fingerprint,
                "product": task.product,
            }


def _missing(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "name": plan.name(m.job),
            "path": m.path,
            "skipped_with": None if m.skipped_with is None else plan.name(m.skipped_with),
        }
        for m in plan.missing
    ]


def _write_csv(plan: Plan) -> None:
    rows = _rows(plan)
    first = next(rows)
    writer = csv.DictWriter(sys.stdout, list(first))
    writer.writeheader()
    writer.writerow(first)
    writer.writerows(rows)


def _print(plan: Plan, limit: int) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    console = Console()
    head = _head(plan)
    axes = " x ".join(f"{n} {name}s" for name, n in head["axes"].items())
    batches = "batches sized as it runs" if head["batches"] is None else f"{head['batches']} batches"
    console.print(f"[bold]{plan.config.version} {plan.config.name}[/]: {plan.size} jobs ({axes}) in {batches}")
    console.print(
        f"order {head['order']}, {len(plan.variants)} resolved configuration(s), fingerprint {plan.fingerprint[:12]}"
    )
    table = Table("batch", "job", Column("name", no_wrap=True), *(p.name for p in plan.grid.parameters), "fingerprint")
    for row in islice(_rows(plan), limit):
        point = [str(row[parameter.name]) for parameter in plan.grid.parameters]
        batch = "" if row["batch"] is None else str(row["batch"])
        table.add_row(batch, str(row["job"]), row["name"], *point, row["task_fingerprint"][:12])
    console.print(table)
    if limit < plan.size:
        console.print(f"... and {plan.size - limit} more (--limit 0 or --csv shows all)")
    _print_missing(plan, limit)


def _print_missing(plan: Plan, limit: int) -> None:
    if not plan.missing:
        return
    members = {m.job // plan.row for m in plan.missing}
    print(f"missing input: {len(plan.missing)} jobs, {len(members)} of {plan.grid.shape[0]} {plan.grid.axes[0].name}s")
    for entry in _missing(plan)[:limit]:
        with_ = f" (skipped with {entry['skipped_with']})" if entry["skipped_with"] else ""
        print(f"  {entry['name']}: {entry['path']}{with_}")
