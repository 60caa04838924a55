"""Batch jobs: the script that starts a run, its submission, and what the queue says about it."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from campaign.adapters.slurm.ask import ask, attempt
from campaign.core.model import Config
from campaign.errors import Code, UsageError
from campaign.person import user

FIELDS = {"job": "%i", "state": "%T", "reason": "%r", "elapsed": "%M", "left": "%L", "nodes": "%D", "submitted": "%V"}
"""What the queue is asked for, and how `squeue` calls it."""

ACTIVE = ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUED", "RESIZING")


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """One line of the queue."""

    job: str
    state: str
    reason: str
    elapsed: str
    left: str
    nodes: str
    submitted: str


def job_name(directory: Path) -> str:
    """Name of every job of a campaign: told apart from other campaigns of the same name by where it lies."""
    digest = hashlib.sha256(str(directory).encode()).hexdigest()[:6]
    return f"campaign-{re.sub(r'[^A-Za-z0-9._-]', '_', directory.name)}-{digest}"


def batch_script(
    config: Config, command: Sequence[str], log: Path, workdir: Path, *, array: int | None = None,
    options: Sequence[str] = (),
) -> str:  # fmt: skip
    """The batch script that runs `command`; `options` are verbatim options of sbatch and win over the configuration.

    The shell is replaced by the command, so that signals reach it. A requeued job would run beside its successor.
    """
    slurm, shape = config.slurm, config.resources.shape
    part = "%A_%a" if array is not None else "%j"
    asked = [
        f"--job-name={job_name(Path(config.directory))}",
        f"--output={shlex.quote(f'{log}_{part}.out')}",
        f"--error={shlex.quote(f'{log}_{part}.err')}",
        "--open-mode=append",
        "--no-requeue",
        "--no-kill",
        f"--nodes={slurm.nodes}",
        f"--time={slurm.walltime}",
    ]
    if slurm.cpus_per_node is None:
        asked += [] if any("exclusive" in option for option in (*slurm.options, *options)) else ["--exclusive"]
    else:
        asked += ["--ntasks-per-node=1", f"--cpus-per-task={slurm.cpus_per_node}"]
    if slurm.memory_per_node_bytes is not None:
        asked.append(f"--mem={slurm.memory_per_node_bytes // 2**20}M")
    if shape.gpus_per_rank and not any("gpu" in option for option in (*slurm.options, *options)):
        asked.append(f"--gres=gpu:{shape.gpus_per_node}")
    if array is not None:
        asked.append(f"--array=0-{array - 1}")
    named = {"account": config.resources.account, "partition": slurm.partition, "qos": slurm.qos}
    named["constraint"] = slurm.constraint
    asked += [f"--{name}={value}" for name, value in named.items() if value]
    asked += [*slurm.options, *options]
    lines = [*(f"#SBATCH {option}" for option in asked), "", f"cd {shlex.quote(str(workdir))}", *slurm.prologue]
    return "\n".join(["#!/bin/bash", *lines, f"exec {shlex.join(command)}", ""])


def submit(script: Path, *, after: str = "") -> str:
    """Hand a script to sbatch; the number of the job. `after`: not before that job has ended, however it ended."""
    dependency = [f"--dependency=afterany:{after}"] if after else []
    told = ask("sbatch", "--parsable", *dependency, str(script))
    number = told.strip().partition(";")[0]
    if not number.isdecimal():
        raise UsageError(
            Code.SLURM_REFUSED, f"sbatch gave no number of a job: {told.strip()!r}",
            action="look at what SLURM says, and try again",
        )  # fmt: skip
    return number


def cancel(*jobs: str) -> None:
    """Take jobs out of the queue."""
    attempt(("scancel", *jobs))


def queued(directory: Path) -> list[QueuedJob] | None:
    """The jobs of a campaign in the queue, the oldest first; none without SLURM, None where SLURM does not answer."""
    if shutil.which("squeue") is None:
        return []
    form = "|".join(FIELDS.values())
    done = attempt(("squeue", "-h", "-u", user(), "--name", job_name(directory), "-o", form))
    if done.returncode:
        return None
    rows = [line.split("|") for line in done.stdout.splitlines() if line.strip()]
    jobs = [QueuedJob(*row) for row in rows if len(row) == len(FIELDS)]
    return sorted((job for job in jobs if job.state in ACTIVE), key=lambda job: (job.submitted, job.job))
