"""What is the same is called the same, and p-values are distributed as p-values."""

import json

import h5py
import numpy as np
import pytest
import xarray as xr

import campaign.analyse.accessor  # noqa: F401
from campaign.analyse.comparison import campaigns, columns, hotelling, products
from campaign.analyse.portraits import of_ensemble
from campaign.analyse.quality import completeness, outliers
from campaign.core.model import State
from tests.e2e.commands import campaign as command
from tests.steps.test_quality import dataset


def catalogue(seed=0, rows=2000):
    stream = np.random.default_rng(seed)
    return {
        "galaxies/position": stream.uniform(-1, 1, (rows, 3)).astype(np.float32),
        "galaxies/mass": stream.normal(10, 1, rows),
        "galaxies/name": np.array([b"x"] * rows),
    }


def test_a_catalogue_is_itself():
    found = columns(catalogue(), catalogue())
    assert found.identical
    assert found.compatible
    assert {entry.name for entry in found.entries} == {
        "galaxies/position[0]", "galaxies/position[1]", "galaxies/position[2]", "galaxies/mass", "galaxies/name"
    }  # fmt: skip


def test_other_draws_are_compatible_and_others_are_not():
    again = columns(catalogue(0), catalogue(1))
    assert not again.identical
    assert again.compatible
    moved = catalogue(1)
    moved["galaxies/mass"] = moved["galaxies/mass"] + 0.3
    found = columns(catalogue(0), moved)
    assert [entry.name for entry in found.significant] == ["galaxies/mass"]
    last_bit = catalogue()
    last_bit["galaxies/mass"] = np.nextafter(last_bit["galaxies/mass"], 99)
    nearly = columns(catalogue(), last_bit)
    assert not nearly.identical
    assert nearly.compatible
    (mass,) = [entry for entry in nearly.entries if entry.name == "galaxies/mass"]
    assert 0 < mass.largest_difference < 1e-14


def test_columns_that_one_lacks_or_that_are_empty():
    less = catalogue()
    del less["galaxies/mass"]
    found = columns(catalogue(), less)
    assert found.only_in_one == ("galaxies/mass",)
    assert not found.compatible
    empty = columns({"a": np.zeros(0)}, {"a": np.ones(3)})
    assert empty.entries[0].p_value is None
    assert not empty.compatible
    half = catalogue(1, rows=1000)
    assert not columns(catalogue(), half).compatible  # drawn alike, and too few


def test_p_values_of_equal_ensembles_are_uniform():
    stream = np.random.default_rng(2)
    mixing = np.eye(5) + 0.5 * np.eye(5, k=1)
    p_values = np.sort(
        [
            hotelling(stream.standard_normal((15, 5)) @ mixing, stream.standard_normal((20, 5)) @ mixing)
            for _ in range(1500)
        ]
    )
    assert np.abs(p_values - np.linspace(0, 1, 1500)).max() < 0.045  # Kolmogorov and Smirnov: 0.042 at 1 in 100


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros((2, 3)), np.zeros((9, 3))),
        (np.ones((9, 3)), np.ones((9, 3))),
        (np.full((9, 2), np.nan), np.ones((9, 2))),
    ],
)
def test_what_can_t_be_told_has_no_p_value(one, other):
    assert hotelling(one, other) is None


def test_what_never_varies_and_differs_is_different():
    assert hotelling(np.zeros((9, 2)), np.full((9, 2), 5.0)) == 0


def test_axes_of_text_are_compared_and_checked():
    def of(seed):
        ds = dataset(30, seed).rename(redshift="model")
        return ds.assign_coords(model=np.array(["a", "b"], dtype=np.dtypes.StringDType()))

    found = campaigns(of(0), of(1))
    assert [entry.at for entry in found.entries] == [{"model": "a"}, {"model": "b"}]
    assert outliers(of(0), "power", "realization").figures["points"] == 2
    of_0 = of(0)
    of_0.status[1, 1] = State.FAILED
    assert completeness(of_0).figures["missing"] == [{"realization": 1, "model": "b", "state": "failed"}]
    assert [name for name, _ in of_ensemble(of(0), "realization", lambda at: {}, 3)] == ["power", "power_correlation"]


def test_campaigns_are_compared_point_by_point():
    same = campaigns(dataset(), dataset())
    assert same.identical
    assert [entry.at for entry in same.entries] == [{"redshift": 0.5}, {"redshift": 1.0}]
    other = dataset(50, seed=1)
    assert campaigns(dataset(), other).compatible
    other.power[:, 1, 3] += 2
    found = campaigns(dataset(), other)
    assert [(entry.name, entry.at) for entry in found.significant] == [("power", {"redshift": 1.0})]
    part = campaigns(dataset(), other.isel(redshift=[1]))
    assert [entry.at for entry in part.entries] == [{"redshift": 1.0}]
    assert set(part.only_in_one) == {"redshift 0.5"}
    assert not campaigns(dataset().isel(redshift=[0]), dataset().isel(redshift=[1])).compatible  # nothing is compared
    binned = dataset().assign_coords(k=np.arange(8.0))
    assert campaigns(dataset(), binned).only_in_one == ("power",)


def test_products_are_compared_by_checksum():
    one = dataset(4)
    sums = np.array([[f"{n}{m}" for m in range(2)] for n in range(4)])
    one["product_sha256"] = (("realization", "redshift"), sums)
    other = one.copy(deep=True)
    other.product_sha256[2, 1] = "zz"
    other.status[3] = State.FAILED
    assert products(one, other) == {"jobs": 8, "identical": 5, "different": 1, "in_one_only": 2}


@pytest.fixture
def files(tmp_path):
    def write(name, found):
        with h5py.File(tmp_path / name, "w") as file:
            for column, values in found.items():
                file[column] = values
        return str(tmp_path / name)

    return write


def test_as_a_person_types_it(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, same = files("one.h5", catalogue()), files("same.h5", catalogue())
    assert command("compare", one, same)[0] == "identical, bit for bit: 5 compared\n"
    moved = catalogue(1)
    moved["galaxies/mass"] += 1
    other = files("other.h5", moved)
    out, _ = command("compare", one, other, "--plot", code=6)
    assert out.startswith("5 compared, 4 not identical, 1 by more than chance\n  galaxies/mass: p = ")
    assert (tmp_path / "qa" / "summary_plots" / "compare_one_other.png").exists()
    told = json.loads(command("compare", one, other, "--json", code=6)[0])
    assert (told["identical"], told["compatible"], len(told["entries"])) == (False, False, 5)
    assert "there is no" in command("compare", one, "nowhere.h5", code=2)[1]
    assert "can't be compared" in command("compare", one, str(tmp_path), code=2)[1]
    (tmp_path / "text.h5").write_text("x")
    assert "can't be read as HDF5" in command("compare", one, "text.h5", code=2)[1]


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_two_campaigns_as_a_person_types_it(tmp_path):
    paths = []
    for n, ds in enumerate((dataset(), dataset(seed=3))):
        ds["product_sha256"] = (("realization", "redshift"), np.full((60, 2), "a" if n else "b", dtype=object))
        paths.append(tmp_path / f"v1.{n}_mocks")
        ds.to_zarr(paths[n] / "results.zarr", zarr_format=3)
    out, _ = command("compare", *map(str, paths))
    assert out.startswith(
        "products of the jobs that both have: 0 identical, 120 different, 0 in one only\n2 compared, 2 not identical, 0 by more than chance\n"
    )
    assert "no axis 'seed'" in command("compare", *map(str, paths), "--over", "seed", code=2)[1]
    assert xr.open_zarr(paths[0] / "results.zarr").sizes["realization"] == 60
