"""Errors by resampling, thresholds of samples, and the accessor that has them by name."""

from functools import partial

import numpy as np
import pytest
import xarray as xr

import campaign.analyse.accessor  # noqa: F401
from campaign.analyse import bootstrap, covariance, jackknife, mean, percentiles, threshold
from campaign.core.model import State
from campaign.errors import UsageError
from tests.steps.test_moments import K, ensemble


def test_both_give_the_error_of_a_mean():
    values = ensemble(200).sel(ell=0)
    expected = values.std("realization", ddof=1) / np.sqrt(200)
    by_hand = jackknife(values, mean)
    np.testing.assert_allclose(by_hand.error, expected, rtol=1e-10)
    np.testing.assert_allclose(by_hand.bias, 0, atol=1e-9)
    drawn = bootstrap(values, mean, resamples=400, seed=2)
    np.testing.assert_allclose(drawn.error, expected, rtol=0.15)
    np.testing.assert_allclose(drawn.value, values.mean("realization"))
    assert ((drawn.low < drawn.value) & (drawn.value < drawn.high)).all()
    assert drawn.attrs == {"method": "bootstrap", "members": 200, "resamples": 400, "confidence": 0.68}


def test_groups_are_left_out_together():
    values = ensemble(100).sel(ell=0)
    found = jackknife(values, mean, groups=10)
    assert found.attrs["groups"] == 10
    np.testing.assert_allclose(found.error, values.std("realization", ddof=1) / 10, rtol=0.8)


def test_of_a_covariance_as_well_and_the_same_twice():
    values = ensemble(60).sel(ell=0, redshift=0.5)
    statistic = partial(covariance, along=["k"])
    one, other = (bootstrap(values, statistic, resamples=20, seed=9) for _ in range(2))
    assert one.error.dims == ("k", "k_2")
    xr.testing.assert_identical(one, other)


def test_only_members_that_are_there_everywhere_are_drawn():
    values = ensemble(missing=[(0, 0), (1, 1)])
    assert bootstrap(values, mean, resamples=3).attrs["members"] == 38
    with pytest.raises(UsageError, match="2 members are there at every point"):
        bootstrap(values.isel(realization=slice(4)), mean)


def test_gaps_are_refused_or_left_out_as_one_says():
    values = ensemble(20).sel(ell=0)
    values[3, 0, 2] = np.nan
    with pytest.raises(UsageError, match="lack a part"):
        jackknife(values, mean)
    assert jackknife(values, mean, gaps="bins").value.sizes["k"] == 4
    assert int(jackknife(values, mean, gaps="members").members) == 19


def test_percentiles_are_those_of_numpy():
    values = ensemble(50, missing=[(3, 1)])
    found = percentiles(values.chunk(realization=9), q=(16, 50))
    assert found.percentile.values.tolist() == [16, 50]
    np.testing.assert_allclose(found.sel(percentile=50), np.nanmedian(values, axis=0))
    assert found.members.isel(ell=0, k=0).values.tolist() == [50, 49]
    with pytest.raises(UsageError, match="no dimension 'seed'"):
        percentiles(values, over="seed")


def cumulative(values):
    return xr.DataArray(values, dims=("redshift", "log_sfr"), coords={"log_sfr": [0.0, 1.0, 2.0, 3.0]}, name="n")


def test_a_threshold_lies_where_the_ensemble_has_the_density():
    n = cumulative([[1e-1, 1e-2, 1e-3, 1e-4], [1e-2, 1e-3, 1e-4, 0.0]])
    found = threshold(n, 10**-2.5)
    np.testing.assert_allclose(found, [1.5, 0.5])
    assert found.name == "log_sfr"
    with pytest.raises(UsageError, match=r"does not cross 0\.05 everywhere"):
        threshold(n, 0.05)


@pytest.fixture
def dataset():
    values = ensemble(30)
    status = xr.full_like(values.isel(ell=0, k=0, drop=True), State.COMPLETED, dtype=np.int8)
    status[4, 1] = State.FAILED
    role = {"campaign_role": "measurement"}
    count = values.sum(("ell", "k")).assign_attrs(role)
    return xr.Dataset(
        {"status": status, "power": values.assign_attrs(role), "count": count, "words": status.astype(str)}
    )


def test_the_accessor_leaves_out_what_has_not_completed(dataset):
    ds = dataset.campaign
    assert ds.design == ("realization", "redshift")
    assert ds.measurements == ("power", "count")
    assert ds.members("power").values.tolist() == [30, 29]
    assert ds.covariance("power").members.values.tolist() == [30, 29]
    kept = dataset.power[[n for n in range(30) if n != 4], 1].to_numpy().reshape(29, 10)
    np.testing.assert_allclose(ds.covariance("power")[1], np.cov(kept, rowvar=False))
    np.testing.assert_allclose(ds.std("power")[1], kept.std(axis=0, ddof=1))
    np.testing.assert_allclose(ds.mean("power")[1], kept.mean(axis=0))
    np.testing.assert_allclose(cov_diagonal(ds.correlation("power")[0]), 1)
    assert ds.precision("power").shape == (2, 10, 10)
    assert ds.percentiles("power", (50,)).sizes["percentile"] == 1
    assert ds.bootstrap("power", resamples=4).error.shape == (2, 10)
    assert ds.jackknife("count").error.shape == (2, 1)
    assert set(ds.convergence("power").data_vars) == {"distance", "expected"}
    with pytest.raises(UsageError, match="there is no measurement 'status'"):
        ds.mean("status")


def cov_diagonal(matrix):
    return np.diagonal(matrix)


def test_several_measurements_are_one_vector(dataset):
    found = dataset.campaign.covariance(["power", "count"])
    assert found.shape == (2, 11, 11)
    assert found.measurement.values.tolist() == ["power"] * 10 + ["count"]
    assert found.element.values[1] == f"ell=0, k={K[1]:g}"
    alone = dataset.campaign.covariance("power")
    np.testing.assert_allclose(found[:, :10, :10], alone)
