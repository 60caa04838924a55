"""Many slots with short jobs: python benchmarks/slots.py [--slots N] [--rounds N] [--json]

Jobs of 1 s +- 50 % that sleep, on slots of which a machine has many more than cores. Busy is the time of the jobs over
that of the slots, from the moment when each slot has had a job until no job is left to begin.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from figures import Figure, Run, idle_config, machine, records_of, report, scripted_environment

SECONDS, SPREAD = 1.0, 0.5


def busy(records: list, slots: int) -> float:
    """Percentage of the slots' time in which a job ran."""
    begins = sorted(record.started_ms / 1000 for record in records)
    first: dict[int, float] = {}
    for record in records:
        first.setdefault(record.pid, record.started_ms / 1000)
    if len(first) < slots:
        raise RuntimeError(f"only {len(first)} of {slots} slots had a job: more rounds are needed")
    begin, end = max(first.values()), begins[-1]
    spent = sum(
        max(0.0, min(end, record.started_ms / 1000 + record.duration_s) - max(begin, record.started_ms / 1000))
        for record in records
    )
    return 100 * spent / (slots * (end - begin))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--slots", type=int, default=256, help="slots side by side")
    parser.add_argument("--rounds", type=int, default=150, help="jobs for each slot")
    arguments = parser.parse_args()
    os.environ.update(scripted_environment())
    facts = machine()
    with tempfile.TemporaryDirectory() as scratch:
        jobs = arguments.slots * arguments.rounds
        path = idle_config(Path(scratch), "slots", jobs, arguments.slots, seconds=SECONDS, spread=SPREAD)
        directory = Path(scratch) / "campaigns" / "v1.0_slots"
        Run(path, directory).finish()
        share = busy(records_of(directory), arguments.slots)
    figure = Figure(f"{arguments.slots} slots with jobs of 1 s +- 50 %: busy", [share], "%", at_least=97)
    report(facts, [figure], as_json=arguments.json)


if __name__ == "__main__":
    main()
