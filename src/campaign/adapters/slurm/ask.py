"""One door to SLURM's commands."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from campaign.errors import Code, UsageError

TIMEOUT_S = 60.0
"""A controller under load answers late; one that does not answer in a minute is taken for gone."""

KEPT = frozenset(
    {
        "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_CLUSTER_NAME", "SLURM_CONF", "SLURM_JOBID", "SLURM_JOB_ID",
        "SLURM_WORKING_CLUSTER",
    }
)  # fmt: skip
SCRUBBED = (
    "SLURM_",
    "SRUN_",
    "SLURMD_",
    "SBATCH_",
    "SALLOC_",
    "PMI_",
    "PMI2_",
    "PMIX_",
    "PALS_",
    "OMPI_",
    "HYDRA_",
    "MPIR_",
    "MPI_",
)


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what `srun` would read as a wish: only what names the job is left.

    `srun` takes the enclosing job's and step's variables for its own options (`SLURM_NNODES`, `SLURM_NTASKS`).
    """
    return {k: v for k, v in environment.items() if k in KEPT or not k.startswith(SCRUBBED)}


def ask(*command: str, check: bool = True, cwd: str | None = None) -> str:
    """What a command of SLURM answers; UsageError where it is not there or refuses."""
    done = attempt(command, cwd)
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise UsageError(
            Code.SLURM_REFUSED, f"`{' '.join(command[:6])}` failed: {said or done.returncode}",
            action="look at what SLURM says, and try again",
        )  # fmt: skip
    return done.stdout


def attempt(command: Sequence[str], cwd: str | None = None) -> subprocess.CompletedProcess[str]:
    """A command of SLURM, however it ends; UsageError where it is not there."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=cwd, env=scrubbed(os.environ),
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError:
        raise UsageError(
            Code.SLURM_REFUSED, f"{command[0]} is not here",
            action="go where SLURM's commands are, or set `resources.cluster: local`",
        ) from None  # fmt: skip
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(list(command), 1, "", f"no answer in {TIMEOUT_S:g} s")
