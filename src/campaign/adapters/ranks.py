"""The ranks of one slot: rank 0 tells, the others follow. The one place where a slot's processes meet MPI."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from campaign.errors import Code, JobError

IDLE_FIRST_S, IDLE_MOST_S = 0.0005, 0.01
"""Pauses of a rank that waits for its next job: MPI itself would wait with a busy core."""

RANK_VARIABLES = ("SLURM_PROCID", "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")
LOCAL_RANK_VARIABLES = ("SLURM_LOCALID", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "PMI_LOCAL_RANK")
NODE_VARIABLES = ("SLURM_NODEID",)


def launched_as(environment: Mapping[str, str], variables: tuple[str, ...]) -> int:
    """What the launcher of a rank calls it, 0 where none did."""
    return next((int(environment[name]) for name in variables if name in environment), 0)


class Ranks:
    """The ranks of this slot; `comm` is None where there is one."""

    def __init__(self, comm: Any, rank: int, size: int) -> None:
        self._comm, self.rank, self.size = comm, rank, size

    def tell(self, text: str) -> None:
        """Send a text from rank 0 to every other rank."""
        for other in range(1, self.size):
            self._comm.send(text, dest=other)

    def listen(self) -> str:
        """The next text from rank 0."""
        pause = IDLE_FIRST_S
        while not self._comm.iprobe(source=0):
            time.sleep(pause)
            pause = min(2 * pause, IDLE_MOST_S)
        text: str = self._comm.recv(source=0)
        return text

    def abort(self) -> None:
        """End every rank at once; does not return."""
        if self._comm is not None:
            self._comm.Abort(1)
        os._exit(1)


def join_ranks(expected: int) -> Ranks:
    """The ranks of this slot; JobError where there are not as many as were asked for."""
    if expected == 1:
        return Ranks(None, 0, 1)
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise JobError(
            Code.MPI_UNUSABLE, f"jobs of several ranks need mpi4py, which can't be used here: {error}",
            action="pip install 'campaign[mpi]'",
        ) from error  # fmt: skip
    comm = MPI.COMM_WORLD
    if comm.Get_size() != expected:
        raise JobError(
            Code.MPI_UNUSABLE,
            f"{expected} ranks were asked for, and MPI made a communicator of {comm.Get_size()}: "
            "the launcher and the MPI library don't understand each other",
            action="set slurm.mpi to what your MPI speaks; `srun --mpi=list` shows the choices",
        )
    return Ranks(comm.Dup(), comm.Get_rank(), expected)  # our words never meet those of the generator
