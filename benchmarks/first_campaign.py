"""The figures of the first campaign, measured on this machine: python benchmarks/first_campaign.py [--json]

Each figure is printed with what it should reach; the exit status tells nothing about speed. `--small` takes seconds, leaves
the mocks out, and exists so that the tests can prove this program alive.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from figures import Figure, machine, report, scripted_environment, timed

REPOSITORY = Path(__file__).parents[1]
QUICKSTART = REPOSITORY / "configs" / "quickstart.yaml"
NOOP = """
campaign: {{name: noop}}
science: {{realizations: {realizations}, redshifts: [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0]}}
generator: scripted
outputs: {{base_path: {base}}}
"""


def repeated(repeats: int, measure: Callable[[], float]) -> list[float]:
    """Measure so often."""
    return [measure() for _ in range(repeats)]


def first_campaign(work: Path) -> list[Figure]:
    """The quickstart from nothing (no compilation cache), then started again."""
    settings = ["--set", f"outputs.base_path={work}", "--set", f"strategy.defaults.simulation_root={work}/inputs"]
    command = [sys.executable, "-m", "campaign.run", str(QUICKSTART), "--dashboard", "off", "--plain", *settings]
    cold = timed(*command)
    again = repeated(5, lambda: timed(*command))
    return [
        Figure("quickstart, 24 mocks, nothing compiled before", [cold], "s", at_most=90),
        Figure("second start of the finished campaign", again, "s", at_most=3),
    ]


def command_line(small: bool) -> list[Figure]:
    """Start-up of the commands."""
    seconds = repeated(3 if small else 11, lambda: timed(sys.executable, "-m", "campaign", "--help"))
    return [Figure("campaign --help", seconds, "s", at_most=0.3)]


def plan(work: Path, small: bool) -> list[Figure]:
    """A plan of 100,000 jobs in a process of its own."""
    realizations = 100 if small else 10_000
    path = work / "plan.yaml"
    path.write_text(NOOP.format(realizations=realizations, base=work).replace("scripted", "galaxies"))
    program = (
        "import json, resource, time\nfrom pathlib import Path\nfrom campaign import opening\n"
        f"begin = time.perf_counter()\nplan = opening.lay_out(*opening.read_config(Path({str(path)!r})))\n"
        "assert sum(len(jobs) for _, jobs in plan.batches()) == plan.size\n"
        "print(json.dumps([plan.size, time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    size, seconds, mebibytes = json.loads(told)
    return [
        Figure(f"plan of {size:,} jobs", [seconds], "s", at_most=5),
        Figure(f"peak memory of a plan of {size:,} jobs", [mebibytes], "MiB", at_most=500),
    ]


def engine(work: Path, small: bool) -> list[Figure]:
    """No-op jobs, each with its product, its journal, its artifact and its cells, on two slots."""
    path = work / "noop.yaml"
    realizations = 20 if small else 1000
    path.write_text(NOOP.format(realizations=realizations, base=work))
    os.environ.update(scripted_environment())
    command = [sys.executable, "-m", "campaign.run", str(path), "--dashboard", "off", "--plain"]
    seconds = timed(*command)
    jobs = realizations * 10
    return [
        Figure(
            f"{jobs:,} no-op jobs with product, record and cell, start and stop included", [jobs / seconds], "jobs/s"
        )
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--small", action="store_true", help="small sizes: shows that it works, not how fast")
    arguments = parser.parse_args()
    facts = machine()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        figures = [*command_line(arguments.small), *plan(work, arguments.small)]
        figures += engine(work, arguments.small)
        if not arguments.small:
            figures += first_campaign(work)
    facts["peak_child_mib"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    report(facts, figures, as_json=arguments.json)


if __name__ == "__main__":
    main()
