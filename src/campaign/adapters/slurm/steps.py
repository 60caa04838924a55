"""Steps of an allocation: the workers, the ranks of a slot, and sweeping away what a crash left."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from campaign import durable
from campaign.adapters.slurm.allocation import AllocationWatch, job_here
from campaign.adapters.slurm.ask import attempt, scrubbed
from campaign.core.model import Slot

logger = logging.getLogger("campaign")

WORKERS_UP_S = 120.0
"""How long the first workers may take: a big allocation imports Python from a shared file system."""

MISSING_S = 15.0
"""How long a worker may be missing before another one is started on its node; its nanny is quicker."""

REPLACEMENTS = 5
"""Workers that are started on one node after the first."""

IDLE_S, RELEASE_S = 10.0, 60.0
"""How long a node is idle before it is given back, and time between two attempts at that."""

STOP_S = 10.0
DEATH_TIMEOUT_S = 30
"""After so long without their scheduler workers end by themselves, and their slots with them."""


@dataclass(frozen=True, slots=True)
class StepNames:
    """Names of the steps of one run: who made them can be told from the queue."""

    campaign: str  # the same for every run of a campaign
    run: str

    @classmethod
    def of(cls, directory: str, run: str) -> StepNames:
        """The names for a run of the campaign in a directory."""
        return cls(f"cmp-{hashlib.sha256(directory.encode()).hexdigest()[:8]}", run)

    def slot(self, number: int) -> str:
        """The step of a slot."""
        return f"{self.campaign}-{self.run}-{number}"

    @property
    def workers(self) -> str:
        """The step of the workers."""
        return f"{self.campaign}-{self.run}-workers"


def worker_step(nodes: Sequence[str], name: str, program: Sequence[str]) -> list[str]:
    """`srun` for one worker on each node.

    It overlaps: without that, steps inside it would wait for ever for the CPUs that it holds. It is bound to nothing,
    so that its slots may use every CPU of the node. It goes on when one of its tasks or nodes is gone.
    """
    count = str(len(nodes))
    return [
        "srun", "--overlap", "-N", count, "-n", count, "-w", ",".join(nodes), "--ntasks-per-node=1", "--cpu-bind=none",
        "--mem=0", "--mpi=none", "--input=none", "--kill-on-bad-exit=0", "--wait=0", "--no-kill", "--quiet",
        "-J", name, *program,
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class RankStep:
    """`srun` for the ranks of a slot. `overlaps` where the workers themselves stand in an ordinary step."""

    names: StepNames
    mpi: str
    overlaps: bool = False

    def argv(self, slot: Slot, program: Sequence[str]) -> tuple[str, ...]:
        """The whole command: CPUs, memory and nodes said explicitly, nothing inherited, death with its parent."""
        shape = slot.shape
        memory = f"--mem={-(-shape.memory_per_node // 2**20)}M" if shape.memory_per_node else "--mem=0"
        gpus = [f"--gres=gpu:{shape.gpus_per_node}"] if shape.gpus_per_rank else []
        return (
            "setpriv", "--pdeathsig", "TERM",
            "srun", "--exact", *(["--overlap"] if self.overlaps else []), "-w", ",".join(slot.nodes),
            "-N", str(shape.nodes), "-n", str(shape.ranks), f"--ntasks-per-node={shape.ranks_per_node}",
            "-c", str(shape.threads), memory, *gpus, f"--mpi={self.mpi}", "--distribution=block", "--kill-on-bad-exit=1",
            "--input=none", "-J", self.names.slot(slot.number), *program,
        )  # fmt: skip

    def sweep(self, slot: Slot) -> tuple[str, ...]:
        """A command that ends the step of a slot, wherever its `srun` is."""
        call = f"sweep_steps({self.names.slot(slot.number)!r})"
        return (sys.executable, "-c", f"from campaign.adapters.slurm.steps import sweep_steps; {call}")


def sweep_steps(*names: str) -> int:
    """Cancel the steps of our job that have one of these names; how many there were."""
    return _cancel(lambda name: name in names)


def sweep_earlier_runs(names: StepNames) -> int:
    """Cancel what an earlier coordinator of the same campaign left in our job; how many steps there were."""
    ours, mine = f"{names.campaign}-", f"{names.campaign}-{names.run}-"
    return _cancel(lambda name: name.startswith(ours) and not name.startswith(mine))


def _cancel(wanted: Callable[[str], bool]) -> int:
    names = (job_here(os.environ) or "", os.environ["SLURM_JOB_ID"])
    listed = attempt(("squeue", "-h", "-s", "-j", names[0], "-o", "%i %j")).stdout
    steps = [line.split(maxsplit=1) for line in listed.splitlines() if " " in line.strip()]
    ours = tuple(f"{name}." for name in names)  # never those of another task of our array
    found = [number for number, name in steps if number.startswith(ours) and wanted(name.strip())]
    if found:
        attempt(("scancel", "--signal=KILL", *found))
    return len(found)


@dataclass(slots=True)
class WorkerSteps:
    """Brings Dask workers to the nodes of an allocation, and replaces those that are gone."""

    watch: AllocationWatch
    names: StepNames
    log: Path
    threads: int
    scratch: str
    _program: tuple[str, ...] = ()
    _steps: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _began_s: float = 0.0
    _missing: dict[str, float] = field(default_factory=dict)  # node without a worker -> since when
    _replaced: Counter[str] = field(default_factory=Counter)  # node -> workers that were started after the first
    _replacing: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)  # node -> the step that does
    _seen: set[str] = field(default_factory=set)
    _idle: dict[str, float] = field(default_factory=dict)  # node -> since when nothing is left for it
    _release_at: float = 0.0

    def bring(self, scheduler: str, options: Sequence[str]) -> None:
        """One worker on each node."""
        sweep_earlier_runs(self.names)
        self._program = self._worker(scheduler, options)
        self._began_s = time.monotonic()
        self._start([node.name for node in self.watch.current.nodes])

    def _worker(self, scheduler: str, options: Sequence[str]) -> tuple[str, ...]:
        return (
            sys.executable, "-m", "distributed.cli.dask_worker", scheduler, "--nthreads", str(self.threads),
            "--no-dashboard", "--dashboard-address", "127.0.0.1:0", "--memory-limit", "0", "--death-timeout", str(DEATH_TIMEOUT_S),
            "--local-directory", self.scratch, *options,
        )  # fmt: skip

    def _start(self, nodes: Sequence[str]) -> None:
        with self.log.open("ab") as output:
            self._steps.append(
                subprocess.Popen(
                    worker_step(nodes, self.names.workers, self._program),
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                    env=scrubbed(os.environ),
                )
            )  # fmt: skip

    def tend(self, present: Collection[str]) -> str:
        """Replace the workers of nodes that are ours and not present. Says what can't be mended."""
        self._seen.update(present)
        now = time.monotonic()
        absent = {node.name for node in self.watch.current.nodes} - set(present)
        ended = [step for step in self._steps if step.poll() is not None]
        self.watch.refresh(at_once=bool(ended))
        self._steps = [step for step in self._steps if step not in ended]
        if self.watch.gone:
            return self.watch.gone
        if now - self._began_s < WORKERS_UP_S and self._steps:
            absent &= self._seen  # the others are still on their way
        self._missing = {name: self._missing.get(name, now) for name in absent}
        due = [name for name in sorted(absent) if now - self._missing[name] > MISSING_S and self._may_replace(name)]
        if due:
            self._start(due)
            self._replacing |= dict.fromkeys(due, self._steps[-1])
            self._replaced.update(due)
        return ""

    def _may_replace(self, name: str) -> bool:
        """Whether a node may have another worker started: not beside one that is still on its way, and not for ever."""
        step = self._replacing.get(name)
        return self._replaced[name] < REPLACEMENTS and (step is None or step.poll() is not None)

    def expects_nodes(self) -> bool:
        """Whether workers may still come."""
        if self.watch.gone:
            return False
        coming = not self._seen and time.monotonic() - self._began_s < WORKERS_UP_S
        return coming or any(self._replaced[name] < REPLACEMENTS for name in self._missing)

    def release(self, nodes: Sequence[str]) -> None:
        """Shrink the allocation to the other nodes, once these have been idle for a while; ours is never among them."""
        now, here = time.monotonic(), os.environ.get("SLURMD_NODENAME", "")
        self._idle = {name: self._idle.get(name, now) for name in nodes if name != here}
        ripe = {name for name, since in self._idle.items() if now - since > IDLE_S}
        if not ripe or now < self._release_at:
            return
        self._release_at = now + RELEASE_S
        kept = [node.name for node in self.watch.current.nodes if node.name not in ripe]
        if not kept:
            return
        job = self.watch.current.job_id
        done = attempt(
            ("scontrol", "update", f"JobId={job}", f"NodeList={','.join(kept)}"), cwd=str(self.log.parent)
        )  # it leaves a script where it is typed
        if done.returncode == 0:
            logger.info("gave %s back: nothing is left for them", ", ".join(sorted(ripe)))
        self.watch.refresh(at_once=True)

    def sweep(self, slots: Sequence[Slot]) -> None:
        """End the steps of slots whose worker is gone."""
        sweep_steps(*(self.names.slot(slot.number) for slot in slots))

    def close(self) -> None:
        """End the workers."""
        deadline = time.monotonic() + STOP_S
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            for step in self._steps:
                if number is not None and step.poll() is None:
                    step.send_signal(number)
            for step in self._steps:
                try:
                    step.wait(max(0.1, deadline - time.monotonic()) if number is None else STOP_S)
                except subprocess.TimeoutExpired:
                    continue


@dataclass(slots=True)
class TypedSteps(WorkerSteps):
    """The workers of a run that was typed under `srun`: its other ranks come by themselves, our node's we start."""

    file: Path = Path()
    tls: str = ""

    def bring(self, scheduler: str, options: Sequence[str]) -> None:
        """Tell the other ranks where we are, and start the worker of this node."""
        durable.write_json(self.file, {"address": scheduler, "tls": self.tls})
        program = self._worker(scheduler, options)
        self._began_s = time.monotonic()
        with self.log.open("ab") as output:
            self._steps.append(
                subprocess.Popen(
                    program, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                    env=dict(os.environ),
                )
            )  # fmt: skip

    def _start(self, nodes: Sequence[str]) -> None:
        """The other ranks can't be started again: their nanny does what can be done."""

    def release(self, nodes: Sequence[str]) -> None:
        """The step that we stand in would lose its nodes, and we with them."""

    def close(self) -> None:
        """End the workers."""
        WorkerSteps.close(self)
        self.file.unlink(missing_ok=True)
