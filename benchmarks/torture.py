"""A campaign under kill -9, as large as you like: python benchmarks/torture.py [--jobs 40000] [--kills 200] [--json]

Coordinators die half of the time at named points and half at any time, workers and slots all along; poisoned and hanging
jobs are mixed in, projections are deleted and damaged between two lives, a reader polls. Every figure after the kills must
be zero.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from campaign.testing.torture import Torture

REPOSITORY = Path(__file__).parents[1]
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
    plugins = str(REPOSITORY / "tests" / "plugins")
    os.environ["PYTHONPATH"] = os.pathsep.join([plugins, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    with tempfile.TemporaryDirectory() as scratch:
        directory = chosen.keep or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        report = Torture(
            directory, chosen.jobs // REDSHIFTS, REDSHIFTS, chosen.kills, chosen.poisoned, chosen.seed,
            seconds=chosen.seconds, shortest_life_s=2.5, longest_life_s=7.5, peace_s=1.5,
            tell=lambda words: print(words, file=sys.stderr, flush=True),
        ).run()  # fmt: skip
    if chosen.json:
        print(json.dumps(report.to_json()))
        return 0 if report.clean else 1
    print(f"{report.jobs} jobs in {report.seconds:.0f} s")
    for word, counts in (
        ("killed", report.kills),
        ("of the coordinators, at", report.at_points),
        ("files", report.damage),
    ):
        print(f"{word}: " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    print(f"{report.reads} reads, {report.absent_reads} before there was a dataset")
    for word in ("lost", "wrong", "failed_restarts", "inconsistent_reads"):
        found = getattr(report, word)
        print(f"{word}: {len(found)}" + "".join(f"\n  {what}" for what in found[:10]))
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
