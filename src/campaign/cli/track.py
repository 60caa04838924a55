"""Look for results that other programs have put into a campaign's directory; `--update` adopts them."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from campaign.cli.status import find_campaign
from campaign.outcome import EXIT_DONE, EXIT_FOUND

EPILOG = """Looked for, of jobs that are not completed: result_0000.json (values under `results`, or by their names) and
case_1/run_status.json (`status`, `result_file`). Values that are not given are read of the result file where the generator can.
What is adopted is copied, verified and hashed like a product of our own.
examples:
  campaign build rc.yaml            lay out the cases
  campaign track rc.yaml            what is there
  campaign track rc.yaml --update   adopt it; campaign run rc.yaml makes the rest"""
SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("--update", action="store_true", help="adopt what is found; without it nothing is changed")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign track`."""
    from campaign.track import look, update

    directory = find_campaign(arguments.campaign).root
    tracked = update(directory) if arguments.update else look(directory)
    if arguments.json:
        print(json.dumps({"updated": arguments.update, **asdict(tracked)}))
    else:
        verb = "adopted" if arguments.update else "found (--update adopts them)"
        print(f"{directory}: {len(tracked.found)} results {verb}" + _some(tracked.found, ": ", ", "))
        if tracked.refused:
            print(f"{len(tracked.refused)} can't be trusted" + _some(tracked.refused, ":\n  ", "\n  "))
    return EXIT_FOUND if tracked.refused else EXIT_DONE


def _some(lines: list[str], before: str, between: str) -> str:
    more = f"{between}and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return before + between.join(lines[:SHOWN]) + more if lines else ""
