"""Sweeps of programs: python benchmarks/sweeps.py [--cases N] [--circuits N] [--repeats N] [--json]

What a case of `true` costs over the spawning of its process, and how busy ngspice keeps the cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from figures import Figure, Run, machine, records_of, report

SPAWN = """
import subprocess, sys, time
begin = time.perf_counter()
for _ in range(int(sys.argv[1])):
    subprocess.run(["true"], stdin=subprocess.DEVNULL, check=True)
print(time.perf_counter() - begin)
"""
TRUE = """
campaign: {{name: {name}}}
design: {{parameters: {{n: int:1:{cases}}}}}
generator: command
strategy: {{overrides: {{command: {{argv: ["true"]}}}}}}
outputs: {{base_path: {root}/campaigns}}
"""
SIDES = 2
"""Processes side by side, as there are slots on two cores."""


def spawned_s(count: int) -> float:
    """Wall seconds of so many bare processes, by two loops side by side."""
    begin = time.perf_counter()
    loops = [
        subprocess.Popen([sys.executable, "-c", SPAWN, str(count // SIDES)], stdout=subprocess.DEVNULL)
        for _ in range(SIDES)
    ]
    if any(loop.wait() for loop in loops):
        raise RuntimeError("the bare processes failed")
    return time.perf_counter() - begin


def swept_s(root: Path, name: str, cases: int) -> float:
    """Wall seconds of a sweep of `true`, from the command to its end."""
    path = root / f"{name}.yaml"
    path.write_text(TRUE.format(name=name, cases=cases, root=root))
    begin = time.perf_counter()
    Run(path, root / "campaigns" / f"v1.0_{name}").finish()
    return time.perf_counter() - begin


class Cores:
    """Looks at the cores of this machine every now and then, until closed."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int, int]] = []  # (time, idle, all), jiffies of all cores
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            jiffies = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
            self._seen.append((time.time(), jiffies[3] + jiffies[4], sum(jiffies)))

    def busy(self, begin: float, end: float) -> float:
        """Percentage of the cores' time in which they did something, waiting for the disk not included."""
        self._over.set()
        inside = [entry for entry in self._seen if begin <= entry[0] <= end]
        (_, idle, whole), (_, idle_then, whole_then) = inside[0], inside[-1]
        return 100 * (1 - (idle_then - idle) / (whole_then - whole))


def circuits(root: Path, name: str, count: int) -> tuple[float, float, float]:
    """(busy cores in percent; part of the slots' time in which ngspice itself ran, in percent; cases a second) of an RC sweep."""
    path = root / f"{name}.yaml"
    subprocess.run(
        [sys.executable, "-m", "campaign", "init", path, "--template", "spice"], check=True, stdout=subprocess.DEVNULL
    )
    values = {
        "campaign.name": name, "outputs.base_path": str(root / "campaigns"), "outputs.artifacts": "null", "resources.slots": SIDES,
        "design.parameters.R.values": "1000:5000:10", "design.parameters.C.values": f"log:1e-12:1e-9:{count // 10}",
    }  # fmt: skip
    settings = [f"--set={key}={value}" for key, value in values.items()]
    cores = Cores()
    subprocess.run(
        [sys.executable, "-m", "campaign.run", path, "--plain", "--dashboard", "off", *settings],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    records = records_of(root / "campaigns" / f"v1.0_{name}")
    begin = min(record.started_ms for record in records) / 1000
    end = max(record.started_ms / 1000 + record.duration_s for record in records)
    inside = sum(record.phases_s["run"] for record in records)
    return cores.busy(begin, end), 100 * inside / (SIDES * (end - begin)), len(records) / (end - begin)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--cases", type=int, default=10_000, help="of `true`")
    parser.add_argument("--circuits", type=int, default=1_000, help="of ngspice")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    facts = machine()
    spawn, whole, busy, simulating, rate = [], [], [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        for n in range(arguments.repeats):
            spawn.append(1000 * spawned_s(arguments.cases) / arguments.cases)
            whole.append(1000 * swept_s(Path(scratch), f"true{n}", arguments.cases) / arguments.cases)
            for values, value in zip(
                (busy, simulating, rate), circuits(Path(scratch), f"rc{n}", arguments.circuits), strict=True
            ):
                values.append(value)
    over = [all_of_it - bare for all_of_it, bare in zip(whole, spawn, strict=True)]
    figures = [
        Figure(f"a bare process, {SIDES} side by side", spawn, "ms"),
        Figure(f"a case of `true` in a sweep of {arguments.cases:,}, over that", over, "ms", at_most=3),
        Figure(f"{arguments.circuits:,} circuits in ngspice: both cores busy, from the first to the last", busy, "%"),
        Figure("in ngspice itself", simulating, "%"),
        Figure("circuits a second", rate, ""),
    ]
    report(facts, figures, as_json=arguments.json)


if __name__ == "__main__":
    main()
