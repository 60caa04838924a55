"""Write the report of a campaign: one HTML page that needs nothing else, with its states, rates, failures, products and provenance."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from campaign.cli.status import find_campaign
from campaign.outcome import EXIT_DONE

EPILOG = """Each run writes it when it ends, as qa/report.html in the campaign's directory; this writes it anew, also while the campaign runs,
then as of the latest flush of the dataset. Pictures in qa/summary_plots (campaign ensemble --plot and its kin) become part of it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("--json", action="store_true", help="print where it lies as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign report`."""
    from campaign.examine import write_report

    path = write_report(find_campaign(arguments.campaign).root)
    print(json.dumps({"report": str(path)}) if arguments.json else f"{path}: open it in a browser")
    return EXIT_DONE
