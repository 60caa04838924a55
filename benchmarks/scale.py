"""A million jobs planned, half of them run, looked at, resumed and finished: python benchmarks/scale.py [--jobs N] [--json]

The jobs measure and make no product; each is recorded durably and has its cells in the dataset. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import BUSY, Figure, Run, idle_config, machine, report, scripted_environment, timed

PLAN = """
import json, resource, sys, time
from pathlib import Path
from campaign import opening
begin = time.perf_counter()
plan = opening.lay_out(*opening.read_config(Path(sys.argv[1])))
print(json.dumps([time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def measure(work: Path, jobs: int) -> list[Figure]:
    """All figures of a campaign of `jobs` jobs."""
    path, directory = idle_config(work, "scale", jobs, 2), work / "campaigns" / "v1.0_scale"
    planned = [json.loads(subprocess.check_output([sys.executable, "-c", PLAN, str(path)])) for _ in range(3)]
    first = Run(path, directory)
    first.wait_for(1)
    already = first.ended()
    took = first.wait_for(jobs // 2)
    rate, memory = (first.ended() - already) / took, first.stop()
    files = sum(len(names) for _, _, names in os.walk(directory))
    status = [timed(sys.executable, "-m", "campaign", "status", str(directory)) for _ in range(5)]
    resumed = []
    for _ in range(3):
        begin, again = time.monotonic(), Run(path, directory)
        again.wait_for_first()
        resumed.append((time.monotonic() - begin, again.stop()))
    completed = _completed(directory)
    memory = max(memory, *(mebibytes for _, mebibytes in resumed), Run(path, directory).peak())
    if _completed(directory) != jobs:
        raise RuntimeError(f"{_completed(directory):,} of {jobs:,} jobs are completed")
    return [
        Figure(f"plan of {jobs:,} jobs", [seconds for seconds, _ in planned], "s", at_most=15),
        Figure("its peak memory", [mebibytes for _, mebibytes in planned], "MiB", at_most=1500),
        Figure("jobs a second, each recorded durably and in the dataset", [rate], "jobs/s", at_least=10_000, why=BUSY),
        Figure("most memory that a coordinator took until all were done", [memory], "MiB", at_most=1500),
        Figure("files for 1,000 jobs", [1000 * files / completed], "", at_most=12),
        Figure("`campaign status`, half done", status, "s", at_most=1),
        Figure("resumed, half done: until the first job has ended", [seconds for seconds, _ in resumed], "s", at_most=15),
    ]  # fmt: skip


def _completed(directory: Path) -> int:
    """Jobs that are done."""
    told = subprocess.check_output([sys.executable, "-m", "campaign", "status", str(directory), "--json"])
    return int(json.loads(told)["counts"]["completed"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="jobs of the campaign")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    os.environ.update(scripted_environment())
    facts = machine()
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(Path(scratch), arguments.jobs)
    report(facts, figures, as_json=arguments.json)


if __name__ == "__main__":
    main()
