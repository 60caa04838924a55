"""Galaxies in haloes: repeatable whatever the slicing, and distributed as the libraries' own population models."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import jax.random as jran
import numpy as np
import pytest

from campaign.errors import JobError
from campaign.generators.galaxies import model, nfw
from campaign.generators.galaxies.halos import HaloCatalog, HaloMetadata, load_and_filter_halos
from campaign.generators.galaxies.populate import GalaxyModelParams, age_gyr, generate_galaxies, wrap

PARAMS = GalaxyModelParams(realization=2, redshift=1.0)


@pytest.fixture(scope="module")
def halos(catalogue):
    return load_and_filter_halos(catalogue, 1e12, cleaned=False)


@pytest.fixture(scope="module")
def galaxies(halos):
    return generate_galaxies(halos, PARAMS, 7)


def columns(galaxies):
    return {
        "positions": galaxies.positions,
        "velocities": galaxies.velocities,
        "parents": galaxies.parent_halos,
        **galaxies.properties,
    }


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(columns(one).values(), columns(other).values(), strict=True))


def subset(halos, index):
    return replace(
        halos,
        positions=halos.positions[index],
        velocities=halos.velocities[index],
        masses=halos.masses[index],
        ids=halos.ids[index],
    )


def test_the_same_seed_gives_the_same_galaxies_and_another_does_not(halos, galaxies):
    assert same(galaxies, generate_galaxies(halos, PARAMS, 7))
    assert not same(galaxies, generate_galaxies(halos, PARAMS, 8))
    for changed in (replace(PARAMS, realization=3), replace(PARAMS, redshift=1.1)):
        other = generate_galaxies(halos, changed, 7)
        assert not np.array_equal(
            other.properties["log_stellar_mass"][:10], galaxies.properties["log_stellar_mass"][:10]
        )


def test_neither_order_nor_tiles_matter(halos, galaxies, monkeypatch):
    back = np.arange(len(halos))[::-1]
    reverse = generate_galaxies(subset(halos, back), PARAMS, 7)
    assert np.array_equal(
        np.sort(reverse.properties["log_stellar_mass"]), np.sort(galaxies.properties["log_stellar_mass"])
    )
    one_halo = generate_galaxies(subset(halos, slice(5, 6)), PARAMS, 7)
    mine = galaxies.parent_halos == halos.ids[5]
    assert np.array_equal(one_halo.positions, galaxies.positions[mine])
    # Another tile size is another compiled program: the same draws, equal up to rounding.
    monkeypatch.setattr(model, "TILE", 1024)
    small = generate_galaxies(halos, PARAMS, 7)
    assert np.array_equal(small.parent_halos, galaxies.parent_halos)
    assert small.properties["log_stellar_mass"] == pytest.approx(galaxies.properties["log_stellar_mass"], abs=1e-3)


def test_galaxies_belong_to_their_hosts(halos, galaxies):
    central = galaxies.properties["is_central"] == 1
    assert np.array_equal(galaxies.parent_halos[central], halos.ids)
    assert np.array_equal(galaxies.positions[central], wrap(halos.positions, 60.0))
    assert np.array_equal(galaxies.velocities[central], halos.velocities)
    lookup = {int(i): n for n, i in enumerate(halos.ids)}
    host = np.array([lookup[int(i)] for i in galaxies.parent_halos])
    offset = galaxies.positions - halos.positions[host]
    offset -= 60.0 * np.round(offset / 60.0)
    radius = nfw.radius(halos.masses[host].astype(float), halos.metadata.omega_m)
    assert (np.linalg.norm(offset, axis=1) <= radius * 1.0001).all()
    assert (np.abs(galaxies.positions) <= 30.0).all()
    assert (galaxies.properties["log_peak_mass"][~central] >= PARAMS.log_subhalo_mass_min - 1e-4).all()
    assert (galaxies.properties["log_peak_mass"] <= np.log10(halos.masses[host] / 0.6736) + 1e-4).all()


def test_subhaloes_are_as_many_as_the_model_says():
    """Counts of many equal hosts against diffsky's mean."""
    halos = hosts(np.full(20_000, 13.0))
    galaxies = generate_galaxies(halos, PARAMS, 1)
    satellites = (galaxies.properties["is_central"] == 0).sum() / len(halos)
    from diffsky.mass_functions.mc_subs import _compute_mean_subhalo_counts

    mean = float(_compute_mean_subhalo_counts(jnp.float32(13.0), jnp.float32(11.0)))
    assert satellites == pytest.approx(mean, abs=5 * np.sqrt(mean / len(halos)))


def hosts(log_mass):
    """A catalogue of hosts of the given log10 mass in Msun."""
    n = len(log_mass)
    meta = HaloMetadata("test", 1.0, 500.0, 2e9, 0.6736, 0.315192)
    position = np.random.default_rng(0).uniform(-250, 250, (n, 3)).astype(np.float32)
    return HaloCatalog(
        position,
        np.zeros((n, 3), np.float32),
        (10.0 ** np.asarray(log_mass) * 0.6736).astype(np.float32),
        np.arange(n, dtype=np.uint64),
        meta,
    )


