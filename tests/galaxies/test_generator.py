"""The generator as a slot runs it: products, bad inputs, and the names of the requirement document."""

import gc
import hashlib
import inspect
from dataclasses import replace
from pathlib import Path

import asdf
import h5py
import numpy as np
import pytest

from campaign.adapters.local import SystemClock
from campaign.attempt import run_attempt
from campaign.core.model import Outcome
from campaign.errors import JobError, ProductError
from campaign.generators import galaxies
from campaign.generators.galaxies.catalogue import validate_output_path, verify_catalogue


@pytest.fixture
def attempt(generator, tmp_path):
    def go(task):
        return run_attempt(task, generator, tmp_path, SystemClock()), tmp_path / task.product

    return go


def test_a_mock_is_made_verified_and_the_same_for_ever(attempt, make_task, tmp_path):
    record, product = attempt(make_task())
    assert record.outcome is Outcome.COMPLETED, record.failure
    assert set(record.phases_s) == {"prepare", "initialize", "load", "compute", "measure", "write", "verify"}
    assert record.products[0].sha256 == hashlib.sha256(product.read_bytes()).hexdigest()
    again, _ = attempt(replace(make_task(), attempt=2))
    assert again.notes == ("the same product was already there",)
    with h5py.File(product) as file:
        assert file["galaxies"].attrs["count"] == record.measurements["n_galaxies"]
        assert file["halos"].attrs["count"] == record.measurements["n_halos"]
        assert file["galaxies/position"].attrs["units"] == "Mpc/h"
        assert file.attrs["campaign_seed"] == 3
    assert 0 < record.measurements["satellite_fraction"] < 1
    assert record.measurements["sfr_density"] > 0


def test_measurements_agree_with_the_product(attempt, make_task):
    record, product = attempt(make_task())
    with h5py.File(product) as file:
        mass = file["galaxies/log_stellar_mass"][...]
        density = np.histogram(mass, bins=np.linspace(8, 12, 21))[0] / (60.0**3 * 0.2)
        assert record.measurements["stellar_mass_function"] == pytest.approx(density.tolist(), rel=1e-9)


def test_test_mode_takes_the_first_haloes(attempt, make_task):
    record, _ = attempt(make_task(n_gen=25))
    assert record.measurements["n_halos"] == 25


@pytest.fixture
def abacus(catalogue, tmp_path):
    """The synthetic catalogue under the name of an AbacusSummit simulation: an input that is not ours to make."""
    root = tmp_path / "abacus"
    target = root / "AbacusSummit_small_c000_ph3000" / "halos" / "z1.000" / "halo_info"
    target.mkdir(parents=True)
    (target / "halo_info_000.asdf").write_bytes((catalogue / "halo_info" / "halo_info_000.asdf").read_bytes())
    return root


def abacus_task(make_task, root, **options):
    return make_task(
        root=root, simulation_suite="AbacusSummit_small", cleaned=False, measurements={"box_size": 60.0}, **options
    )


def test_abacus_catalogues_are_read_by_the_same_door(attempt, make_task, abacus):
    record, product = attempt(abacus_task(make_task, abacus))
    assert record.outcome is Outcome.COMPLETED, record.failure
    synthetic, own = attempt(make_task())
    with h5py.File(product) as one, h5py.File(own) as other:
        assert np.array_equal(one["galaxies/position"], other["galaxies/position"])
    assert synthetic.measurements["n_galaxies"] == record.measurements["n_galaxies"]


def only_file(root):
    return root / "AbacusSummit_small_c000_ph3000" / "halos" / "z1.000" / "halo_info" / "halo_info_000.asdf"


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def put_nan(path):
    with asdf.open(path, memmap=False) as file:
        tree = {"header": dict(file["header"]), "data": {k: np.array(v) for k, v in file["data"].items()}}
    tree["data"]["v_com"][3, 1] = np.nan
    asdf.AsdfFile(tree).write_to(path)


