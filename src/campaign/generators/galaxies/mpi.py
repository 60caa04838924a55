"""One place that starts MPI and JAX."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

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

    Raises MPIError where a launcher is seen but mpi4py is missing or fails, JAXError where JAX has no device.
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


def _communicator() -> tuple[Any, int, int]:
    if not any(name in os.environ for name in _LAUNCHED_BY_MPI):
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
    return (comm, comm.Get_rank(), comm.Get_size()) if comm.Get_size() > 1 else (None, 0, 1)
