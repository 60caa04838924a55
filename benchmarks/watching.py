"""What it costs to look at a run, and how soon a campaign says how far it is: python benchmarks/watching.py [--small] [--json]

Takes about five minutes. The page is looked at with Chromium and the `test` extra; where there is none, it is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from figures import Figure, Run, idle_config, machine, report, scripted_environment, timed

from campaign.core.model import Axis, State
from campaign.ports import Look, NodeLook, Progress, Trouble

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
"""What the kernel counts time in: less can't be told from nothing."""

HIGH, WIDE = 40, 140
"""Of the terminal."""


@dataclass
class Moving:
    """A campaign of 40,000 jobs of which forty end every time that somebody looks."""

    jobs: int
    title = "v1.0 moving"
    rates = ((0.0, 0.0),)

    def __post_init__(self) -> None:
        self.axes = (
            Axis("realization", tuple(range(self.jobs // 20))),
            Axis("redshift", tuple(n / 10 for n in range(20))),
        )
        self.states = np.zeros(self.jobs, np.int8)
        self._stream = np.random.default_rng(1)

    def look(self) -> Look:
        ended = self._stream.integers(0, self.jobs, 40)
        self.states[ended] = self._stream.choice([State.COMPLETED, State.FAILED], 40, p=[0.95, 0.05])
        counts = {state: int((self.states == state).sum()) for state in State}
        progress = Progress(counts, self.jobs, 1, 1.0, 40.0, 1000.0, 64, False, (), 4, 3600.0)
        nodes = [NodeLook(f"nid{n:04d}", 64, 64, 100, 3, (2**34, 2**38)) for n in range(4)]
        return Look(
            progress, self.states, nodes, [Trouble(9, "error: no luck", "r0001", "campaign retry x")], {"compute": 1.0}
        )


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, without its children."""
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def share(pid: int, seconds: float) -> float:
    """Per cent of a core that a process takes over a while."""
    before, begin = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_s(pid) - before) / (time.monotonic() - begin)


@contextlib.contextmanager
def looked_at(url: str) -> Iterator[None]:
    """A browser that shows the page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1200})
        page.goto(url)
        page.locator(".bk-Canvas").first.wait_for()
        yield
        browser.close()


def page(work: Path, jobs: int, seconds: float, times: int) -> list[float]:
    """Per cent of a core that the page of a run costs its coordinator: with somebody who looks, less without."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    path, directory = idle_config(work, "looked_at", jobs, 4, seconds=0.5), work / "campaigns" / "v1.0_looked_at"
    run, found = Run(path, directory, address), []
    run.wait_for(20)
    for _ in range(times):
        without = share(run.process.pid, seconds)
        with looked_at(f"http://{address}/campaign"):
            found.append(max(share(run.process.pid, seconds) - without, 100 * TICK_S / seconds))
    run.stop()
    return found


def terminal(jobs: int, seconds: float, times: int) -> list[float]:
    """Per cent of a core that the live view takes."""
    from rich.console import Console

    from campaign.adapters.terminal import LiveView

    scene, found = Moving(jobs), []
    progress = scene.look().progress
    with Path(os.devnull).open("w") as nowhere:
        view = LiveView(scene, Console(file=nowhere, force_terminal=True, width=WIDE, height=HIGH))
        with view:
            view.observe(progress)
            for _ in range(times):
                before, begin = time.process_time(), time.monotonic()
                while time.monotonic() < begin + seconds:
                    view.observe(progress)
                    time.sleep(0.2)
                found.append(100 * (time.process_time() - before) / (time.monotonic() - begin))
    return found


def measure(work: Path, *, small: bool) -> list[Figure]:
    """All figures."""
    jobs, listed, seconds, times = (2_000, 50_000, 1.0, 1) if small else (40_000, 100_000, 20.0, 5)
    figures = [
        Figure(f"the live view on a terminal, {jobs:,} jobs", terminal(jobs, seconds, times), "% of a core", at_most=1)
    ]
    if shutil.which("chromium"):
        costs = page(work, jobs, seconds, times)
        figures.append(Figure(f"the page, drawn every second, {jobs:,} jobs", costs, "% of a core", at_most=3))
    path, directory = idle_config(work, "asked", listed, 2), work / "campaigns" / "v1.0_asked"
    run = Run(path, directory)
    run.wait_for(1)
    command = (sys.executable, "-m", "campaign")
    running = [timed(*command, "status", str(directory)) for _ in range(times)]
    run.stop()
    ended = [timed(*command, "status", str(directory)) for _ in range(times)]
    written = [timed(*command, "report", str(directory)) for _ in range(times)]
    return [
        *figures,
        Figure(f"`campaign status` of {listed:,} jobs while they run", running, "s", at_most=0.5),
        Figure(f"`campaign status` of {listed:,} jobs between two runs", ended, "s", at_most=0.5),
        Figure(f"`campaign report` of {listed:,} jobs", written, "s"),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="only see that it runs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    os.environ.update(scripted_environment())
    facts = machine()
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(Path(scratch), small=arguments.small)
    report(facts, figures, as_json=arguments.json)


if __name__ == "__main__":
    main()
