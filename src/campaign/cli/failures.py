"""Show what failed, in groups that are alike: how many, what, where in the code, at which points, on which nodes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from campaign.cli.status import find_campaign
from campaign.errors import Code, UsageError
from campaign.outcome import EXIT_DONE

if TYPE_CHECKING:
    from campaign.analyse.triage import Group

EPILOG = """Failures are alike whose class, exception, first line (numbers, paths and identifiers apart) and place in the code agree.
examples:
  campaign failures my.yaml              the groups, each with an example and the command that retries just those
  campaign failures my.yaml --show 1     the largest of them with its traceback
  campaign logs my.yaml r0003/mock_z1.000   everything about one job"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument(
        "--show", type=int, metavar="N", help="the N-th group with its example's traceback and its jobs"
    )
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign failures`."""
    from campaign.examine import failures

    directory = find_campaign(arguments.campaign).root
    groups = failures(directory)
    if arguments.json:
        print(json.dumps({"groups": [group.to_json() for group in groups]}))
    elif not groups:
        print(f"{directory}: nothing has failed")
    elif arguments.show is not None:
        if not 1 <= arguments.show <= len(groups):
            raise UsageError(
                Code.CONFIG_INVALID, f"there is no group {arguments.show}", action=f"name one of 1 to {len(groups)}"
            )
        print("\n".join(_whole(groups[arguments.show - 1], arguments.campaign)))
    else:
        for n, group in enumerate(groups, 1):
            print("\n".join(_short(n, group, arguments.campaign)))
    return EXIT_DONE


def _short(number: int, group: Group, campaign: Path) -> list[str]:
    from campaign.analyse.triage import in_words, retry_command

    return [
        f"{number}. {in_words(group)}",
        f"   such as {group.example.name}, attempt {group.example.attempt}, on {group.example.node}",
        f"   retry these: {retry_command(group, campaign)}",
    ]


def _whole(group: Group, campaign: Path) -> list[str]:
    from campaign.analyse.triage import in_words, retry_command

    failure = group.example.failure
    said = [failure.message, *([failure.traceback.rstrip()] if failure.traceback else [])] if failure else []
    jobs = ", ".join(map(str, group.jobs[:50])) + (f" and {len(group.jobs) - 50} more" if len(group.jobs) > 50 else "")
    return [in_words(group), f"{group.example.name}, attempt {group.example.attempt}, on {group.example.node}:", *said,
            f"jobs: {jobs}", f"retry these: {retry_command(group, campaign)}"]  # fmt: skip
