"""Show everything that is recorded of one job: its attempts, what they said, the decisions about it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from campaign.cli.status import find_campaign
from campaign.outcome import EXIT_DONE

EPILOG = """A job is named by its name, its number, or its parameters.
examples:
  campaign logs my.yaml r0003/mock_z1.000
  campaign logs my.yaml 17
  campaign logs my.yaml realization=3,redshift=1.0 --brief"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("job", help="the job's name, its number, or PARAMETER=VALUE,...")
    parser.add_argument("--brief", action="store_true", help="first lines only, no tracebacks")
    parser.add_argument("--json", action="store_true", help="the records as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign logs`."""
    from campaign.analyse.story import attempts_in_words
    from campaign.examine import story
    from campaign.wire import encode

    directory = find_campaign(arguments.campaign).root
    found = story(directory, arguments.job)
    if arguments.json:
        print(
            json.dumps(
                {"job": found.job, "name": found.name, "records": [json.loads(encode(r)) for r in found.records]}
            )
        )
        return EXIT_DONE
    print(f"{found.name} (job {found.job}): {found.state.word}")
    print("\n".join(attempts_in_words(found.records, whole=not arguments.brief)) or "it was never tried")
    print(f"what jobs printed: {directory}/logs/")
    return EXIT_DONE
