"""Read every product again and compare its checksum with the one that is recorded; `--requeue` makes spoilt ones again."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from campaign.adapters.terminal import counting
from campaign.cli.status import find_campaign
from campaign.core.words import shown
from campaign.examine import revoke, verify_products
from campaign.outcome import EXIT_DONE, EXIT_FOUND

EPILOG = "exit codes: 0 every product is as recorded, 6 some are not"
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument(
        "--requeue",
        action="store_true",
        help="send jobs whose product is spoilt back to pending, the file to quarantine",
    )
    parser.add_argument("--dry-run", action="store_true", help="with --requeue: list the jobs, change nothing")
    parser.add_argument("--force", action="store_true", help="with --requeue: also where most products are gone")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign verify`."""
    directory = find_campaign(arguments.campaign).root
    with counting("products") as told:
        count, damage = verify_products(directory, told)
    asked = bool(damage) and arguments.requeue and not arguments.dry_run
    requeued = revoke(directory, damage, count, force=arguments.force) if asked else []
    if arguments.json:
        told_of = [asdict(spoilt) for spoilt in damage]
        print(json.dumps({"products": count, "damaged": told_of, "requeued": [spoilt.name for spoilt in requeued]}))
        return EXIT_FOUND if damage else EXIT_DONE
    print(f"{directory}: {count - len(damage)} of {count} products are as recorded")
    for line in shown(
        [f"{spoilt.name}: {spoilt.path}: {spoilt.what}" for spoilt in damage], SHOWN, " (--json lists all)"
    ):
        print(line)
    if requeued:
        print(f"{len(requeued)} jobs went back to pending; next: campaign run {directory}")
    elif damage:
        print(f"next: campaign verify {directory} --requeue makes {len(damage)} jobs run again")
    return EXIT_FOUND if damage else EXIT_DONE
