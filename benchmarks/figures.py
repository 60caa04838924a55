"""What the benchmarks share: a figure with its goal, facts about this machine, commands that are timed, a table."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass
class Figure:
    """One figure: what was measured each time, in `unit`, and what it should reach."""

    name: str
    values: list[float]
    unit: str
    goal: str = ""

    @property
    def median(self) -> float:
        """The figure that is reported."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        spread = (
            f" ({min(self.values):.3g} to {max(self.values):.3g} in {len(self.values)})" if len(self.values) > 1 else ""
        )
        return f"{self.median:.4g} {self.unit}{spread}"


def machine() -> dict[str, object]:
    """Facts about this machine."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.split(":")[1].strip() for line in cpuinfo if "model name" in line)
    return {
        "processor": next(models, platform.processor()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def timed(*command: str, codes: tuple[int, ...] = (0,), environment: dict[str, str] | None = None) -> float:
    """Wall seconds of a command; RuntimeError where it fails."""
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - begin
    if done.returncode not in codes:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return seconds


def table(figures: list[Figure]) -> str:
    """The figures as a table in Markdown."""
    lines = ["| figure | measured | goal |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {figure.name} | {figure} | {figure.goal or 'none'} |" for figure in figures)])


def report(facts: dict[str, object], figures: list[Figure], *more: str, as_json: bool) -> None:
    """Print what was measured, and `more` below the table."""
    if as_json:
        print(json.dumps({"machine": facts, "figures": [asdict(figure) for figure in figures]}, indent=1))
        return
    print("; ".join(f"{key} {value}" for key, value in facts.items()), "\n")
    print(table(figures))
    for part in more:
        print(f"\n{part}")
