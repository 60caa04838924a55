"""A small synthetic simulation, made once for all tests of the galaxies generator."""

import os

import pytest

pytest.importorskip("diffsky")

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from campaign.core.model import Task
from campaign.generators.galaxies import Galaxies, GalaxiesOptions
from campaign.generators.galaxies.options import SyntheticOptions
from campaign.generators.galaxies.synthetic import ensure_catalogue, recipe


@pytest.fixture(autouse=True)
def _strict(monkeypatch):
    """Stricter than users run: no silent rank promotion in JAX."""
    import jax

    jax.config.update("jax_numpy_rank_promotion", "raise")
    yield
    jax.config.update("jax_numpy_rank_promotion", "allow")


SMALL = SyntheticOptions(box_size=60.0)


@pytest.fixture(scope="session")
def suite_root(tmp_path_factory):
    return tmp_path_factory.mktemp("suite")


@pytest.fixture(scope="session")
def catalogue(suite_root):
    """Directory of one synthetic halo catalogue at redshift 1."""
    path = suite_root / recipe(SMALL, 3) / "synthetic_c000_ph000" / "halos" / "z1.000"
    ensure_catalogue(path, SMALL, 1.0, seed=3, phase=0)
    return path


@pytest.fixture
def make_task(suite_root):
    def make(realization=0, redshift=1.0, seed=3, **options):
        config = GalaxiesOptions(simulation_root=str(options.pop("root", suite_root)), synthetic=SMALL, **options)
        point = {"realization": realization, "redshift": redshift}
        return Task(
            job=0, name="mock", attempt=1, batch=0, point=point, seed=11, campaign_seed=seed, generator="galaxies",
            config=config.model_dump(mode="json"), resolved_config_hash="c" * 64, task_fingerprint="f" * 64,
            product=f"catalogs/r{realization:04d}/mock_z{redshift:.3f}.hdf5", timeout_s=600,
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def generator():
    return Galaxies()
