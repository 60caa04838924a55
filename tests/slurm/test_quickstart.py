"""The quickstart's campaign in batch jobs: a node dies, the allocation dies, a successor finishes; the same bytes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

from campaign.core.model import State
from tests.conftest import wait_for

pytest.importorskip("diffsky")
pytestmark = [pytest.mark.slow, pytest.mark.galaxies]

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


def products(directory):
    return {str(p.relative_to(directory)): p for p in (directory / "catalogs").rglob("*.hdf5")}


def submit(root, *settings, nodes):
    """`campaign submit --chain`, in a directory of its own."""
    chosen = [f"outputs.base_path={root}", f"strategy.defaults.simulation_root={root.parent}/inputs", *settings]
    chosen += ["slurm.cpus_per_node=1", f"slurm.nodes={nodes}", "slurm.walltime=30"]
    words = [word for setting in chosen for word in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-m", "campaign", "submit", str(QUICKSTART), "--chain", "3", *words],
        capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return root / "v1.0_quickstart"


def logs_of(directory):
    return "".join(path.read_text() for path in sorted((directory / "logs").glob("batch_*.err")))


def torment(slurm, directory, victim, first=4, second=10):
    """Kill a node, then the allocation, after so many products, and see the campaign completed all the same."""
    wait_for(lambda: len(products(directory)) >= first, 240)
    slurm.kill_node(victim)
    slurm.type("scontrol", "update", f"nodename={victim}", "state=down", "reason=test")
    wait_for(lambda: f"node {victim} is gone" in logs_of(directory))
    wait_for(lambda: len(products(directory)) >= second, 240)
    running = slurm.type("squeue", "-h", "-t", "R", "-o", "%A").split()
    assert running, "the allocation did not survive the death of its node"
    slurm.type("scancel", *running)
    slurm.raise_node(victim)
    wait_for(lambda: not slurm.type("squeue", "-h"), 400)
    dataset = xr.open_zarr(directory / "results.zarr").load()
    assert (dataset.status == State.COMPLETED).all(), logs_of(directory)
    assert (dataset.n_galaxies > 0).all()
    return dataset


def test_one_rank_and_several_give_the_same_campaign_through_every_death(slurm, tmp_path, compiled):
    compiled(tmp_path / "one" / "v1.0_quickstart")
    one = submit(tmp_path / "one", "resources.cluster=allocation", nodes=3)
    first = torment(slurm, one, "n02")
    shutil.copytree(one / "cache", tmp_path / "two" / "v1.0_quickstart" / "cache")
    two = submit(
        tmp_path / "two",
        "resources.cluster=allocation",
        "resources.ranks_per_job=2",
        "resources.nodes_per_job=2",
        "science.realizations=4",  # which half of the campaign is enough to tell
        nodes=4,
    )
    second = torment(slurm, two, "n03", 2, 2)
    made, again = products(one), products(two)
    assert (len(made), len(again)) == (24, 12)
    for name, path in again.items():
        assert path.read_bytes() == made[name].read_bytes(), name
    facts = ["attempt", "batch", "start_time", "duration", "node"]
    same = first.drop_vars(facts).sel(realization=slice(0, 3))
    xr.testing.assert_identical(same.drop_attrs(), second.drop_vars(facts).drop_attrs())
