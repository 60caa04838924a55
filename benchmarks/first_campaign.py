"""The figures of the first campaign, measured on this machine: python benchmarks/first_campaign.py [--json]

Each figure is printed with what it should reach; the exit status tells nothing about speed. `--small` takes seconds, leaves
the mocks out, and exists so that the tests can prove this program alive.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
QUICKSTART = REPOSITORY / "configs" / "quickstart.yaml"
NOOP = """
campaign: {{name: noop}}
science: {{realizations: {realizations}, redshifts: [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0]}}
generator: scripted
outputs: {{base_path: {base}}}
"""


@dataclass
class Figure:
    """One measured figure."""

    name: str
    value: float
    unit: str
    goal: str


def machine() -> dict[str, object]:
    """Facts about this machine."""
    return {
        "processor": next(
            (
                line.split(":")[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if "model name" in line
            ),
            platform.processor(),
        ),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def timed(*command: str, codes: tuple[int, ...] = (0,)) -> float:
    """Wall seconds of a command; RuntimeError where it fails."""
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode not in codes:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return seconds


def median_of(repeats: int, measure: Callable[[], float]) -> float:
    """Median of repeated measurements."""
    return statistics.median(measure() for _ in range(repeats))


def first_campaign(work: Path) -> list[Figure]:
    """The quickstart from nothing (no compilation cache), then started again."""
    settings = ["--set", f"outputs.base_path={work}", "--set", f"strategy.defaults.simulation_root={work}/inputs"]
    command = [sys.executable, "-m", "campaign.run", str(QUICKSTART), "--dashboard", "off", "--plain", *settings]
    cold = timed(*command)
    again = median_of(5, lambda: timed(*command))
    return [
        Figure("quickstart, 24 mocks, nothing compiled before", cold, "s", "< 90"),
        Figure("second start of the finished campaign", again, "s", "< 3"),
    ]


def command_line(small: bool) -> list[Figure]:
    """Start-up of the commands."""
    seconds = median_of(3 if small else 11, lambda: timed(sys.executable, "-m", "campaign", "--help"))
    return [Figure("campaign --help", seconds, "s", "< 0.3")]


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
        Figure(f"plan of {size:,} jobs", seconds, "s", "< 5 for 100,000"),
        Figure(f"peak memory of a plan of {size:,} jobs", mebibytes, "MiB", "< 500 for 100,000"),
    ]


def engine(work: Path, small: bool) -> list[Figure]:
    """No-op jobs, each with its product, its journal, its artifact and its cells, on two slots."""
    path = work / "noop.yaml"
    realizations = 20 if small else 1000
    path.write_text(NOOP.format(realizations=realizations, base=work))
    os.environ["PYTHONPATH"] = str(REPOSITORY / "tests" / "plugins")
    command = [sys.executable, "-m", "campaign.run", str(path), "--dashboard", "off", "--plain"]
    seconds = timed(*command)
    jobs = realizations * 10
    return [
        Figure(
            f"{jobs:,} no-op jobs with product, record and cell, start and stop included", jobs / seconds, "jobs/s", "-"
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
    if arguments.json:
        print(json.dumps({"machine": facts, "figures": [asdict(f) for f in figures]}, indent=1))
        return
    print("; ".join(f"{key} {value}" for key, value in facts.items()))
    width = max(len(f.name) for f in figures)
    for figure in figures:
        print(f"{figure.name:<{width}}  {figure.value:>10.3f} {figure.unit:<7} goal {figure.goal}")


if __name__ == "__main__":
    main()
