"""Send jobs that failed, timed out or lacked their input back to pending, with fresh budgets; `--run` starts them."""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from pathlib import Path

import numpy as np

from campaign import manifest, run
from campaign.core.model import State
from campaign.layout import Layout
from campaign.outcome import EXIT_DONE, closing_words

RETRIED = ("failed", "timeout", "missing_input", "cancelled")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("--state", action="append", choices=RETRIED, help="only jobs in this state; may be repeated")
    parser.add_argument("--dry-run", action="store_true", help="list the jobs, change nothing")
    parser.add_argument("--run", "--submit", dest="run", action="store_true", help="run them at once")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign retry`."""
    from campaign.adapters.local import SystemClock

    config, generator = run.read_config(arguments.campaign)
    layout = Layout(Path(config.directory))
    manifest.read(layout)
    plan = run.lay_out(config, generator)
    with run.held(plan, generator, layout), closing(run.open_gatherer(plan, generator, layout)) as gatherer:
        run.recover(gatherer, layout)
        wanted = [State[word.upper()] for word in arguments.state or RETRIED]
        jobs = [int(job) for job in np.flatnonzero(np.isin(gatherer.table.state, wanted))]
        if not arguments.dry_run:
            gatherer.requeue(jobs, SystemClock().now_ms())
    _report(arguments, [plan.name(job) for job in jobs])
    if arguments.run and jobs and not arguments.dry_run:
        outcome = run.run_campaign(config, generator)
        print(closing_words(outcome))
        return outcome.exit_code
    return EXIT_DONE


def _report(arguments: argparse.Namespace, names: list[str]) -> None:
    if arguments.json:
        print(json.dumps({"retried": names, "dry_run": arguments.dry_run}))
        return
    if not names:
        print(f"no job to retry: none is {' or '.join(arguments.state or RETRIED)}")
        return
    verb = "would go" if arguments.dry_run else "went"
    print(f"{len(names)} jobs {verb} back to pending" + (": " + ", ".join(names[:10]) if names else ""))
    if names and not arguments.run and not arguments.dry_run:
        print(f"next: campaign run {arguments.campaign}")
