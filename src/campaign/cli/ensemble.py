"""Statistics of an ensemble: mean, standard deviation, percentiles, confidence by bootstrap, and whether there are enough members."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

from campaign import durable
from campaign.cli.pictures import add_plot_argument, draw
from campaign.cli.shares import share
from campaign.cli.status import find_campaign
from campaign.errors import Code, UsageError
from campaign.outcome import EXIT_DONE

EPILOG = """Written to statistics.json in the campaign's directory.
example: campaign ensemble campaigns/v1.0_mocks --metric n_galaxies --tolerance 0.01"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("--metric", action="append", metavar="NAME", help="a variable (default: each that is a number)")
    parser.add_argument(
        "--over", default="realization", metavar="AXIS", help="the axis of members (default: realization)"
    )
    parser.add_argument("--confidence", type=share, default=0.95, help="of the interval of the mean (default: 0.95)")
    parser.add_argument("--tolerance", type=share, default=0.05, help="relative standard error that is enough")
    add_plot_argument(parser)
    parser.add_argument("--json", action="store_true", help="report as JSON")


def _known(path: Path, report: dict[str, Any]) -> dict[str, Any]:
    """The metrics of an earlier report that was made in the same way."""
    try:
        before = json.loads(path.read_text())
        same = all(before[key] == report[key] for key in ("over", "confidence", "tolerance"))
        return dict(before["metrics"]) if same else {}
    except (OSError, ValueError, KeyError):
        return {}


def command(arguments: argparse.Namespace) -> int:
    """`campaign ensemble`."""
    from campaign.analyse import figures
    from campaign.analyse.members import describe

    directory = find_campaign(arguments.campaign).root
    try:
        report = describe(
            directory, arguments.metric, arguments.over, confidence=arguments.confidence, tolerance=arguments.tolerance
        )
    except ValueError as error:
        raise UsageError(Code.CONFIG_INVALID, str(error), action="name an axis: --over AXIS") from error
    path = directory / "statistics.json"
    durable.write_json(path, {**report, "metrics": {**_known(path, report), **report["metrics"]}})
    for name, entries in report["metrics"].items():
        if any("convergence" in entry for entry in entries):
            draw(
                arguments.plot,
                directory,
                f"ensemble_{name}",
                partial(figures.ensemble, entries, name, arguments.tolerance),
            )
    if arguments.json:
        print(json.dumps(report))
        return EXIT_DONE
    for name, entries in report["metrics"].items():
        for entry in entries:
            at = ", ".join(f"{key}={value}" for key, value in entry["at"].items())
            print(f"{name}{f' at {at}' if at else ''}: {entry['words']}")
    print(f"written: {directory / 'statistics.json'}")
    return EXIT_DONE
