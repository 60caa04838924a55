"""Moments of ensembles: against numpy, by mask, lazily, and against what is known of them."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from campaign.analyse import moments as cov
from campaign.errors import UsageError

K, ELL = np.linspace(0.05, 0.4, 5), [0, 2]


def ensemble(members=40, seed=0, missing=()):
    """(realization, redshift, ell, k) with correlated bins; `missing` are (realization, redshift)."""
    stream = np.random.default_rng(seed)
    common = stream.standard_normal((members, 2, 1, 1))
    values = 3 + common + stream.standard_normal((members, 2, 2, 5)) * np.arange(1, 6)
    for place in missing:
        values[place] = np.nan
    return xr.DataArray(
        values, dims=("realization", "redshift", "ell", "k"),
        coords={"realization": np.arange(members) + 7, "redshift": [0.5, 1.0], "ell": ELL, "k": K},
        name="power", attrs={"units": "(Mpc/h)3", "long_name": "power spectrum"},
    )  # fmt: skip


def test_the_covariance_is_that_of_numpy_for_each_redshift():
    values = ensemble()
    found = cov.covariance(values)
    assert found.dims == ("redshift", "bin", "bin_2")
    assert found.attrs == {"units": "((Mpc/h)3)2", "long_name": "covariance of power spectrum"}
    for n in range(2):
        np.testing.assert_allclose(found[n], np.cov(values[:, n].to_numpy().reshape(40, 10), rowvar=False), rtol=1e-12)
    assert found.ell.values.tolist() == [0] * 5 + [2] * 5
    assert found.k_2.values.tolist() == [*K, *K]
    assert found.members.values.tolist() == [40, 40]
    np.testing.assert_allclose(cov.mean(values)[1], values[:, 1].to_numpy().reshape(40, 10).mean(axis=0))


def test_the_vector_may_run_along_anything():
    values = ensemble()
    joint = cov.covariance(values.sel(ell=0), along=["redshift", "k"])
    expected = np.cov(values.sel(ell=0).to_numpy().reshape(40, 10), rowvar=False)
    np.testing.assert_allclose(joint, expected, rtol=1e-12)
    assert joint.redshift.values.tolist() == [0.5] * 5 + [1.0] * 5
    single = cov.covariance(values.sel(ell=0), along=["k"])
    assert single.dims == ("redshift", "k", "k_2")
    assert single.sel(redshift=1.0, k=K[2], k_2=K[3], method="nearest").item() == single.values[1, 2, 3]
    scalar = cov.covariance(values.sel(ell=0).isel(k=0))
    np.testing.assert_allclose(scalar[:, 0, 0], values.sel(ell=0).isel(k=0).var("realization", ddof=1))


def test_absent_members_are_left_out_and_counted():
    values = ensemble(missing=[(3, 0), (4, 0), (4, 1)])
    found = cov.covariance(values)
    assert found.members.values.tolist() == [38, 39]
    kept = [n for n in range(40) if n not in (3, 4)]
    np.testing.assert_allclose(found[0], np.cov(values[kept, 0].to_numpy().reshape(38, 10), rowvar=False), rtol=1e-12)
    assert cov.covariance(values, along=["redshift", "ell", "k"], gaps="members").members.item() == 38
    assert np.isfinite(found).all()


def test_gaps_are_never_passed_over_in_silence():
    values = ensemble()
    values[5, 0, 1, 3] = np.nan
    with pytest.raises(UsageError, match=r"1 members of 'power' lack a part of it \(1 of 10"):
        cov.covariance(values)
    assert cov.covariance(values, gaps="members").members.values.tolist() == [39, 40]
    by_bins = cov.covariance(values, gaps="bins")
    assert by_bins.sizes["bin"] == 9
    assert by_bins.members.values.tolist() == [40, 40]
    each = ensemble().isel(ell=0)
    for n in range(5):
        each[n, :, n] = np.nan
    with pytest.raises(UsageError, match="every element"):
        cov.covariance(each, gaps="bins")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda v: cov.covariance(v, over="seed"), "no dimension 'seed'"),
        (lambda v: cov.covariance(v, along=["kk"]), "no dimension 'kk'"),
        (lambda v: cov.covariance(v.isel(realization=[0])), "1 members of 'power' are there at redshift 0.5, 1.0; this needs 2"),
        (lambda v: cov.covariance(v.where(v.redshift > 0.7)), "0 members of 'power' are there at redshift 0.5"),
        (lambda v: cov.precision(cov.covariance(v.isel(realization=slice(12)))), "no inverse that could be trusted"),
        (lambda v: cov.covariance_convergence(v.isel(realization=slice(3))), "this needs 4"),
    ],
)  # fmt: skip
def test_what_can_t_be_known_is_refused(ask, said):
    with pytest.raises(UsageError, match=said):
        ask(ensemble())


def test_nothing_is_loaded_before_it_is_asked_for():
    values = ensemble().chunk(realization=7)
    found = cov.covariance(values)
    assert found.chunks is not None
    np.testing.assert_allclose(found, cov.covariance(ensemble()), rtol=1e-10)
    np.testing.assert_allclose(cov.correlation(found), cov.correlation(cov.covariance(ensemble())), rtol=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 40), st.integers(0, 2**16), st.sets(st.integers(0, 7), max_size=3))
def test_what_holds_for_every_ensemble(members, seed, absent):
    values = ensemble(members, seed, [(n, 0) for n in absent])
    matrix = cov.covariance(values.sel(ell=0), along=["k"])
    np.testing.assert_allclose(matrix, matrix.transpose("redshift", "k_2", "k").to_numpy(), atol=1e-9)
    assert (np.linalg.eigvalsh(matrix) > -1e-9).all()
    correlation = cov.correlation(matrix)
    np.testing.assert_allclose(cov.diagonal(correlation), 1)
    assert (np.abs(correlation) <= 1 + 1e-12).all()
    shifted = cov.covariance(1e6 + 3 * values.sel(ell=0), along=["k"])
    np.testing.assert_allclose(shifted, 9 * matrix, rtol=1e-6, atol=1e-6)


def test_the_factors_are_those_of_the_papers():
    assert cov.hartlap_factor(102, 50) == pytest.approx(50 / 101)
    assert cov.percival_factor(10**9, 44, 8) == pytest.approx(1)


def test_errors_of_parameters_grow_by_the_factor_of_percival():
    """A template's amplitude is fitted 4,000 times, each time with a precision matrix from 60 other members."""
    n, p, trials = 60, 20, 4000
    stream = np.random.default_rng(4)
    template = xr.DataArray(np.linspace(1, 2, p), dims="k")
    samples = xr.DataArray(stream.standard_normal((trials, n, p)), dims=("trial", "realization", "k"))
    samples.attrs["campaign_design"] = "trial realization"
    weight = cov.precision(cov.covariance(samples)).dot(template, dim="k").rename(k_2="k")
    data = xr.DataArray(stream.standard_normal((trials, p)), dims=("trial", "k"))
    norm = weight.dot(template, dim="k")
    fitted = weight.dot(data, dim="k") / norm
    assert fitted.var() / (1 / norm).mean() == pytest.approx(cov.percival_factor(n, p, 1), rel=0.06)


