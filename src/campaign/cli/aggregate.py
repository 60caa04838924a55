"""Summarise a measured quantity over all jobs: its statistics, and the parameters at both ends."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from campaign.cli.status import find_campaign
from campaign.outcome import EXIT_DONE

EPILOG = "example: campaign aggregate campaigns/v1.0_rc --metric objective"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("--metric", required=True, metavar="NAME", help="a variable of the dataset")
    parser.add_argument("--show", type=int, default=5, metavar="N", help="jobs to list at either end (default: 5)")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign aggregate`."""
    from campaign.analyse.metric import metric_of, summarise
    from campaign.analyse.results import open_results

    directory = find_campaign(arguments.campaign).root
    results = open_results(directory)
    found = summarise(metric_of(results, arguments.metric, directory), arguments.show, results["status"].dims)
    if arguments.json:
        print(json.dumps(asdict(found)))
        return EXIT_DONE
    unit = "" if found.units == "1" else f" {found.units}"
    print(f"{found.metric} of {found.completed} of {found.jobs} {found.of}:")
    for word in ("minimum", "maximum", "mean", "std", "median"):
        print(f"  {word:<8} {getattr(found, word):.6g}{unit}")
    for word, jobs in (("lowest", found.lowest), ("highest", found.highest)):
        print(f"{word}:")
        for job in jobs:
            print(
                "  "
                + ", ".join(
                    f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}" for key, value in job.items()
                )
            )
    return EXIT_DONE
