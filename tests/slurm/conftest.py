"""A real SLURM of four nodes on this machine: controller, node daemons, authentication, brought up in seconds."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import wait_for

CLUSTER = Path(__file__).parent / "cluster"
NODES, CPUS, GPUS = 4, 4, 2


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/slurm" in str(item.path):
            item.add_marker(pytest.mark.slurm)


def _free_port() -> int:
    """A port from which a dozen are free, as far as one can tell."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return 20_000 + probe.getsockname()[1] % 20_000


@dataclass
class Cluster:
    """The cluster, and what a user types on it."""

    root: Path
    separate_hosts: bool  # whether every node has a network and a name of its own

    def __post_init__(self):
        self.conf = self.root / "slurm.conf"

    def type(self, *command, check=True, **keywords):
        """A command of SLURM; what it answers."""
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, timeout=60, check=False, **keywords
        )
        if check and done.returncode:
            pytest.fail(f"{command}: {done.stderr}")
        return done.stdout

    def salloc(self, *options):
        """The words before a command that runs in an allocation."""
        return ["salloc", "-Q", "--exclusive", "--no-kill", "-t", "10", *options]

    def steps(self):
        """Names of the steps that run."""
        return self.type("squeue", "-h", "-s", "-o", "%j").split()

    def kill_node(self, name):
        """Let a node die: its daemon and everything on it, at once."""
        subprocess.run([CLUSTER / "node-kill", self.root, name], check=True)

    def raise_node(self, name):
        """Bring a node back."""
        subprocess.run([CLUSTER / "node-up", self.root, name], check=True)


@pytest.fixture(scope="session")
def slurm_root(tmp_path_factory):
    """The running cluster's directory; skips where SLURM is not installed."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    if any(shutil.which(name, path=path) is None for name in ("slurmctld", "slurmd", "munged")):
        if os.environ.get("CI"):
            pytest.fail("SLURM is not installed: .ci/setup installs it")
        pytest.skip("SLURM is not installed: apt-get install slurm-wlm munge")
    root = tmp_path_factory.mktemp("slurm")
    separate = os.geteuid() == 0
    environment = {
        **os.environ, "NODES": str(NODES), "CPUS": str(CPUS), "GPUS": str(GPUS), "MEM": "8192",
        "PORT": str(_free_port()), "NETNS": "1" if separate else "0",
    }  # fmt: skip
    subprocess.run([CLUSTER / "up", root], env=environment, check=True, capture_output=True, timeout=120)
    yield root
    subprocess.run([CLUSTER / "down", root], check=False, capture_output=True, timeout=60)


@pytest.fixture
def slurm(slurm_root, monkeypatch):
    """The cluster; every job of a test is gone when it ends, every node is up."""
    cluster = Cluster(slurm_root, separate_hosts=os.geteuid() == 0)
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    for name in [name for name in os.environ if name.startswith("SLURM_") and name != "SLURM_CONF"]:
        monkeypatch.delenv(name)
    yield cluster
    jobs = cluster.type("squeue", "-h", "-o", "%A").split()
    if jobs:
        cluster.type("scancel", *jobs, check=False)
    wait_for(lambda: not cluster.type("squeue", "-h"), 60)
    down = cluster.type("sinfo", "-h", "-N", "-t", "down,drain,fail,unknown", "-o", "%N").split()
    for name in dict.fromkeys(down):
        cluster.raise_node(name)


SCRIPTED = """
campaign: {{name: scripted}}
science: {{realizations: {realizations}, redshifts: [0.5, 1.0, 2.0]}}
generator: scripted
strategy: {{defaults: {options}}}
execution: {{batch_size: 4, max_retries: 2, retry_delay_s: 0.05, flush_interval_s: 0.5, timeout_hours: 0.02}}
resources: {resources}
slurm: {slurm}
jobs: {jobs}
outputs: {{base_path: {base}}}
"""


class Study:
    """A scripted campaign in a directory of its own, and its oracle: what the ranks themselves wrote down."""

    def __init__(self, root: Path) -> None:
        self.root, self.yaml = root, root / "scripted.yaml"
        self.directory = root / "campaigns" / "v1.0_scripted"
        self.truth, self.rank_truth = root / "truth", root / "ranks"

    def write(self, realizations=4, resources="{}", slurm="{}", jobs="[]", **options):
        chosen = {"truth": str(self.truth), "rank_truth": str(self.rank_truth), **options}
        self.yaml.write_text(SCRIPTED.format(
            realizations=realizations, options=json.dumps(chosen), resources=resources, slurm=slurm, jobs=jobs,
            base=self.root / "campaigns",
        ))  # fmt: skip
        return self

    def command(self, *arguments):
        """The run, as it is typed."""
        return [sys.executable, "-m", "campaign.run", str(self.yaml), "--plain", "--dashboard", "off", *arguments]

    def start(self, *before, **keywords):
        """Start the run behind the words of an allocation."""
        words = [str(word) for word in (*before, *self.command())]
        return subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.root, **keywords
        )

    def run(self, *before, timeout=120):
        """Run to the end: (exit code, standard output, standard error)."""
        process = self.start(*before)
        out, err = process.communicate(timeout=timeout)
        return process.returncode, out, err

    def attempts(self):
        """(name, attempt) of every attempt that began, as the jobs themselves noted it."""
        lines = self.truth.read_text().splitlines() if self.truth.exists() else []
        return [tuple(line.split()) for line in lines]

    def ranks(self):
        """What each rank of each attempt that ended noted."""
        lines = self.rank_truth.read_text().splitlines() if self.rank_truth.exists() else []
        words = [line.split() for line in lines]
        return [
            {"name": w[0], "attempt": int(w[1]), "rank": int(w[2]), "size": int(w[3]), "node": w[4],
             "begin": float(w[5]), "end": float(w[6]), "gpus": w[7]} for w in words
        ]  # fmt: skip

    def states(self):
        """State of each job in the dataset: word -> number."""
        import numpy as np
        import xarray as xr

        from campaign.core.model import State

        codes, numbers = np.unique(xr.open_zarr(self.directory / "results.zarr").status, return_counts=True)
        return {State(int(code)).word: int(number) for code, number in zip(codes, numbers, strict=True)}


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


@pytest.fixture
def me():
    return getpass.getuser()
