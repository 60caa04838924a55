"""Commit what waits in staging and journals, and bring ledger and dataset up to it; `--rebuild` makes both anew."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from campaign.cli.status import find_campaign
from campaign.examine import consolidate, waiting
from campaign.outcome import EXIT_DONE

EPILOG = """Every start of a campaign does this as well; here nothing is run.
Single records of an earlier form are taken from staging/single_*.json and staging/*/run_status.json."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("--rebuild", action="store_true", help="make ledger and dataset anew from what is committed")
    parser.add_argument("--dry-run", action="store_true", help="say what waits, change nothing")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign consolidate`."""
    directory = find_campaign(arguments.campaign).root
    if arguments.dry_run:
        found = waiting(directory)
        words = f"{found['staged']} batches, {found['single']} single records and {found['journals']} journals wait"
        print(
            json.dumps(found) if arguments.json else f"{directory}: {found['committed']} batches are committed; {words}"
        )
        return EXIT_DONE
    recovery = consolidate(directory, rebuild=arguments.rebuild)
    if arguments.json:
        print(json.dumps(asdict(recovery)))
        return EXIT_DONE
    print(
        f"{directory}: {recovery.adopted} batches indexed, {recovery.settled} records settled from journals, "
        f"{recovery.interrupted} interrupted attempts, {recovery.quarantined} files set aside in quarantine/"
    )
    return EXIT_DONE
