"""The quickstart, smaller: real catalogues, a real kill, the same bytes."""

import re
import shutil
from pathlib import Path

import h5py
import pytest
import xarray as xr

from campaign.core.model import State
from tests.e2e.test_run import finish, products, run, same_science, start, wait_for

pytest.importorskip("diffsky")

YAML = """
campaign: {{name: mocks}}
science: {{realizations: 3, redshifts: [1.0, 2.0], seed: 5}}
strategy:
  defaults: {{simulation_root: {root}/inputs}}
  overrides: {{galaxies: {{synthetic: {{box_size: 50.0}}}}}}
execution: {{batch_size: 2, timeout_hours: 0.2}}
resources: {{slots: 2}}
outputs: {{base_path: {root}/campaigns}}
"""


@pytest.mark.slow
def test_a_campaign_of_mocks_killed_in_the_middle_gives_the_same_bytes(tmp_path, monkeypatch):
    path = tmp_path / "mocks.yaml"
    path.write_text(YAML.format(root=tmp_path))
    directory = tmp_path / "campaigns" / "v1.0_mocks"
    process = start(path)
    wait_for(lambda: products(directory) if directory.exists() else {}, 240)
    process.kill()
    finish(process)
    code, out, err = run(path)
    assert code == 0, err
    assert "6 completed" in out

    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(directory / "cache" / "jax", elsewhere / "v1.0_mocks" / "cache" / "jax")
    arguments = ("--set", f"outputs.base_path={elsewhere}", "--set", "execution.order=redshift_major")
    code, _, err = run(path, *arguments, "--set", f"strategy.defaults.simulation_root={tmp_path}/other_inputs")
    assert code == 0, err
    assert products(directory) == products(elsewhere / "v1.0_mocks")
    dataset = xr.open_zarr(directory / "results.zarr").load()
    same_science(dataset, xr.open_zarr(elsewhere / "v1.0_mocks" / "results.zarr").load())

    assert (dataset.status == State.COMPLETED).all()
    assert (dataset.n_galaxies.mean("realization").diff("redshift") < 0).all(), "structure grows with time"
    first = dataset.sel(realization=1, redshift=2.0)
    with h5py.File(directory / str(first["product"].item())) as file:
        assert file["galaxies"].attrs["count"] == first.n_galaxies
        assert file.attrs["redshift"] == 2.0
        assert file.attrs["task_fingerprint"] == str(first.task_fingerprint.item())

    # The README's own lines, on this campaign.
    (block,) = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "README.md").read_text(), re.DOTALL)
    (tmp_path / "campaigns" / "v1.0_quickstart").symlink_to(directory)
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(block, scope)
    assert scope["counts"].sizes == {"realization": 3}
    assert scope["smf"].dims == ("redshift", "log_stellar_mass")
    assert Path(scope["first"]).exists()
