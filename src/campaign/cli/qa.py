"""Check a campaign: what is missing, which members stand out, whether means are what is expected; and its statistics."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from campaign.outcome import EXIT_DONE, EXIT_FOUND

EPILOG = """Written below the campaign's directory: qa/validation_reports/*.json (verdict.json first), qa/summary_plots/*.png, and
statistics.zarr with mean, covariance and correlation of every measured array. Exit code 6 where a check fails.
example: campaign qa campaigns/v1.0_mocks"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument(
        "--over", default="realization", metavar="AXIS", help="the axis of members (default: realization)"
    )
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign qa`."""
    from campaign.analyse.quality import Verdict
    from campaign.opening import read_config
    from campaign.qa import assess

    config, generator = read_config(arguments.campaign)
    found = assess(config, generator, arguments.over)
    if arguments.json:
        print(json.dumps(found.to_json()))
    else:
        for check in found.checks:
            print(f"{check.verdict:>4}  {check.name}: {check.words}")
        print(f"{config.directory}: {found.verdict}; reports in {found.reports}, {len(found.pictures)} pictures")
        if found.statistics is not None:
            print(f'xr.open_zarr("{found.statistics}") has mean, covariance and correlation')
    return EXIT_FOUND if found.verdict is Verdict.FAIL else EXIT_DONE
