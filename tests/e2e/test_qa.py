"""A campaign of mocks has a verdict, pictures that prove it, and statistics; compared with theory it can be wrong."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import campaign
from tests.e2e.commands import campaign as command
from tests.e2e.test_measure import run

pytest.importorskip("diffsky")
pytestmark = pytest.mark.slow

MOCKS = """
campaign: {name: mocks, version: v1.0}
science: {realizations: 12, redshifts: [1.0], simulation_suite: synthetic}
strategy:
  overrides:
    galaxies: {min_mass: 2.0e12, synthetic: {box_size: 60.0}, measurements: {clustering: {k_max: 0.5}}}
outputs: {base_path: %s}
resources: {slots: 1}
"""


@pytest.fixture
def mocks(tmp_path, compiled):
    path, directory = tmp_path / "mocks.yaml", tmp_path / "campaigns" / "v1.0_mocks"
    path.write_text(MOCKS % (tmp_path / "campaigns"))
    compiled(directory)
    assert run(path).exit_code == 0
    return directory


def test_mocks_are_checked_and_their_statistics_are_there(mocks):
    verdict = json.loads((mocks / "qa" / "validation_reports" / "verdict.json").read_text())  # made when the run ended
    assert verdict["verdict"] in ("pass", "warn")
    by_name = {check["name"]: check for check in verdict["checks"]}
    assert by_name["expected_halo_mass_function"]["verdict"] == "pass"
    assert "Tinker" in by_name["expected_halo_mass_function"]["words"]
    assert by_name["completeness"]["verdict"] == "pass"
    reports = {path.stem for path in (mocks / "qa" / "validation_reports").iterdir()}
    assert reports == {*by_name, "verdict"}
    pictures = {path.stem for path in (mocks / "qa" / "summary_plots").iterdir()}
    assert {"halo_mass_function", "power_spectrum", "power_spectrum_correlation"} <= pictures
    assert "data:image/png" in (mocks / "qa" / "report.html").read_text()
    statistics, results = xr.open_zarr(mocks / "statistics.zarr").load(), campaign.open(mocks)
    np.testing.assert_allclose(
        statistics.stellar_mass_function_covariance[0],
        results.campaign.covariance("stellar_mass_function", gaps="bins")[0],
    )
    assert statistics.power_spectrum_mean.dims == ("redshift", "power_spectrum_bin")
    assert set(statistics.power_spectrum_ell.values.tolist()) == {0, 2, 4}
    out, _ = command("qa", str(mocks))
    assert "expected_halo_mass_function: halo_mass_function agrees with the mass function of Tinker" in out
    assert json.loads(command("qa", str(mocks), "--json")[0])["statistics"] == str(mocks / "statistics.zarr")


def test_the_notebook_goes_from_the_dataset_to_the_figure(mocks, tmp_path, monkeypatch):
    docs = Path(__file__).parents[2] / "docs"
    kept = json.loads((docs / "covariance.ipynb").read_text())
    monkeypatch.syspath_prepend(docs)
    module = importlib.import_module("covariance")
    assert ["".join(cell["source"]) for cell in kept["cells"]] == [cell.source for cell in module.notebook().cells]
    drawn = [out for cell in kept["cells"] for out in cell.get("outputs", ()) if "image/png" in out.get("data", {})]
    assert len(drawn) == 3
    made = module.execute(module.notebook(str(mocks / "results.zarr")), tmp_path)
    assert not [out for cell in made.cells for out in cell.get("outputs", ()) if out.output_type == "error"]


def test_other_designs_are_checked_as_far_as_they_go(scripted_yaml, tmp_path):
    assert run(scripted_yaml(options="{script: {r0001/mock_z0.500: [fatal]}}")).exit_code == 4
    directory = tmp_path / "campaigns" / "v1.0_scripted"
    assert not list(
        (directory / "qa" / "validation_reports").iterdir()
    )  # nobody knows what to expect: when somebody asks
    out, _ = command("qa", str(directory), code=6)
    assert "fail  completeness: 11 of 12 jobs have completed, 1 have failed" in out
    assert "there are too few members" in command("qa", str(directory), "--over", "redshift", code=6)[0]
