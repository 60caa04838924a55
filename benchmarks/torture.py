"""A campaign under kill -9, as large as you like: python benchmarks/torture.py [--jobs 40000] [--kills 200] [--json]

Coordinators die half of the time at named points and half at any time, workers and slots all along; poisoned and hanging
jobs are mixed in, projections are deleted and damaged between two lives, a reader polls. Every figure after the kills must
be zero.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from figures import Figure, machine, scripted_environment
from figures import report as print_report

from campaign.testing.torture import Torture

REDSHIFTS = 20


def main() -> int:
    """Exit status 0 where nothing was lost and nothing is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=40_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--poisoned", type=int, default=90)
    parser.add_argument("--seconds", type=float, default=0.03, help="time of a job: kills must not outlast the jobs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="leave the campaign in this directory")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    facts = machine()
    os.environ.update(scripted_environment())
    with tempfile.TemporaryDirectory() as scratch:
        directory = chosen.keep or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        report = Torture(
            directory, chosen.jobs // REDSHIFTS, REDSHIFTS, chosen.kills, chosen.poisoned, chosen.seed,
            seconds=chosen.seconds, shortest_life_s=2.5, longest_life_s=7.5, peace_s=1.5,
            tell=lambda words: print(words, file=sys.stderr, flush=True),
        ).run()  # fmt: skip
    kills, points = report.kills, report.at_points
    figures = [
        Figure("coordinators killed", [kills.get("coordinator", 0)], "", at_least=chosen.kills),
        Figure(
            f"of these at named points of commit, flush and resume, {len(points)} of them", [sum(points.values())], ""
        ),
        Figure("workers and slots killed", [sum(n for what, n in kills.items() if what != "coordinator")], ""),
        Figure("jobs that were reported complete and are not", [len(report.lost)], "", at_most=0),
        Figure("wrong cells, wrong final states", [len(report.wrong)], "", at_most=0),
        Figure("restarts that failed", [len(report.failed_restarts)], "", at_most=0),
        Figure("reads of the dataset meanwhile", [report.reads], ""),
        Figure("inconsistent ones", [len(report.inconsistent_reads)], "", at_most=0),
        Figure("duration", [report.seconds / 60], "min"),
    ]
    damage = ", ".join(f"{n} {what}" for what, n in sorted(report.damage.items()))
    wrong = [
        str(what)
        for found in (report.lost, report.wrong, report.failed_restarts, report.inconsistent_reads)
        for what in found
    ]
    told = f"{report.jobs:,} jobs, {chosen.poisoned} of them poisoned. Done to files between two lives: {damage}."
    print_report(facts, figures, told, *wrong[:40], as_json=chosen.json)
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
