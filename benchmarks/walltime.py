"""Allocations that end, simulated with the coordinator's own dispatcher: python benchmarks/walltime.py [--json] [--small]

One hour, 16 slots on 4 nodes, jobs of 240 +- 40 s: how much of the slots' time stays unused, and how many jobs the
walltime kills. Nothing is known in the first allocation; each further one goes on with what was learned. Durations
depend on the redshift (200 to 280 s) with some scatter, or, to show what no planner can avoid, on nothing.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from figures import Figure, machine, report

from campaign.core.lifecycle import JobTable
from campaign.core.model import Node, Outcome
from campaign.core.packing import LaunchRate
from campaign.core.walltime import Durations
from campaign.dispatch import Dispatcher
from campaign.execute import FLUSH_MIN_S
from campaign.opening import lay_out, read_config

WALLTIME_S, STARTUP_S = 3600.0, 20.0
QUANTILE = "One in a thousand takes longer than the quantile 0.999; it is interrupted, unblamed, and runs in the next allocation"
YAML = """
campaign: {{name: walltime}}
science: {{realizations: {realizations}, redshifts: {redshifts}}}
execution: {{order: shuffled, walltime_quantile: {quantile}}}
outputs: {{base_path: {base}}}
"""


@dataclass
class Row:
    """What a kind of durations gave."""

    durations: str
    margin: str
    idle_percent: float
    idle_first_percent: float
    killed: int
    allocations: int


@dataclass(frozen=True)
class Record:
    """What the dispatcher asks of an attempt that ended."""

    job: int
    duration_s: float
    outcome: Outcome = Outcome.COMPLETED


def allocation(plan, durations: Durations, draw: Callable[[int], float], margin_s: float | None) -> tuple[float, int]:
    """(unused share of the slots' time, killed jobs) of one allocation; `margin_s`: a constant margin, as scripts have it."""
    dispatcher = Dispatcher(plan, JobTable.empty(plan.size), iter(range(10**6)).__next__, durations, LaunchRate(8, 16))
    for n in range(4):
        dispatcher.join(Node(f"n{n}", 4))
    now, busy, killed, running = STARTUP_S, 0.0, 0, []
    while True:
        left = WALLTIME_S - now - FLUSH_MIN_S
        if margin_s is not None:
            leases = dispatcher.next_leases(now, None, 0) if WALLTIME_S - now > margin_s else []
        else:
            leases = dispatcher.next_leases(now, left, 0)
        for lease in leases:
            (call,) = lease.calls
            heapq.heappush(running, (now + draw(call.task.job), now, lease.slot.number, call.task.job))
        if not running:
            return 1 - busy / (16 * (WALLTIME_S - STARTUP_S)), killed
        now, began, slot, job = heapq.heappop(running)
        dispatcher.slots.release(slot)
        if now > WALLTIME_S - FLUSH_MIN_S:  # then the coordinator ends what still runs
            killed += 1
            continue
        busy += now - began
        dispatcher.note(Record(job, now - began), completed=True)


def measure(name: str, spread: Callable[[np.random.Generator], float], by_redshift: bool, count: int,
            quantile: float, margin_s: float | None = None) -> Row:  # fmt: skip
    """`count` allocations, one after another."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "c.yaml"
        redshifts = [round(0.1 * (n + 1), 1) for n in range(20)] if by_redshift else [1.0]
        path.write_text(
            YAML.format(realizations=40 if by_redshift else 800, redshifts=redshifts, base=scratch, quantile=quantile)
        )
        plan = replace(lay_out(*read_config(path)), staged=False)  # a slot has one job after another here
    means = np.linspace(200.0, 280.0, 20) if by_redshift else np.array([240.0])
    rng, durations = np.random.default_rng(7), Durations(quantile)

    def draw(job: int) -> float:
        return float(means[plan.duration_group_of[job]] + 240 * spread(rng))

    found = [allocation(plan, durations, draw, margin_s) for _ in range(count)]
    idle = [100 * share for share, _ in found]
    margin = f"learned, quantile {quantile}" if margin_s is None else f"constant {margin_s:.0f} s"
    return Row(name, margin, float(np.mean(idle)), idle[0], sum(k for _, k in found), count)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--small", action="store_true", help="few allocations: shows that it works, not how well")
    arguments = parser.parse_args()
    count = 3 if arguments.small else 200
    normal = lambda sigma: lambda rng: sigma * rng.standard_normal()  # noqa: E731
    rows = [
        measure("200-280 s by redshift, 3 % scatter", normal(0.03), True, count, 0.999),
        measure("200-280 s by redshift, 3 % scatter", normal(0.03), True, count, 0.99),
        measure("200-280 s by redshift, 5 % scatter", normal(0.05), True, count, 0.999),
        measure("200-280 s by redshift, 3 % scatter", normal(0.03), True, count, 0.999, margin_s=420.0),
        measure("200-280 s at random, uniform", lambda rng: rng.uniform(-1, 1) / 6, False, count, 0.999),
        measure("240 +- 40 s at random, normal", normal(1 / 6), False, count, 0.999),
    ]
    head = ["| durations | margin | idle | first allocation, nothing known | jobs cut off |", "|---|---|---|---|---|"]
    lines = [
        f"| {row.durations} | {row.margin} | {row.idle_percent:.1f} % | {row.idle_first_percent:.1f} % | {row.killed} |"
        for row in rows
    ]
    figures = [
        Figure(f"idle: {rows[0].durations}, {rows[0].margin}", [rows[0].idle_percent], "%", at_most=3),
        Figure(f"jobs cut off in {count} allocations: likewise", [rows[0].killed], "", at_most=0, why=QUANTILE),
    ]
    report(machine(), figures, "\n".join([*head, *lines]), as_json=arguments.json)


if __name__ == "__main__":
    main()
