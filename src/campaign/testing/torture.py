"""A campaign of scripted jobs under kill -9: coordinator, workers and slots die, files are damaged, and nothing may be lost.

The oracle is what jobs are known to give (their seeds decide it), and what a reader saw while all of that went on.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from campaign import crashpoints
from campaign.core.model import State
from campaign.testing import faults

YAML = """
campaign: {{name: torture}}
science: {{realizations: {realizations}, redshifts: {redshifts}}}
generator: scripted
strategy: {{defaults: {{seconds: {seconds}, script: {script}}}}}
execution: {{batch_size: {batch_size}, max_retries: 1, retry_delay_s: 0.05, flush_interval_s: 0.5, timeout_hours: {timeout_hours}}}
resources: {{slots: 2}}
outputs: {{base_path: {base}}}
"""

POISON: Mapping[str, State] = {
    "raise": State.FAILED,
    "fatal": State.FAILED,
    "segfault": State.FAILED,
    "exit": State.FAILED,
    "kill": State.FAILED,
    "hang": State.TIMEOUT,
    "garbage": State.FAILED,
    "no_product": State.FAILED,
    "nan": State.COMPLETED,
}
"""Outcome of every attempt at a poisoned job -> how the job must end."""

POINT_PATIENCE_S = 30.0
"""How long a coordinator may take to reach the point at which it is to die."""

RANDOMLY = (
    "attempt.linked",
    "journal.started",
    "journal.ended",
    "rebuild.created",
    "rebuild.published",
    "freeze.planned",
)
"""Points that a coordinator does not reach in every life; they have their own tests."""


@dataclass
class Report:
    """What happened, and what must be zero."""

    jobs: int
    kills: Counter[str] = field(default_factory=Counter)  # of what -> how often
    at_points: Counter[str] = field(default_factory=Counter)  # named point -> how often a coordinator died there
    damage: Counter[str] = field(default_factory=Counter)  # fault -> how often it was inflicted
    reads: int = 0
    absent_reads: int = 0  # there was no dataset yet
    inconsistent_reads: list[str] = field(default_factory=list)
    failed_restarts: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # jobs that were reported complete and were not any more
    wrong: list[str] = field(default_factory=list)  # cells and states that are not what they must be
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing was lost and nothing is wrong."""
        return not (self.inconsistent_reads or self.failed_restarts or self.lost or self.wrong)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**{k: dict(v) if isinstance(v, Counter) else v for k, v in vars(self).items()}, "clean": self.clean}


