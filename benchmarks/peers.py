"""This engine and others on the same jobs on two cores: python benchmarks/peers.py [--small] [--json] [--environment DIR]

No-ops, naps of 0.1 s +- 50 %, and mocks of 10,000 host haloes; ours are recorded durably and stand in the dataset, the
others' results are handed back and kept nowhere. The others come from PyPI into an environment of their own, which is
made where it is not there (GNU parallel from the distribution). A ratio above 1 means that ours is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path

import jobs
from figures import BUSY, Figure, Run, idle_config, machine, records_of, report, scripted_environment
from galaxies import make_inputs, mock_environment, write_config
from peer import ENGINES, WORKERS

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("parsl", "hyperqueue", "executorlib", "xyzpy", "matplotlib", "dask[distributed]")
SPAWNING = frozenset({"hyperqueue", "gnu_parallel", "processes"})
"""Engines that start a program for each job."""

OURS = "campaign"


@dataclass(frozen=True)
class Counts:
    """How many jobs of each kind an engine is given: enough for its pace, so that none takes longer than a minute."""

    noop: int
    nap: int
    mock: int


FULL = {
    OURS: Counts(100_000, 400, 60), "dask_map": Counts(20_000, 400, 60), "dask_graph": Counts(5_000, 400, 60),
    "parsl": Counts(20_000, 400, 60), "executorlib": Counts(100_000, 400, 60), "xyzpy": Counts(20_000, 400, 60),
    "hyperqueue": Counts(10_000, 400, 8), "gnu_parallel": Counts(10_000, 400, 8), "processes": Counts(10_000, 400, 8),
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Seconds that so many jobs took, each time."""

    engine: str
    kind: str
    jobs: int
    seconds: list[float]

    @property
    def rate(self) -> float:
        """Jobs a second: the median."""
        return self.jobs / statistics.median(self.seconds)


def environment(directory: Path) -> Path:
    """The interpreter of an environment that holds the other engines and, for the mocks, this package."""
    python = directory / "bin" / "python"
    if not (directory / ".installed").exists():
        print(f"installing {', '.join(PACKAGES)} into {directory}", file=sys.stderr)
        venv.create(directory, with_pip=True)
        install = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*install, *PACKAGES, "-e", f"{REPOSITORY}[galaxies]"], check=True)
        (directory / ".installed").touch()
    return python


def versions(python: Path) -> dict[str, str]:
    """Version of each engine in the environment."""
    names = [package.partition("[")[0] for package in PACKAGES if package != "matplotlib"]
    ask = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {[*names, 'distributed']}}}))"
    found: dict[str, str] = json.loads(subprocess.check_output([str(python), "-c", ask]))
    if shutil.which("parallel"):
        said = subprocess.run(["parallel", "--version"], capture_output=True, text=True, check=True).stdout
        found["GNU parallel"] = said.split()[2]
    return found


