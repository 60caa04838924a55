"""One place that starts MPI and JAX."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.errors import Code, JobError

_LAUNCHED_BY_MPI = ("PMI_SIZE", "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE")


class MPIError(JobError):
    """MPI can't be started, or a parallel operation failed."""


class JAXError(JobError):
    """JAX finds no device to compute on."""


@dataclass(frozen=True, slots=True)
class MPIContext:
    """The communicator of a job and the devices of this rank."""

    comm: Any  # mpi4py communicator, None when there is one rank
    rank: int
    size: int
    jax_devices: tuple[Any, ...]


def initialize_mpi_jax() -> MPIContext:
    """Start MPI where a launcher started this process as one of several ranks, and JAX always.

    Raises MPIError where a launcher is seen but mpi4py is missing or fails, or where the communicator has not as many
    ranks as the slot was given; JAXError where JAX has no device.
    """
    comm, rank, size = _communicator()
    import jax

    try:
        devices = tuple(jax.local_devices())
    except RuntimeError as error:
        raise JAXError(
            Code.GENERATOR_UNAVAILABLE,
            f"JAX finds no device: {error}",
            action="set JAX_PLATFORMS=cpu to compute on CPUs",
        ) from error
    return MPIContext(comm, rank, size, devices)


def counts(rows: int, context: MPIContext) -> list[int]:
    """How many rows each rank has, told to all."""
    return [rows] if context.comm is None else list(context.comm.allgather(rows))


def concatenated(column: npt.NDArray[Any], context: MPIContext) -> npt.NDArray[Any] | None:
    """The rows of every rank, in rank order, on rank 0; None on the others."""
    if context.comm is None:
        return column
    column = np.ascontiguousarray(column)
    rows = context.comm.gather(len(column), root=0)
    if rows is None:
        context.comm.Gatherv(column.reshape(-1), None, root=0)
        return None
    whole = np.empty((sum(rows), *column.shape[1:]), column.dtype)
    width = whole[:1].size or int(np.prod(column.shape[1:], dtype=int))
    context.comm.Gatherv(column.reshape(-1), (whole.reshape(-1), [n * width for n in rows]), root=0)
    return whole


def exchanged(column: npt.NDArray[Any], owner: npt.NDArray[np.int64], context: MPIContext) -> npt.NDArray[Any]:
    """The rows of all ranks that this rank owns, ordered by the rank that they come from."""
    if context.comm is None:
        return column
    order = np.argsort(owner, kind="stable")
    sent = np.bincount(owner, minlength=context.size)
    received = np.array(context.comm.alltoall(sent.tolist()))
    width = int(np.prod(column.shape[1:], dtype=int))
    mine = np.empty((int(received.sum()), *column.shape[1:]), column.dtype)
    send = np.ascontiguousarray(column[order]).reshape(-1)
    context.comm.Alltoallv([send, sent * width], [mine.reshape(-1), received * width])
    return mine


def _communicator() -> tuple[Any, int, int]:
    asked = os.environ.get("CAMPAIGN_RANKS")
    if asked == "1" or (asked is None and not any(name in os.environ for name in _LAUNCHED_BY_MPI)):
        return None, 0, 1
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise MPIError(
            Code.GENERATOR_UNAVAILABLE,
            f"this process was started by an MPI launcher, but mpi4py can't be used: {error}",
            action="pip install 'campaign[mpi]'",
        ) from error
    comm = MPI.COMM_WORLD
    if asked is not None and comm.Get_size() != int(asked):
        raise MPIError(
            Code.MPI_UNUSABLE,
            f"{asked} ranks were asked for, and MPI made a communicator of {comm.Get_size()}",
            action="set slurm.mpi to what your MPI speaks; `srun --mpi=list` shows the choices",
        )
    return (comm, comm.Get_rank(), comm.Get_size()) if comm.Get_size() > 1 else (None, 0, 1)