@dataclass(frozen=True)
class Torture:
    """How hard it is."""

    directory: Path
    realizations: int
    redshifts: int = 20
    kills: int = 10  # of the coordinator, half of them at named points
    poisoned: int = 9
    seed: int = 1
    seconds: float = 0.0  # of a job
    batch_size: int = 100
    shortest_life_s: float = 1.0
    longest_life_s: float = 5.0
    peace_s: float = 0.5  # between two kills of workers and slots, at least; at most three times as long
    damages: bool = True
    tell: Callable[[str], None] = lambda _: None

    def run(self) -> Report:
        """Kill until enough were killed, let the campaign end, and look at everything."""
        begin, report = time.monotonic(), Report(self.realizations * self.redshifts)
        stream = random.Random(self.seed)  # noqa: S311 - a script of faults, no secret
        poison = self._poison(stream)
        config = self._write(poison)
        with _reading(self, report, poison):
            while report.kills["coordinator"] < self.kills and self._live(config, stream, report):
                pass
            code = self._start(config, {}).wait()
        if code != _EXIT_FAILED_JOBS:
            report.failed_restarts.append(f"the last run ended with {code}")
        self._check(report, poison)
        report.seconds = time.monotonic() - begin
        return report

    @property
    def root(self) -> Path:
        """The campaign's directory."""
        return self.directory / "campaigns" / "v1.0_torture"

    def _poison(self, stream: random.Random) -> dict[str, str]:
        """Job name -> what each of its attempts does."""
        jobs = stream.sample(range(self.realizations * self.redshifts), self.poisoned)
        kinds = list(POISON)
        return {self._name(job): kinds[n % len(kinds)] for n, job in enumerate(jobs)}

    def _name(self, job: int) -> str:
        return f"r{job // self.redshifts:04d}/mock_z{self._redshift(job % self.redshifts):.3f}"

    def _redshift(self, n: int) -> float:
        return 0.5 + 0.1 * n

    def _write(self, poison: Mapping[str, str]) -> Path:
        path = self.directory / "torture.yaml"
        redshifts = [round(self._redshift(n), 3) for n in range(self.redshifts)]
        script = json.dumps({name: [outcome] for name, outcome in poison.items()})
        path.write_text(YAML.format(
            realizations=self.realizations, redshifts=redshifts, seconds=self.seconds, script=script,
            batch_size=self.batch_size, timeout_hours=2 / 3600, base=self.directory / "campaigns",
        ))  # fmt: skip
        return path

    def _start(self, config: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "campaign.run", str(config), "--plain", "--dashboard", "off"]
        log = (self.directory / "log").open("ab")
        with log:
            return subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, **environment})

    def _live(self, config: Path, stream: random.Random, report: Report) -> bool:
        """One life of a coordinator, from its start to its death; False where it came to its end."""
        point = self._next_point(stream, report)
        life_s = self.shortest_life_s + (self.longest_life_s - self.shortest_life_s) * stream.random()
        count = 1 if point.startswith("recover") else stream.randint(1, 3)
        process = self._start(config, {crashpoints.VARIABLE: f"{point}:{count}"} if point else {})
        ended = self._molest(process, time.monotonic() + (POINT_PATIENCE_S if point else life_s), stream, report)
        if not ended:
            process.kill()
            process.wait()
        code = process.returncode
        if code == -signal.SIGKILL:
            report.kills["coordinator"] += 1
            if ended:
                report.at_points[point] += 1
            self.tell(
                f"{report.kills['coordinator']} of {self.kills} coordinators killed; {point if ended else 'any time'}"
            )
        elif code != _EXIT_FAILED_JOBS:
            report.failed_restarts.append(
                f"exit {code} after {report.kills['coordinator']} kills, armed {point or 'not'}"
            )
        if self.damages and stream.random() < 0.2:
            self._damage(stream, report)
        return code == -signal.SIGKILL

    def _next_point(self, stream: random.Random, report: Report) -> str:
        """The point at which the next coordinator dies: that with the fewest deaths, every other time; empty for any time."""
        if sum(report.at_points.values()) * 2 > report.kills["coordinator"]:
            return ""
        points = [point for point in crashpoints.POINTS if point not in RANDOMLY and not point.startswith("archive.")]
        fewest = min(report.at_points[point] for point in points)
        return stream.choice([point for point in points if report.at_points[point] <= fewest + 1])

    def _molest(self, process: subprocess.Popen[bytes], until: float, stream: random.Random, report: Report) -> bool:
        """Kill workers and slots of a coordinator until its time has come; True where it ended by itself."""
        next_kill = time.monotonic() + 1.0 + self.peace_s * (1 + stream.random())
        while time.monotonic() < until:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
                return True
            if time.monotonic() > next_kill:
                next_kill = time.monotonic() + self.peace_s * (1 + 2 * stream.random())
                self._kill_one(process.pid, stream, report)
        return False

    def _kill_one(self, coordinator: int, stream: random.Random, report: Report) -> None:
        family = {
            pid: command for pid, command in descendants(coordinator).items() if b"resource_tracker" not in command
        }
        if not family:
            return
        pid = stream.choice(sorted(family))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            forked = b"campaign.nursery" in family[pid]  # slots have the name of their warm parent
            report.kills["slot" if forked or b"campaign.slot" in family[pid] else "worker"] += 1

    def _damage(self, stream: random.Random, report: Report) -> None:
        """Spoil a projection, or leave a spoilt artifact, while nobody is looking."""
        fault = stream.choice(faults.HARMLESS)
        if fault.inflict(self.root, stream):
            report.damage[fault.name] += 1

    def _check(self, report: Report, poison: Mapping[str, str]) -> None:
        with xr.open_zarr(self.root / "results.zarr", chunks=None) as dataset:
            status, seen = dataset["status"].to_numpy().reshape(-1), _cells(dataset)
            products = dataset["product"].to_numpy().reshape(-1)
        for job in range(report.jobs):
            name = self._name(job)
            wanted = POISON[poison[name]] if name in poison else State.COMPLETED
            if status[job] != wanted:
                report.wrong.append(f"{name} is {State(status[job]).word}, not {wanted.word}")
            if wanted is State.COMPLETED:
                report.wrong += [f"{name}: {what}" for what in _wrong_cell(seen, job, poison.get(name, ""))]
                if not (self.root / str(products[job])).exists():
                    report.lost.append(f"{name}: its product is gone")


