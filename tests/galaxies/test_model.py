"""The kernels give what diffmah, diffstar and diffsky give; only how it is computed is ours."""

import jax
import jax.numpy as jnp
import jax.random as jran
import numpy as np
import pytest
from diffmah.diffmahpop_kernels.bimod_censat_params import get_component_model_params
from diffmah.diffmahpop_kernels.covariance_kernels import _get_cov_params, _get_diffmahpop_cov
from diffmah.diffmahpop_kernels.t_peak_kernels.tp_pdf_sats import mc_tpeak_singlesat
from diffsky.mass_functions.mc_subs import generate_subhalopop_kern
from diffstar import calc_sfh_galpop
from diffstar.defaults import DEFAULT_DIFFSTAR_PARAMS, FB, T_TABLE_MIN
from diffstar.diffstarpop import DEFAULT_DIFFSTARPOP_PARAMS
from diffstar.diffstarpop.kernels.diffstarpop_mgash import _diffstarpop_means_covs

from campaign.generators.galaxies import model, populate

EPOCH = model.Epoch(np.float32(5.9), np.float32(13.8))
N = 4000


@pytest.fixture(autouse=True)
def _single_precision():
    with jax.enable_x64(False):
        yield


@pytest.fixture
def stream():
    return np.random.default_rng(5)


@pytest.fixture
def log_mass(stream):
    return (11.5 + stream.exponential(0.5, N)).astype(np.float32)


def test_subhalo_masses_are_those_of_the_library_s_table(stream, log_mass):
    u, limit = stream.random(N).astype(np.float32), np.float32(11)
    ours = jax.vmap(lambda u, m: model._subhalo_mass_ratio(u, m, limit))(u, log_mass)
    theirs = jax.vmap(lambda u, m: generate_subhalopop_kern(u, m, limit))(u, log_mass)
    assert np.asarray(ours) == pytest.approx(np.asarray(theirs), abs=2e-5)


def test_the_peak_of_a_subhalo_is_drawn_as_in_the_library(log_mass):
    params = get_component_model_params(model.MAH_POP)[1]
    keys = jran.split(jran.key(1), N)
    u = jax.vmap(lambda key: jran.uniform(key, minval=0.0, maxval=1.0, shape=()))(keys)
    theirs = jax.vmap(lambda key, m: mc_tpeak_singlesat(params, key, m, EPOCH.t_obs))(keys, log_mass)
    ours = jax.vmap(lambda u, m: model._satellite_t_peak(u, m, EPOCH.t_obs))(u, log_mass)
    assert np.asarray(ours) == pytest.approx(np.asarray(theirs), abs=0.01), "Gyr; theirs is a table of 50 entries"


def test_growth_scatters_with_the_library_s_covariance(stream):
    z = stream.standard_normal((40_000, 4)).astype(np.float32)
    spread = list(_get_cov_params(model.MAH_POP, np.float32(12.5))[0])
    drawn = model._correlated_normal(z.T, [0.0] * 4, spread, model.MAH_FACTOR)
    wanted = np.asarray(_get_diffmahpop_cov(model.MAH_POP, np.float32(12.5)))
    assert np.abs(np.corrcoef(drawn) - wanted / np.sqrt(np.outer(np.diag(wanted), np.diag(wanted)))).max() < 0.02
    assert np.std(drawn, axis=1) == pytest.approx(np.sqrt(np.diag(wanted)), rel=0.02)


def test_star_formation_is_uncorrelated_in_the_library_as_well(log_mass):
    *_, cov_ms, cov_q_ms, cov_q = jax.vmap(
        lambda m: _diffstarpop_means_covs(DEFAULT_DIFFSTARPOP_PARAMS, m, EPOCH.t_obs, 0.0, m, 0.0)
    )(log_mass)
    for cov in (cov_ms, cov_q_ms, cov_q):
        assert not np.asarray(cov)[:, ~np.eye(4, dtype=bool)].any()