def outside(path):
    with asdf.open(path, memmap=False) as file:
        tree = {"header": dict(file["header"]), "data": {k: np.array(v) for k, v in file["data"].items()}}
    tree["data"]["x_com"][0, 0] = 0.7
    asdf.AsdfFile(tree).write_to(path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the reader leaves a damaged file open
@pytest.mark.parametrize(
    ("harm", "options", "outcome", "code", "words"),
    [
        (lambda p: p.unlink(), {}, "missing_input", "input.missing", "incomplete"),
        (lambda p: p.parents[1].rename(p.parents[2] / "z9.000"), {}, "missing_input", "input.missing", "no halo catalogue at"),
        (truncate, {}, "failed", "input.damaged", "can't be read"),
        (lambda p: p.write_bytes(b""), {}, "failed", "input.damaged", "can't be read"),
        (put_nan, {}, "failed", "input.not_finite", "v_com"),
        (outside, {}, "failed", "input.damaged", "outside its box"),
        (lambda p: None, {"min_mass": 1e17}, "failed", "input.empty", "no halo of 1e+17"),
    ],
)  # fmt: skip
def test_each_bad_input_has_its_own_record(attempt, make_task, abacus, harm, options, outcome, code, words):
    harm(only_file(abacus))
    record, product = attempt(abacus_task(make_task, abacus, **options))
    assert (record.outcome, record.failure.code) == (outcome, code)
    assert words in record.failure.message
    assert "->" in record.failure.message
    assert not record.failure.transient
    assert not product.exists()
    gc.collect()


def test_cleaned_catalogues_are_the_default_and_their_absence_is_told(attempt, make_task, abacus):
    record, _ = attempt(make_task(root=abacus, simulation_suite="AbacusSummit_small"))
    assert record.outcome is Outcome.MISSING_INPUT
    assert "cleaned: false" in record.failure.message


def damage(path, how):
    with h5py.File(path, "r+") as file:
        how(file)


def shorten(file):
    values = file["galaxies/log_sfr"][:-1]
    del file["galaxies/log_sfr"]
    file["galaxies/log_sfr"] = values


def spoil(name, value):
    def how(file):
        file[name][0] = value

    return how


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (shorten, "rows"),
        (spoil("galaxies/log_stellar_mass", np.nan), "not finite"),
        (spoil("galaxies/position", [40.0, 0.0, 0.0]), "leaves the box"),
        (lambda file: file["halos"].attrs.modify("count", 1), "1 rows"),
        (lambda file: file.__delitem__("halos"), "can't be read"),
    ],
)
def test_a_catalogue_is_complete_only_when_it_reads_back(attempt, make_task, how, words):
    record, product = attempt(make_task(compression="none"))
    damage(product, how)
    with pytest.raises(ProductError, match=words):
        verify_catalogue(product, record.measurements["n_galaxies"], record.measurements["n_halos"])


def test_a_truncated_or_flipped_catalogue_is_found(attempt, make_task):
    record, product = attempt(make_task())
    counts = record.measurements["n_galaxies"], record.measurements["n_halos"]
    data = bytearray(product.read_bytes())
    with h5py.File(product) as file:
        offset = file["galaxies/velocity"].id.get_chunk_info(0).byte_offset
    data[offset + 20] ^= 8
    product.write_bytes(data)
    with pytest.raises(ProductError):
        verify_catalogue(product, *counts)
    product.write_bytes(data[: len(data) // 2])
    with pytest.raises(ProductError):
        verify_catalogue(product, *counts)


def test_the_document_s_names_are_ours():
    expected = {
        "initialize_mpi_jax": [],
        "load_and_filter_halos": ["catalog_path", "min_mass", "n_gen", "mpi_context"],
        "generate_galaxies": ["halo_catalog", "galaxy_model_params", "random_seed"],
        "write_parallel_hdf5": ["galcat", "halo_data", "output_path", "mpi_context", "box_size"],
        "build_abacus_path": ["root", "suite", "cosmology", "phase", "redshift"],
    }
    for name, arguments in expected.items():
        assert list(inspect.signature(getattr(galaxies, name)).parameters)[: len(arguments)] == arguments
    context = galaxies.initialize_mpi_jax()
    assert (context.rank, context.size, context.comm) == (0, 1, None)
    assert len(context.jax_devices) >= 1
    assert galaxies.generate_output_filename(1.1) == "mock_z1.100.hdf5"
    path = galaxies.build_abacus_path("/data", "AbacusSummit_small", "c000", 3000, 1.1)
    assert path == Path("/data/AbacusSummit_small_c000_ph3000/halos/z1.100")


@pytest.mark.parametrize("suite", ["../etc", "a/b", ""])
def test_paths_can_not_leave_the_root(suite):
    with pytest.raises(ValueError, match="not the name"):
        galaxies.build_abacus_path("/data", suite, "c000", 0, 1.0)


def test_output_paths_stay_in_the_campaign(tmp_path):
    assert validate_output_path(tmp_path / "a" / "m.hdf5", tmp_path).name == "m.hdf5"
    for bad in (tmp_path / ".." / "m.hdf5", tmp_path / "m.txt"):
        with pytest.raises(ValueError, match=r"outside|does not end"):
            validate_output_path(bad, tmp_path)


def test_a_launcher_without_mpi4py_is_told(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(__import__("sys").modules, "mpi4py", None)
    with pytest.raises(JobError, match="mpi4py can't be used"):
        galaxies.initialize_mpi_jax()
