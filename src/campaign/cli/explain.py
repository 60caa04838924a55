"""Say why a job is not running, and what to type."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

from campaign.cli.status import find_campaign
from campaign.outcome import EXIT_DONE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("job", help="the job's name, its number, or PARAMETER=VALUE,...")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign explain`."""
    from campaign.examine import story

    found = story(find_campaign(arguments.campaign).root, arguments.job, here=shlex.quote(str(arguments.campaign)))
    if arguments.json:
        print(json.dumps({"job": found.job, "name": found.name, "state": found.state.word, "why": found.why}))
    else:
        print(f"{found.name} (job {found.job}): {found.state.word}")
        print("\n".join(f"  {line}" for line in found.why))
    return EXIT_DONE
