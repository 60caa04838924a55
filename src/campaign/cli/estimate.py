"""Estimate what a campaign costs: wall time on its slots, core hours and storage, from measured jobs where there are any."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from campaign.assemble import slots_asked_for
from campaign.cli.arguments import add_settings
from campaign.core.lifecycle import estimate
from campaign.core.words import duration
from campaign.layout import Layout
from campaign.opening import read_config
from campaign.outcome import EXIT_DONE
from campaign.status import read_measured_cost


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("config", type=Path, help="the campaign's YAML, or its directory")
    add_settings(parser)
    parser.add_argument(
        "--seconds-per-job", type=_positive, metavar="S", help="use this time for a job instead of a measured one"
    )
    parser.add_argument("--bytes-per-job", type=_positive, metavar="B", help="use this size of a product likewise")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError("a number above 0")
    return number


def command(arguments: argparse.Namespace) -> int:
    """`campaign estimate`."""
    config, _ = read_config(arguments.config, arguments.settings)
    jobs = 1
    for axis in config.axes:
        jobs *= len(axis.values)
    seconds, size, measured = read_measured_cost(Layout(Path(config.directory)))
    seconds = arguments.seconds_per_job or seconds
    size = arguments.bytes_per_job or size
    source = f"{measured} jobs of this campaign" if measured else "nothing measured yet"
    if arguments.seconds_per_job:
        source = "--seconds-per-job"
    shape, slots = config.resources.shape, slots_asked_for(config)
    cost = estimate(jobs, seconds, size, slots, shape.ranks * shape.threads, config.execution.timeout_s)
    if arguments.json:
        print(json.dumps({"jobs": jobs, "based_on": source, **cost}))
        return EXIT_DONE
    print(f"{jobs} jobs in {slots} slots of {shape} (from {source})")
    if cost["wall_s"] is None:
        print(f"at most {duration(cost['wall_limit_s'])}, if every job took its whole time-out")
        print("run a few jobs first, or give --seconds-per-job, for a better estimate")
    else:
        print(f"wall time {duration(cost['wall_s'])}, {cost['core_hours']:.2f} core hours")
    if cost["storage_bytes"] is not None:
        print(f"storage {cost['storage_bytes'] / 2**30:.2f} GiB of products")
    return EXIT_DONE
