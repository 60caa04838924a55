"""This engine and others on the same jobs on two cores: python benchmarks/peers.py [--small] [--json] [--environment DIR]

No-ops, naps of 0.1 s +- 50 %, and mocks of 10,000 host haloes, from the moment when both workers are warm: ours until all
are recorded durably and stand in the dataset, the others' until their results are handed back, to be kept nowhere. The
others come from PyPI into an environment of their own, which is made where it is not there (GNU parallel from the
distribution). A ratio above 1 means that ours is faster.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass, field
from pathlib import Path

import jobs
from figures import BUSY, Figure, Run, idle_config, machine, number, records_of, report, scripted_environment, warm_ms
from galaxies import make_inputs, mock_environment, write_config
from peer import ENGINES, WARM, WORKERS

from campaign.testing.scripted import idle_s

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
    OURS: Counts(100_000, 200, 100), "dask_map": Counts(20_000, 200, 100), "dask_graph": Counts(5_000, 200, 100),
    "parsl": Counts(20_000, 200, 100), "executorlib": Counts(100_000, 200, 100), "xyzpy": Counts(20_000, 200, 100),
    "hyperqueue": Counts(10_000, 200, 8), "gnu_parallel": Counts(10_000, 200, 8), "processes": Counts(10_000, 200, 8),
}  # fmt: skip

LIMIT_S = 600
"""How long one measurement of another engine may take."""


@dataclass
class Measured:
    """What an engine made of one kind of jobs, each time."""

    rates: list[float] = field(default_factory=list)  # jobs a second
    busy: list[float] = field(default_factory=list)  # percentage of the workers' time in which a nap was taken
    failed: str = ""  # why there is less of it

    @property
    def rate(self) -> float:
        """Jobs a second: the median; nothing where it failed."""
        return statistics.median(self.rates) if self.rates else math.nan

    def note(self, jobs: int, seconds: float, napped_s: float) -> None:
        """Another measurement."""
        self.rates.append(jobs / seconds)
        self.busy.append(100 * napped_s / (WORKERS * seconds))


Table = dict[tuple[str, str], Measured]
"""(engine, kind of jobs) -> what was measured."""


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


def other(into: Measured, python: Path, engine: str, kind: str, count: int, mocks: Path) -> None:
    """Measure another engine; what goes wrong is told, and goes into the table."""
    own = {
        **os.environ, **mock_environment(mocks),
        "PYTHONPATH": str(Path(__file__).parent), "PATH": f"{python.parent}:{os.environ['PATH']}",
    }  # fmt: skip
    command = [str(python), str(Path(__file__).with_name("peer.py")), engine, kind, str(count)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        try:
            done = subprocess.run(
                command, cwd=scratch, env=own, capture_output=True, text=True, check=True, timeout=LIMIT_S
            )
        except subprocess.TimeoutExpired:
            into.failed = f"not done after {LIMIT_S} s"
            return
        except subprocess.CalledProcessError as error:
            into.failed = (error.stderr.strip().splitlines() or [f"exit status {error.returncode}"])[-1]
            print(f"{engine} failed on {kind}:\n{error.stderr[-3000:]}", file=sys.stderr)
            return
    seconds = float(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])
    into.note(count, seconds, sum(map(jobs.nap_s, range(count))))


def ours(into: Measured, root: Path, kind: str, count: int, attempt: int, box: float) -> None:
    """Measure ours, from when each of the slots has had its first few jobs to the last change of the dataset."""
    name = f"{kind}{attempt}"
    spread = jobs.NAP_SPREAD if kind == "nap" else 0.0
    if kind == "mock":
        path = write_config(root, name, count, box, slots=WORKERS, threads=1)
    else:
        path = idle_config(root, name, count, WORKERS, seconds=jobs.NAP_S if kind == "nap" else 0.0, spread=spread)
    directory = root / "campaigns" / f"v1.0_{name}"
    Run(path, directory).finish()
    records = records_of(directory)
    warm = warm_ms(records, WARM // WORKERS)
    counted = [record for record in records if record.started_ms >= warm]
    written = max(path.stat().st_mtime for path in (directory / "results.zarr").rglob("*"))
    into.note(len(counted), written - warm / 1000, sum(idle_s(jobs.NAP_S, spread, record.seed) for record in counted))


SMALL_BOX = 115.0
"""Mpc/h, for 10,000 hosts."""


def measure(python: Path, counts: dict[str, Counts], repeats: int, box: float) -> Table:
    """Every engine on every kind of jobs, in turns, so that a slow moment of the machine meets them all."""
    found: Table = {(engine, kind): Measured() for engine in counts for kind in ("noop", "nap", "mock")}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make_inputs(root, counts[OURS].mock, box)
        mocks = root / f"inputs{round(box)}.yaml"
        for attempt in range(repeats):
            for (engine, kind), into in found.items():
                if into.failed or (attempt and kind == "mock" and engine in SPAWNING):
                    continue
                count = getattr(counts[engine], kind)
                print(f"{kind}: {engine}, {count} jobs, {attempt + 1} of {repeats}", file=sys.stderr)
                if engine == OURS:
                    ours(into, root, kind, count, attempt, box)
                else:
                    other(into, python, engine, kind, count, mocks)
    return found


def table(found: Table) -> str:
    """Rates and ratios as a table in Markdown."""
    lines = [
        "| engine | no-ops a second | ours / theirs | naps: busy | mocks an hour | ours / theirs |",
        "|---|---|---|---|---|---|",
    ]
    for engine in dict.fromkeys(engine for engine, _ in found):
        noop, nap, mock = (found[engine, kind] for kind in ("noop", "nap", "mock"))
        lines.append(
            f"| {engine} | {_cell(noop, noop.rates)} | {found[OURS, 'noop'].rate / noop.rate:.2g} "
            f"| {_cell(nap, nap.busy)} % | {_cell(mock, [3600 * rate for rate in mock.rates])} "
            f"| {found[OURS, 'mock'].rate / mock.rate:.3g} |"
        )
    return "\n".join(lines)


def summary(found: Table) -> list[Figure]:
    """The figures that have a goal."""
    own, mock = found[OURS, "noop"], found[OURS, "mock"]
    best, fastest = (
        max((e for e, k in found if k == kind and e != OURS and found[e, k].rates), key=lambda e: found[e, kind].rate)
        for kind in ("noop", "mock")
    )
    return [
        Figure("no-ops a second, each recorded durably and in the dataset", own.rates, "jobs/s", at_least=10_000, why=BUSY),
        Figure(f"likewise, over the best of the others ({best}), which records nothing", [own.rate / found[best, "noop"].rate], "x", at_least=3, why=BUSY),
        Figure(f"mocks an hour, over one process a mock, {WORKERS} at once", [mock.rate / found["processes", "mock"].rate], "x", at_least=30),
        Figure(f"mocks an hour, over the best of the others ({fastest})", [mock.rate / found[fastest, "mock"].rate], "x"),
    ]  # fmt: skip


def _cell(one: Measured, values: list[float]) -> str:
    if not values:
        return f"failed: {one.failed}".replace("|", "/")
    spread = f" ({number(min(values))} to {number(max(values))})" if len(values) > 1 else ""
    return f"{number(statistics.median(values))}{spread}"


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
    small = Counts(400, 40, 12)
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
