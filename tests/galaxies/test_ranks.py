"""Real MPI: the same catalogue for any number of ranks, whoever writes it."""

import os
import subprocess
import sysconfig
from pathlib import Path

import asdf
import h5py
import numpy as np
import pytest

pytest.importorskip("mpi4py")
pytestmark = [pytest.mark.slow, pytest.mark.galaxies]

PROGRAM = Path(__file__).with_name("ranks_program.py")
PARALLEL = Path(__file__).parents[2] / ".venv-mpio"


@pytest.fixture(scope="module")
def split(catalogue, tmp_path_factory):
    """The synthetic catalogue in five files, as AbacusSummit comes in many."""
    target = tmp_path_factory.mktemp("split") / "synthetic_c000_ph000" / "halos" / "z1.000"
    (target / "halo_info").mkdir(parents=True)
    with asdf.open(catalogue / "halo_info" / "halo_info_000.asdf", memmap=False) as file:
        data = {name: np.array(column) for name, column in file["data"].items()}
        for n, rows in enumerate(np.array_split(np.arange(len(data["id"])), 5)):
            part = {"header": dict(file["header"]), "data": {name: column[rows] for name, column in data.items()}}
            asdf.AsdfFile(part).write_to(target / "halo_info" / f"halo_info_{n:03d}.asdf")
    return target


def launch(ranks, environment, *arguments):
    """Run the program on so many ranks, all on this machine."""
    scripts = Path(environment) / "bin"
    done = subprocess.run(
        [scripts / "mpiexec", "-launcher", "fork", "-n", str(ranks), scripts / "python", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def gathered(split, tmp_path_factory):
    """The catalogues that 1, 2 and 4 ranks made, gathered on rank 0."""
    directory = tmp_path_factory.mktemp("gathered")
    launch(4, Path(sysconfig.get_path("scripts")).parent, split, directory, "gathered")
    return directory


def test_any_number_of_ranks_gives_the_same_bytes(gathered):
    one = (gathered / "gathered_1.hdf5").read_bytes()
    assert len(one) > 100_000
    for ranks in (2, 4):
        assert (gathered / f"gathered_{ranks}.hdf5").read_bytes() == one, ranks


def test_test_mode_takes_the_same_haloes_on_any_number_of_ranks(split, tmp_path):
    launch(2, Path(sysconfig.get_path("scripts")).parent, split, tmp_path, "gathered", "25")
    assert (tmp_path / "gathered_1.hdf5").read_bytes() == (tmp_path / "gathered_2.hdf5").read_bytes()
    with h5py.File(tmp_path / "gathered_2.hdf5") as file:
        assert file["halos"].attrs["count"] == 25


@pytest.mark.skipif(not (PARALLEL / ".complete").exists(), reason="make mpio builds an h5py on parallel HDF5")
def test_ranks_that_write_together_write_the_same_columns(gathered, split, tmp_path):
    launch(4, PARALLEL, split, tmp_path, "collective")
    with h5py.File(gathered / "gathered_1.hdf5") as one:
        for ranks in (2, 4):
            with h5py.File(tmp_path / f"collective_{ranks}.hdf5") as other:
                assert dict(one.attrs) == dict(other.attrs)
                for group in ("galaxies", "halos"):
                    for name, column in one[group].items():
                        assert np.array_equal(column[...], other[group][name][...]), (ranks, name)
                        assert other[group][name].fletcher32
                        assert other[group][name]._filters == column._filters


def test_writing_together_is_refused_where_h5py_can_not(tmp_path):
    if h5py.get_config().mpi:
        pytest.skip("this h5py can")
    from campaign.generators.galaxies.catalogue import _write_collectively
    from campaign.generators.galaxies.mpi import MPIContext, MPIError

    with pytest.raises(MPIError, match="without parallel HDF5"):
        _write_collectively(tmp_path / "x.hdf5", {}, {}, {}, "gzip", MPIContext(None, 0, 2, ()))