@pytest.mark.parametrize("satellite", [False, True])
def test_star_formation_draws_from_the_library_s_population(satellite, stream, log_mass):
    mah = model.DiffmahParams(log_mass, *np.float32([[0.3], [2.5], [0.5], [5.0]]).repeat(N, 1))
    infall = (np.float32(-1.0), np.float32(13.5), np.float32(3.0))
    u, z = stream.random(N).astype(np.float32), np.zeros((N, 8), np.float32)
    params, quenched = jax.vmap(
        lambda mah, u, z: model._star_formation(mah, infall if satellite else None, u, z, EPOCH)
    )(mah, u, z)
    now = jax.vmap(lambda m: model._log_mah_kern(m, EPOCH.t_now, jnp.log10(EPOCH.t_now)))(mah)
    p_cen, p_sat, mu_ms, mu_q, *_ = jax.vmap(
        lambda m, t: _diffstarpop_means_covs(DEFAULT_DIFFSTARPOP_PARAMS, m, t, *infall)
    )(now, mah.t_peak)
    assert np.array_equal(quenched, u < np.asarray(p_sat if satellite else p_cen))
    chosen = np.where(quenched, np.array(mu_q), np.array([*mu_ms, *np.tile(np.c_[np.array(model.UNQUENCHED)], N)]))
    wanted = jax.vmap(lambda *p: model.get_bounded_diffstar_params(model.DiffstarUParams(*p)))(*chosen)
    for name, ours, theirs in zip(params._fields, params, wanted, strict=True):
        assert np.asarray(ours) == pytest.approx(np.asarray(theirs), abs=2e-4), name


def test_the_integral_is_that_of_the_library_s_history(stream, log_mass):
    mah = model.DiffmahParams(log_mass, *np.float32([[0.3], [2.5], [0.5], [4.0]]).repeat(N, 1))
    params = model.DiffstarParams(
        *(np.float32(p) + stream.normal(0, 0.05, N).astype(np.float32) for p in DEFAULT_DIFFSTAR_PARAMS)
    )
    times = np.linspace(T_TABLE_MIN, EPOCH.t_obs, model.N_TIMES, dtype=np.float32)
    history = np.asarray(calc_sfh_galpop(params, mah, times, lgt0=np.log10(EPOCH.t_now), fb=FB), float)
    formed, last = model._formed(params, mah, EPOCH)
    assert np.asarray(formed) == pytest.approx(np.log10(np.trapezoid(history, times, axis=1) * 1e9), abs=1e-4)
    assert np.asarray(last) == pytest.approx(np.log10(history[:, -1]), abs=1e-4)


def test_everything_is_computed_in_single_precision(log_mass):
    words = np.zeros((model.TILE, 2), np.uint32)
    mass = np.resize(log_mass, model.TILE)
    base = model.snapshot_key(1, 0, 1000)
    cen = model.central_tile(base, words, mass, np.float32(11), EPOCH)
    ordinal = np.ones(model.TILE, np.uint32)
    args = (base, words, ordinal, mass, cen.mah, np.float32(11), EPOCH)
    assert "f64" not in model.central_tile.lower(*args[:2], mass, *args[5:]).as_text()
    assert "f64" not in model.satellite_tile.lower(*args).as_text()


def test_nothing_is_compiled_twice_whatever_the_number_of_haloes(log_mass):
    shapes = {
        tuple(column.shape for column in tile)
        for total in (0, 1, 100, model.TILE, model.TILE + 1, 3 * model.TILE)
        for tile in populate._tiles((np.resize(log_mass, total), np.zeros((total, 2), np.uint32)))
    }
    assert shapes == {((model.TILE,), (model.TILE, 2))}


def test_poisson_counts_are_those_of_the_inverted_distribution(stream):
    from scipy.stats import poisson

    mean = np.concatenate([stream.exponential(4, N), stream.uniform(0, 100, N), [0.0, 1e-9, 50.0]]).astype(np.float32)
    u = stream.random(len(mean)).astype(np.float32)
    assert np.array_equal(populate._poisson(u, mean), np.maximum(poisson.ppf(u.astype(float), mean.astype(float)), 0))
