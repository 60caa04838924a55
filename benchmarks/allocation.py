"""A run inside an allocation, on a SLURM of four nodes that this program starts: python benchmarks/allocation.py [--json] [--small]

How soon workers are up after the command was typed; whether 40 multi-rank jobs of six shapes ever take more of a node than there is, told by the
ranks themselves; and how much of the CPUs' time they keep busy. The nodes' CPUs are on paper (4 + 4 + 4 + 2 on one
machine) and the jobs sleep, so what is measured is placing and launching. Needs slurm-wlm, munge, mpi4py and mpich.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Figure, machine, report, scripted_environment

REPOSITORY = Path(__file__).parents[1]
CLUSTER = REPOSITORY / "tests" / "slurm" / "cluster"
SHAPES = [(2, 2), (1, 1), (1, 4), (4, 1), (2, 1), (1, 2)]  # nodes, ranks on each
TAIL = "The dispatcher alone, simulated on the same jobs without start-up, gives 93 %"
CPUS = {"n01": 4, "n02": 4, "n03": 4, "n04": 2}


def yaml(jobs: int, seconds: float, root: Path) -> str:
    """A campaign of jobs whose shapes are drawn at random."""
    draw = random.Random(1)
    shapes = [draw.choice(SHAPES) for _ in range(jobs)]
    overrides = [
        {
            "where": {"realization": n}, "resources": {"nodes_per_job": nodes, "ranks_per_job": nodes * per},
            "options": {"seconds": round(seconds * draw.uniform(0.5, 1.5), 1)},
        }
        for n, (nodes, per) in enumerate(shapes)
    ]  # fmt: skip
    return json.dumps({
        "campaign": {"name": "shapes"}, "science": {"realizations": jobs, "redshifts": [1.0]}, "generator": "scripted",
        "strategy": {"defaults": {"seconds": seconds, "rank_truth": str(root / "ranks")}}, "jobs": overrides,
        "outputs": {"base_path": str(root)},
    })  # fmt: skip


def measure(root: Path, jobs: int, seconds: float) -> dict[str, object]:
    """One run of the campaign in an allocation of 14 CPUs."""
    path = root / "shapes.yaml"
    path.write_text(yaml(jobs, seconds, root))
    command = [sys.executable, "-m", "campaign.run", str(path), "--plain", "--dashboard", "off"]
    begin = time.time()
    process = subprocess.Popen(
        ["salloc", "-Q", "-N4", "-n14", "-t", "30", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True, cwd=root,
    )  # fmt: skip
    said, up = [], None
    for line in process.stderr:
        said.append(line)
        if line.startswith("all 4 nodes are there"):
            up = round(time.time() - begin, 1)
    wall = time.time() - begin
    if process.wait():
        raise RuntimeError("".join(said))
    words = [line.split() for line in (root / "ranks").read_text().splitlines()]
    ranks = [{"name": w[0], "size": int(w[3]), "node": w[4], "begin": float(w[5]), "end": float(w[6])} for w in words]
    peak = {}
    for node in CPUS:
        moves = sorted([(r["begin"], 1, 1) for r in ranks if r["node"] == node]
                       + [(r["end"], 0, -1) for r in ranks if r["node"] == node])  # fmt: skip
        peak[node] = max(itertools.accumulate(change for _, _, change in moves))
    first, last = min(r["begin"] for r in ranks), max(r["end"] for r in ranks)
    work = sum(r["end"] - r["begin"] for r in ranks)
    return {
        "workers_up_s": up,
        "jobs": len({r["name"] for r in ranks}),
        "wrong_sizes": sum(len([r for r in ranks if r["name"] == name]) != next(r["size"] for r in ranks if r["name"] == name)
                           for name in {r["name"] for r in ranks}),
        "peak_ranks": peak,
        "oversubscribed": any(peak[node] > cpus for node, cpus in CPUS.items()),
        "busy_percent": round(100 * work / ((last - first) * sum(CPUS.values())), 1),
        "span_s": round(last - first, 1),
        "start_to_end_s": round(wall, 1),
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--small", action="store_true", help="few short jobs: shows that it works, not how well")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each job, +- 50 %% (default 30)")
    arguments = parser.parse_args()
    facts = machine()
    jobs, seconds = (8, 0.5) if arguments.small else (40, arguments.seconds)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        settings = {"PORT": str(21000 + os.getpid() % 9000), "NETNS": "1" if os.geteuid() == 0 else "0", "MEM": "8192"}
        subprocess.run(
            [CLUSTER / "up", root / "slurm"], check=True, capture_output=True, env={**os.environ, **settings}
        )
        os.environ |= {"SLURM_CONF": str(root / "slurm" / "slurm.conf"), **scripted_environment()}
        try:
            found = measure(root, jobs, seconds)
        finally:
            subprocess.run([CLUSTER / "down", root / "slurm"], check=False, capture_output=True)
    peak = ", ".join(str(found["peak_ranks"][node]) for node in CPUS)
    figures = [
        Figure("workers of four nodes up after the command was typed, Python's start included", [found["workers_up_s"]], "s", at_most=6),
        Figure(f"{found['jobs']} jobs of {seconds:g} s +- 50 % in six shapes on {len(CPUS)} nodes: ranks that started at a wrong size", [found["wrong_sizes"]], "", at_most=0),
        Figure("likewise: CPUs busy from the first begin to the last end, start of the ranks and tail included", [found["busy_percent"]], "%", at_least=90, why=TAIL),
    ]  # fmt: skip
    report(
        facts,
        figures,
        f"CPUs of the nodes: {', '.join(map(str, CPUS.values()))}; most ranks side by side: {peak}.",
        as_json=arguments.json,
    )


if __name__ == "__main__":
    main()
