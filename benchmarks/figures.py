"""What the benchmarks share: a figure with its goal, facts about this machine, commands that are timed, a table."""

from __future__ import annotations

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BUSY = (
    "Both cores are busy with Python; half of the work is the coordinator's, which has one core at most. "
    "Each job is written to a journal, an artifact, the ledger and the dataset"
)
IDLE = """
campaign: {{name: {name}}}
science: {{realizations: {realizations}, redshifts: [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0]}}
generator: idle
strategy: {{overrides: {{idle: {{seconds: {seconds}, spread: {spread}}}}}}}
resources: {{slots: {slots}}}
outputs: {{base_path: {root}/campaigns}}
"""


@dataclass
class Figure:
    """One figure: what was measured each time, in `unit`, and what it should reach."""

    name: str
    values: list[float]
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    why: str = ""  # why it does not reach that, where it does not

    @property
    def median(self) -> float:
        """The figure that is reported."""
        return statistics.median(self.values)

    @property
    def goal(self) -> str:
        """What it should reach, and whether and why it does not."""
        if self.at_most is None and self.at_least is None:
            return "none"
        bound = f"<= {number(self.at_most)}" if self.at_most is not None else f">= {number(self.at_least)}"
        reached = self.median <= self.at_most if self.at_most is not None else self.median >= self.at_least
        missed = "" if reached else f": not reached. {self.why}".rstrip(". ")
        return f"{bound} {self.unit}".rstrip() + missed

    def __str__(self) -> str:
        low, high, times = number(min(self.values)), number(max(self.values)), len(self.values)
        spread = f" ({low} to {high} in {times})" if times > 1 else ""
        return f"{number(self.median)} {self.unit}".rstrip() + spread


def number(value: float) -> str:
    """Three digits of a number, all of those before the point, and thousands set apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> dict[str, object]:
    """Facts about this machine."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.split(":")[1].strip() for line in cpuinfo if "model name" in line)
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "processor": next(models, platform.processor()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "file_system": _file_system(tempfile.gettempdir()),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "commit": head.stdout.strip() or "unknown",
    }


def _file_system(path: str) -> str:
    """Type of the file system on which campaigns are made; one in memory makes nothing durable."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(mount, kind) for mount, kind in mounts if Path(path).is_relative_to(mount)]
    return max(above, key=lambda entry: len(entry[0]), default=("", "unknown"))[1]


def timed(*command: str, codes: tuple[int, ...] = (0,), environment: dict[str, str] | None = None) -> float:
    """Wall seconds of a command; RuntimeError where it fails."""
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - begin
    if done.returncode not in codes:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return seconds


class Run:
    """A coordinator at work on the campaign."""

    def __init__(self, path: Path, directory: Path, dashboard: str = "off") -> None:
        from campaign.layout import Layout

        self._progress, self._journals = directory / "metadata" / "progress.json", Layout(directory).journals
        self._progress.unlink(missing_ok=True)
        command = [sys.executable, "-m", "campaign.run", str(path), "--plain", "--dashboard", dashboard]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def ended(self) -> int:
        """Attempts that ended in this run."""
        try:
            return int(json.loads(self._progress.read_text())["done_this_run"])
        except (OSError, ValueError, KeyError):
            return 0

    def wait_for_first(self) -> float:
        """Seconds until an attempt has ended, as the journal of its worker tells at once."""
        return self._wait(lambda: any(b'{"end"' in path.read_bytes() for path in self._journals.glob("*.jsonl")))

    def wait_for(self, ended: int) -> float:
        """Seconds until so many attempts have ended, as `progress.json` tells every other second."""
        return self._wait(lambda: self.ended() >= ended)

    def _wait(self, there: Callable[[], bool]) -> float:
        """Seconds until something is there; RuntimeError where the run ends before."""
        begin = time.monotonic()
        while not there():
            if self.process.poll() is not None:
                raise RuntimeError(f"the run ended:\n{self.process.communicate()[1][-2000:]}")
            time.sleep(0.05)
        return time.monotonic() - begin

    def finish(self) -> None:
        """Wait until it has ended; RuntimeError where it did not end well."""
        said = self.process.communicate()[1]
        if self.process.returncode:
            raise RuntimeError(f"the run ended with {self.process.returncode}:\n{said[-2000:]}")

    def stop(self) -> float:
        """Let it drain and end; its peak memory in MiB."""
        self.process.send_signal(signal.SIGTERM)
        return self.peak()

    def peak(self) -> float:
        """Its peak memory in MiB, once it has ended."""
        assert self.process.stderr is not None
        self.process.stderr.read()
        _, status, used = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return used.ru_maxrss / 1024


def records_of(directory: Path) -> list[Any]:
    """Records of a campaign that has run, in the order in which they began."""
    from campaign.adapters.artifacts import ArtifactStore

    store = ArtifactStore(directory)
    found = [record for number in store.numbers() for record in store.read(number).records]
    return sorted(found, key=lambda record: record.started_ms)


def warm_ms(records: list[Any], each: int) -> int:
    """When each slot had begun so many jobs, and then one more, ms since 1970-01-01 UTC."""
    of_slot: dict[int, list[int]] = {}
    for record in records:
        of_slot.setdefault(record.pid, []).append(record.started_ms)
    return max(starts[each] for starts in of_slot.values())


def idle_config(root: Path, name: str, jobs: int, slots: int, *, seconds: float = 0.0, spread: float = 0.0) -> Path:
    """The configuration of a campaign of jobs that sleep, or do nothing; they measure a number and make no product."""
    path = root / f"{name}.yaml"
    path.write_text(IDLE.format(
        name=name, realizations=jobs // 10, seconds=seconds, spread=spread, slots=slots, root=root
    ))  # fmt: skip
    return path


def scripted_environment() -> dict[str, str]:
    """Variables by which the generators of the tests are found."""
    plugins = str(Path(__file__).parents[1] / "tests" / "plugins")
    return {"PYTHONPATH": os.pathsep.join([plugins, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}


def table(figures: list[Figure]) -> str:
    """The figures as a table in Markdown."""
    lines = ["| figure | measured | goal |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {figure.name} | {figure} | {figure.goal} |" for figure in figures)])


def report(facts: dict[str, object], figures: list[Figure], *more: str, as_json: bool) -> None:
    """Print what was measured, and `more` in Markdown below the table."""
    if as_json:
        print(json.dumps({"machine": facts, "figures": [asdict(figure) for figure in figures], "more": more}, indent=1))
        return
    print("\n\n".join([in_words(facts), *([table(figures)] if figures else []), *more]))


def in_words(facts: dict[str, object]) -> str:
    """Facts about the machine in one line."""
    return "; ".join(f"{key} {value}" for key, value in facts.items())
