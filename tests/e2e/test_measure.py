"""What is measured may change: products that exist are measured again, and nothing is mistaken for what has its name."""

import json

import numpy as np
import pytest
import xarray as xr

import campaign
from campaign import conduct, measure, opening
from campaign.errors import UsageError
from tests.e2e.commands import campaign as command

pytest.importorskip("diffsky")
pytestmark = pytest.mark.slow

MOCKS = """
campaign: {name: mocks, version: v1.0}
science: {realizations: 3, redshifts: [1.0], simulation_suite: synthetic}
strategy:
  overrides:
    galaxies:
      min_mass: 2.0e12
      synthetic: {box_size: 60.0}
      measurements: %s
execution: {batch_size: 2}
resources: {slots: 1}
outputs: {base_path: %s}
"""
FEW, MORE = (
    "{quantities: [mass_functions]}",
    "{quantities: [mass_functions, power_spectrum], clustering: {k_step: 0.2}}",
)
OTHER = "{quantities: [mass_functions, power_spectrum], clustering: {k_step: 0.19}}"


@pytest.fixture
def mocks(tmp_path):
    """Writes the YAML of three mocks that measure what is asked for."""

    def write(measurements):
        path = tmp_path / "mocks.yaml"
        path.write_text(MOCKS % (measurements, tmp_path / "campaigns"))
        return path

    return write


def run(path, *settings):
    config, generator = opening.read_config(path, settings)
    return conduct.run_campaign(config, generator, conduct.Options(plain=True, dashboard=None))


def test_products_that_exist_are_measured(mocks, tmp_path, compiled, caplog):
    directory = tmp_path / "campaigns" / "v1.0_mocks"
    compiled(directory)
    assert run(mocks(MORE)).exit_code == 0
    truth = xr.open_zarr(directory / "results.zarr").load()
    directory.rename(tmp_path / "whole")
    compiled(directory)
    assert run(mocks(FEW)).exit_code == 0
    assert "power_spectrum" not in xr.open_zarr(directory / "results.zarr")
    path = mocks(MORE)
    out, _ = command("measure", str(path), "--dry-run")
    assert "3 jobs lack power_spectrum, shot_noise" in out
    out, _ = command("measure", str(path), "--processes", "2")
    assert "3 jobs have now power_spectrum, shot_noise" in out
    found = xr.open_zarr(directory / "results.zarr").load()
    for name in ("power_spectrum", "shot_noise", "stellar_mass_function", "n_galaxies", "product_sha256", "attempt"):
        xr.testing.assert_equal(found[name], truth[name])
    assert "every completed job has all" in command("measure", str(directory))[0]
    assert "0 completed in this run" in command("run", str(path), "--plain", "--dashboard", "off")[0]
    assert json.loads(command("audit", str(directory), "--json")[0])["sound"]

    # Other bins of the same number are not what has their name.
    before = found.power_spectrum
    assert run(mocks(OTHER)).exit_code == 0
    assert campaign.open(directory).power_spectrum.isnull().all()
    config, generator = opening.read_config(mocks(OTHER))
    assert len(measure.fill(config, generator, processes=1).filled) == 3
    after = campaign.open(directory).power_spectrum.load()
    assert after.notnull().all()
    assert after.shape == before.shape
    assert run(mocks(FEW)).exit_code == 0  # not wanted for a while, and then in the first bins again
    assert len(measure.fill(*opening.read_config(mocks(OTHER)), processes=1).filled) == 0
    first, generator = opening.read_config(mocks(MORE))
    assert len(measure.fill(first, generator, processes=1, dry_run=True).filled) == 3
    assert campaign.open(directory).power_spectrum.notnull().all()  # looking changes nothing
    assert len(measure.fill(first, generator, processes=1).filled) == 3
    xr.testing.assert_equal(campaign.open(directory).power_spectrum.load(), truth.power_spectrum)
    assert len(measure.fill(config, generator, processes=1).filled) == 3
    command("consolidate", str(directory), "--rebuild")
    np.testing.assert_array_equal(campaign.open(directory).power_spectrum, after)


def test_a_product_that_is_lost_hinders_no_other(mocks, tmp_path, compiled):
    directory = tmp_path / "campaigns" / "v1.0_mocks"
    compiled(directory)
    assert run(mocks(FEW)).exit_code == 0
    next(directory.glob("catalogs/r0001/*")).unlink()
    config, generator = opening.read_config(mocks(MORE))
    told = measure.fill(config, generator, processes=1)
    assert len(told.filled) == 2
    assert [line.partition(":")[0] for line in told.refused] == ["r0001/mock_z1.000"]
    assert campaign.open(directory).shot_noise.notnull().values.ravel().tolist() == [True, False, True]


def test_not_every_generator_can_measure_later(scripted_yaml):
    config, generator = opening.read_config(scripted_yaml())
    conduct.run_campaign(config, generator, conduct.Options(plain=True, dashboard=None))
    with pytest.raises(UsageError, match="can't measure a product"):
        measure.fill(config, generator)