def test_the_debiased_precision_is_unbiased_and_the_error_is_right():
    truth = np.array([[2.0, 0.6, 0.0], [0.6, 1.0, 0.3], [0.0, 0.3, 0.5]])
    stream = np.random.default_rng(1)
    draws = stream.multivariate_normal(np.zeros(3), truth, size=(3000, 12))  # (trials, members, elements)
    values = xr.DataArray(draws, dims=("trial", "realization", "k"), coords={"k": [1.0, 2.0, 3.0]})
    values.attrs["campaign_design"] = "trial realization"
    matrix = cov.covariance(values)
    np.testing.assert_allclose(cov.precision(matrix).mean("trial"), np.linalg.inv(truth), rtol=0.08, atol=0.05)
    biased = cov.precision(matrix, debiased=False).mean("trial")
    assert biased[0, 0] > 1.2 * np.linalg.inv(truth)[0, 0]
    scatter, said = matrix.std("trial"), cov.covariance_error(matrix).mean("trial")
    np.testing.assert_allclose(said, scatter, rtol=0.1)


def test_the_condition_number_knows_no_units():
    values = ensemble()
    scaled = values * xr.DataArray([1.0, 1e4], coords={"ell": ELL}, dims="ell")
    one, other = (cov.condition_number(cov.covariance(v)) for v in (values, scaled))
    np.testing.assert_allclose(one, other, rtol=1e-6)
    assert one.dims == ("redshift",)
    assert (one >= 1).all()


def test_the_covariance_settles_as_gaussian_members_do():
    stream = np.random.default_rng(5)
    values = xr.DataArray(stream.standard_normal((400, 20)), dims=("realization", "k"), coords={"k": np.arange(20.0)})
    found = cov.covariance_convergence(values, sizes=[25, 50, 100, 200, 400])
    assert found.members.values.tolist() == [25, 50, 100, 200, 400]
    assert found.distance[-1] == 0
    np.testing.assert_allclose(found.distance[:-1], found.expected[:-1], rtol=0.2)
    assert (np.diff(found.distance) < 0).all()
