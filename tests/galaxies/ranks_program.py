"""One mock on 1, 2, 4 and 8 ranks of the same program: ranks_program.py CATALOGUE DIRECTORY gathered|collective [N_GEN]"""

import sys
import time
from pathlib import Path

import jax
from mpi4py import MPI

from campaign.generators.galaxies import GalaxyModelParams, MPIContext, generate_galaxies, load_and_filter_halos
from campaign.generators.galaxies.catalogue import write_parallel_hdf5

catalogue, directory, collective = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "collective"
n_gen = int(sys.argv[4]) if len(sys.argv) > 4 else None
world = MPI.COMM_WORLD
for size in (1, 2, 4, 8):
    if size > world.size:
        break
    comm = world.Split(int(world.rank < size), world.rank)
    if world.rank < size:
        context = MPIContext(comm if size > 1 else None, world.rank, size, tuple(jax.local_devices()))
        hosts = load_and_filter_halos(catalogue, 1e12, n_gen, context, cleaned=False)
        galaxies = generate_galaxies(hosts, GalaxyModelParams(redshift=1.0), 7)
        target = directory / f"{sys.argv[3]}_{size}.hdf5"
        write_parallel_hdf5(
            galaxies, hosts, target, context, hosts.metadata.box_size, collective=collective and size > 1
        )
    together = world.Ibarrier()
    while not together.Test():  # MPI's own waiting would take the cores from those that compute
        time.sleep(0.01)