@pytest.mark.slow
def test_centrals_are_distributed_as_the_libraries_own_populations():
    """Quantiles of stellar mass and SFR at fixed halo mass against diffmah's and diffstar's batch functions."""
    from diffmah.diffmah_kernels import DiffmahParams, _log_mah_kern
    from diffmah.diffmahpop_kernels.bimod_censat_params import DEFAULT_DIFFMAHPOP_PARAMS
    from diffmah.diffmahpop_kernels.mc_bimod_cens import mc_diffmah_cenpop
    from diffstar import calc_sfh_galpop
    from diffstar.defaults import FB, T_TABLE_MIN
    from diffstar.diffstarpop import DEFAULT_DIFFSTARPOP_PARAMS, mc_diffstar_sfh_galpop

    jax.config.update("jax_numpy_rank_promotion", "allow")
    n, log_mass = 8000, 12.5
    t_obs, t_now = age_gyr(1.0, 0.6736, 0.315192), age_gyr(0.0, 0.6736, 0.315192)
    lgt0 = jnp.log10(t_now)
    ones = jnp.ones(n)
    pop = mc_diffmah_cenpop(DEFAULT_DIFFMAHPOP_PARAMS, log_mass * ones, t_obs * ones, jran.key(1), lgt0, t_now * ones)
    mah = DiffmahParams(*pop.mah_params)
    mah = mah._replace(logm0=mah.logm0 - (_log_mah_kern(mah, t_obs, lgt0) - log_mass))
    times = jnp.linspace(T_TABLE_MIN, t_obs, model.N_TIMES)
    result = mc_diffstar_sfh_galpop(
        DEFAULT_DIFFSTARPOP_PARAMS, mah, _log_mah_kern(mah, t_now, lgt0), -jnp.ones(n), 0.0 * ones, log_mass * ones,
        t_obs - mah.t_peak, jran.key(2), times, lgt0=lgt0, fb=FB,
    )  # fmt: skip
    history = np.where(np.asarray(result.mc_is_q)[:, None], result.sfh_q, result.sfh_ms)
    formed = (0.5 * (history[:, 1:] + history[:, :-1]) * np.diff(np.asarray(times))).sum(axis=1) * 1e9
    assert calc_sfh_galpop is not None

    ours = generate_galaxies(hosts(np.full(n, log_mass)), PARAMS, 3)
    central = ours.properties["is_central"] == 1
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
    mass, sfr = ours.properties["log_stellar_mass"][central], ours.properties["log_sfr"][central]
    assert np.quantile(mass, quantiles) == pytest.approx(np.quantile(np.log10(formed), quantiles), abs=0.04)
    assert np.quantile(sfr, [0.25, 0.5, 0.75, 0.95]) == pytest.approx(
        np.quantile(np.log10(history[:, -1]), [0.25, 0.5, 0.75, 0.95]), abs=0.12
    )
    assert ours.properties["is_quenched"][central].mean() == pytest.approx(np.asarray(result.frac_q).mean(), abs=0.03)


def test_ages_agree_with_dsps():
    from dsps.cosmology.flat_wcdm import CosmoParams, age_at_z0

    assert age_gyr(0.0, 0.6774, 0.3075) == pytest.approx(
        float(age_at_z0(*CosmoParams(0.3075, -1.0, 0.0, 0.6774))), rel=2e-3
    )
    assert age_gyr(1.0, 0.6774, 0.3075) == pytest.approx(5.86, abs=0.05)


def test_the_nfw_table_inverts_the_profile():
    u, c = np.linspace(0.001, 0.999, 50), np.full(50, 7.3)
    x = nfw.radius_fraction(u, c)
    assert nfw.enclosed(x * c) / nfw.enclosed(c) == pytest.approx(u, abs=1e-5)
    assert (np.diff(x) > 0).all()


def test_positions_never_leave_the_box():
    edge = np.array([[30.0, -30.0, 29.9999999], [90.0, -90.0000001, 0.0]])
    wrapped = wrap(edge, 60.0)
    assert (wrapped >= -30).all()
    assert (wrapped < 30).all()


def test_the_reference_convention_takes_masses_as_they_are(halos):
    plain = generate_galaxies(halos, PARAMS, 7)
    reference = generate_galaxies(halos, replace(PARAMS, mass_unit="Msun/h"), 7)
    central = plain.properties["is_central"] == 1
    assert reference.properties["log_peak_mass"][reference.properties["is_central"] == 1] == pytest.approx(
        plain.properties["log_peak_mass"][central] + np.log10(0.6736), abs=1e-5
    )


def test_a_model_that_is_not_installed_is_told(halos):
    with pytest.raises(JobError, match="rgrspit_diffsky") as caught:
        generate_galaxies(halos, replace(PARAMS, model="rgrspit_diffsky_v2.1"), 7)
    assert "galaxy_model: diffsky" in caught.value.action