def other(python: Path, engine: str, kind: str, count: int, mocks: Path) -> float:
    """Seconds that another engine takes."""
    own = {
        **os.environ, **mock_environment(mocks),
        "PYTHONPATH": str(Path(__file__).parent), "PATH": f"{python.parent}:{os.environ['PATH']}",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        command = [str(python), str(Path(__file__).with_name("peer.py")), engine, kind, str(count)]
        done = subprocess.run(command, cwd=scratch, env=own, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{engine} failed on {kind}:\n{done.stderr[-3000:]}")
    return float(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])


def ours(root: Path, kind: str, count: int, attempt: int) -> float:
    """Seconds from the end of our first job until everything is committed and the run has ended; naps and mocks until the last end."""
    name = f"{kind}{attempt}"
    if kind == "mock":
        path = write_config(root, name, count, SMALL_BOX, slots=WORKERS, threads=1)
    else:
        seconds, spread = (jobs.NAP_S, jobs.NAP_SPREAD) if kind == "nap" else (0.0, 0.0)
        path = idle_config(root, name, count, WORKERS, seconds=seconds, spread=spread)
    directory = root / "campaigns" / f"v1.0_{name}"
    run = Run(path, directory)
    run.wait_for(1)
    begin = time.monotonic()
    run.finish()
    if kind == "noop":
        return time.monotonic() - begin
    records = records_of(directory)
    ends = sorted(record.started_ms / 1000 + record.duration_s for record in records)
    steady = ends[WORKERS * 2 :]  # warm from here on
    return (steady[-1] - steady[0]) * len(records) / (len(steady) - 1)


SMALL_BOX = 115.0
"""Mpc/h, for 10,000 hosts."""


def measure(python: Path, counts: dict[str, Counts], repeats: int, box: float) -> list[Measured]:
    """Every engine on every kind of jobs, in turns, so that a slow moment of the machine meets them all."""
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make_inputs(root, counts[OURS].mock, box)
        mocks = root / f"inputs{round(box)}.yaml"
        for attempt in range(repeats):
            for kind in ("noop", "nap", "mock"):
                for engine, count in counts.items():
                    jobs_of = getattr(count, kind)
                    if attempt and kind == "mock" and engine in SPAWNING:
                        continue
                    print(f"{kind}: {engine}, {jobs_of} jobs, {attempt + 1} of {repeats}", file=sys.stderr)
                    seconds = (
                        ours(root, kind, jobs_of, attempt)
                        if engine == OURS
                        else other(python, engine, kind, jobs_of, mocks)
                    )
                    found.setdefault((engine, kind), []).append(seconds)
    return [Measured(engine, kind, getattr(counts[engine], kind), seconds) for (engine, kind), seconds in found.items()]


def table(measured: list[Measured]) -> str:
    """Rates and ratios as a table in Markdown."""
    by = {(one.engine, one.kind): one for one in measured}
    ideal = sum(map(jobs.nap_s, range(by[OURS, "nap"].jobs))) / WORKERS
    lines = [
        "| engine | no-ops a second | ours / theirs | naps: busy | mocks an hour | ours / theirs |",
        "|---|---|---|---|---|---|",
    ]
    for engine in dict.fromkeys(one.engine for one in measured):
        noop, nap, mock = (by[engine, kind] for kind in ("noop", "nap", "mock"))
        busy = ideal / nap.jobs * nap.rate
        lines.append(
            f"| {engine} | {noop.rate:,.0f}{_spread(noop)} | {by[OURS, 'noop'].rate / noop.rate:.2g} "
            f"| {100 * busy:.0f} % | {3600 * mock.rate:,.0f} | {by[OURS, 'mock'].rate / mock.rate:.3g} |"
        )
    return "\n".join(lines)


def summary(measured: list[Measured]) -> list[Figure]:
    """The figures that have a goal."""
    by = {(one.engine, one.kind): one for one in measured}
    own, mock = by[OURS, "noop"], by[OURS, "mock"]
    best, fastest = (
        max((one for one in measured if one.kind == kind and one.engine != OURS), key=lambda one: one.rate)
        for kind in ("noop", "mock")
    )
    return [
        Figure("no-ops a second, each recorded durably and in the dataset", [own.jobs / s for s in own.seconds], "jobs/s", at_least=10_000, why=BUSY),
        Figure(f"likewise, over the best of the others ({best.engine}), which records nothing", [own.rate / best.rate], "x", at_least=3, why=BUSY),
        Figure(f"mocks an hour, over one process a mock ({WORKERS} at once)", [mock.rate / by["processes", "mock"].rate], "x"),
        Figure(f"mocks an hour, over the best of the others ({fastest.engine})", [mock.rate / fastest.rate], "x"),
    ]  # fmt: skip


def _spread(one: Measured) -> str:
    rates = sorted(one.jobs / seconds for seconds in one.seconds)
    return f" ({rates[0]:,.0f} to {rates[-1]:,.0f})" if len(rates) > 1 else ""


def settings() -> str:
    """What each of the others was told, as its own words."""
    return "\n".join(f"* {name}: {(make.__doc__ or '').strip()}" for name, make in ENGINES.items())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--small", action="store_true", help="few jobs, once: shows that it works, not how fast")
    parser.add_argument("--environment", type=Path, default=REPOSITORY / ".venv-peers", help="where the others are")
    parser.add_argument("--repeats", type=int, default=3, help="how often everything is measured")
    arguments = parser.parse_args()
    os.environ.update(scripted_environment(), JAX_PLATFORMS="cpu")
    python = environment(arguments.environment.absolute())
    small = Counts(400, 40, 8)
    counts = {engine: small if arguments.small else count for engine, count in FULL.items()}
    if not shutil.which("parallel"):
        del counts["gnu_parallel"]
        print("GNU parallel is not installed and is left out: apt install parallel", file=sys.stderr)
    facts = {**machine(), **versions(python)}
    measured = measure(
        python, counts, 1 if arguments.small else arguments.repeats, 30.0 if arguments.small else SMALL_BOX
    )
    report(facts, summary(measured), table(measured), settings(), as_json=arguments.json)


if __name__ == "__main__":
    main()