_EXIT_FAILED_JOBS = 4


def _cells(dataset: xr.Dataset) -> dict[str, np.ndarray[Any, Any]]:
    names = ("seed", "count", "mean")
    found: dict[str, np.ndarray[Any, Any]] = {name: dataset[name].to_numpy().reshape(-1) for name in names}
    found["spectrum"] = dataset["spectrum"].to_numpy().reshape(len(found["seed"]), -1)
    return found


def _wrong_cell(cells: Mapping[str, np.ndarray[Any, Any]], job: int, outcome: str) -> list[str]:
    """What is wrong in the cell of a completed job: its seed decides everything in it."""
    seed = int(cells["seed"][job])
    wrong = [] if cells["count"][job] == seed % 1000 else [f"count {cells['count'][job]} of seed {seed}"]
    if outcome == "nan":
        return wrong
    if cells["mean"][job] != (seed % 997) / 7:
        wrong.append(f"mean {cells['mean'][job]} of seed {seed}")
    if cells["spectrum"][job].tolist() != [float((seed >> n) % 101) for n in range(4)]:
        wrong.append(f"spectrum of seed {seed}")
    return wrong


@contextlib.contextmanager
def _reading(torture: Torture, report: Report, poison: Mapping[str, str]) -> Iterator[None]:
    """A reader that polls all along: what was complete stays complete, and every complete cell is right."""
    over = threading.Event()
    thread = threading.Thread(target=_read, args=(torture, report, poison, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _read(torture: Torture, report: Report, poison: Mapping[str, str], over: threading.Event) -> None:
    done = np.zeros(report.jobs, bool)
    while not over.wait(0.5):
        try:
            with xr.open_zarr(torture.root / "results.zarr", chunks=None) as dataset:
                completed = dataset["status"].to_numpy().reshape(-1) == State.COMPLETED  # first: it is written last
                cells = _cells(dataset)
        except FileNotFoundError:
            report.absent_reads += 1
            continue
        except Exception as error:  # noqa: BLE001 - whatever a reader meets is what we want to know
            report.inconsistent_reads.append(f"{type(error).__name__}: {error}")
            continue
        report.reads += 1
        gone = np.flatnonzero(done & ~completed).tolist()
        report.lost += [f"{torture._name(job)} was complete and is not" for job in gone]  # noqa: SLF001 - one module
        fresh = np.flatnonzero(completed & ~done).tolist()
        for job in fresh:
            name = torture._name(job)  # noqa: SLF001
            report.inconsistent_reads += [f"{name}: {what}" for what in _wrong_cell(cells, job, poison.get(name, ""))]
        done |= completed


def descendants(pid: int) -> dict[int, bytes]:
    """Every process below `pid`, with its command line."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found: dict[int, bytes] = {}
    frontier = [pid]
    while frontier:
        frontier = [child for child, parent in parents.items() if parent in frontier]
        for child in frontier:
            with contextlib.suppress(OSError):
                found[child] = Path(f"/proc/{child}/cmdline").read_bytes()
    return found
