"""Run one job again elsewhere and compare product and measurements bit for bit with what is recorded."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from campaign.cli.status import find_campaign
from campaign.examine import Reproduction, reproduce
from campaign.outcome import EXIT_DONE, EXIT_FOUND

EPILOG = """The campaign itself is not touched. All ranks of the job run on this machine.
exit codes: 0 identical, 6 something differs"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("job", help="name (r0001/mock_z1.000), number, or realization=1,redshift=1.0")
    parser.add_argument("--into", type=Path, metavar="DIR", help="keep the new product below this directory")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign reproduce`."""
    directory = find_campaign(arguments.campaign).root
    if arguments.into is not None:
        found = reproduce(directory, arguments.job, arguments.into.absolute())
    else:
        with tempfile.TemporaryDirectory(prefix="campaign-reproduce-") as scratch:
            found = reproduce(directory, arguments.job, Path(scratch))
    print(json.dumps(found.to_json()) if arguments.json else _words(found, kept=arguments.into is not None))
    return EXIT_DONE if found.identical else EXIT_FOUND


def _words(found: Reproduction, *, kept: bool) -> str:
    where = f"\nthe new product is below {found.directory}" if kept else ""
    if found.identical:
        return f"{found.name}: identical, bit for bit{where}"
    return "\n".join([f"{found.name}: not the same", *(f"  {words}" for words in found.differences)]) + where
