"""Measure products that exist already: whatever the configuration measures now, and completed jobs do not have."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from campaign.cli.arguments import add_settings
from campaign.core.words import shown
from campaign.outcome import EXIT_DONE, EXIT_FOUND

EPILOG = """Change what is measured in the YAML (of galaxies: `measurements`), then measure; no product is made again or changed.
It runs on this machine, and goes on where it was when it is started again. New jobs measure all of it by themselves.
examples:
  campaign measure my.yaml --dry-run    which quantities are missing, of how many jobs
  campaign measure my.yaml              fill them in"""
SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="its YAML, or the directory of a campaign")
    add_settings(parser)
    parser.add_argument(
        "--processes", type=int, metavar="N", help="how many read side by side (default: one for each CPU)"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what is missing, measure nothing")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign measure`."""
    from campaign.adapters.terminal import counting
    from campaign.errors import Code, UsageError
    from campaign.measure import fill
    from campaign.opening import read_config

    if arguments.processes is not None and arguments.processes < 1:
        raise UsageError(Code.CONFIG_INVALID, f"--processes {arguments.processes}: at least 1", action="leave it out")
    config, generator = read_config(arguments.campaign, arguments.settings)
    with counting("products") as tell:
        told = fill(
            config,
            generator,
            processes=arguments.processes,
            dry_run=arguments.dry_run,
            tell=lambda done: tell(done, 0),
        )
    if arguments.json:
        print(json.dumps({"dry_run": arguments.dry_run, **asdict(told)}))
    elif not told.variables:
        print(f"{config.directory}: every completed job has all that is measured")
    else:
        verb = "lack" if arguments.dry_run else "have now"
        print(f"{config.directory}: {len(told.filled)} jobs {verb} {', '.join(told.variables)}")
        for line in shown([f"not measured: {line}" for line in told.refused], SHOWN):
            print(line)
    return EXIT_FOUND if told.refused else EXIT_DONE
