"""Galaxy-halo connection: diffsky's subhaloes, diffmah's growth and diffstar's star formation, in tiles of one shape.

Each galaxy draws from one key of its own (campaign seed, realization, snapshot, halo identifier, ordinal in the halo),
so what it becomes does not depend on tiles, order, ranks or threads. Every array that enters a compiled function has
`TILE` rows, so nothing is compiled twice whatever the number of haloes.

The ingredients are the single-halo kernels of diffmah and diffstar. Made here are the random draws, because the
library's batched multivariate normal calls LAPACK inside XLA's thread pool, which can dead-lock on few cores; the two
inversions of cumulative distributions, which the library tabulates anew for each galaxy; and the integral over the
history, which runs over all galaxies of a tile at each time, so that no table of histories is ever in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jran
import numpy as np
import numpy.typing as npt
from diffmah.diffmah_kernels import (
    DiffmahParams,
    DiffmahUParams,
    _log_mah_kern,
    _rolling_plaw_vs_logt,
    get_bounded_mah_params,
    get_unbounded_mah_params,
)
from diffmah.diffmahpop_kernels import mc_bimod_cens as cens
from diffmah.diffmahpop_kernels import mc_bimod_sats as sats
from diffmah.diffmahpop_kernels.bimod_censat_params import DEFAULT_DIFFMAHPOP_PARAMS, get_component_model_params
from diffmah.diffmahpop_kernels.covariance_kernels import _get_cov_params
from diffmah.diffmahpop_kernels.frac_early_cens import _frac_early_cens_kern
from diffmah.diffmahpop_kernels.t_peak_kernels.tp_pdf_sats import _get_utp_loc, _get_utp_scale
from diffmah.diffmahpop_kernels.t_peak_kernels.utp_pdf_kernels import EPS, X_MAX, X_MIN
from diffsky.mass_functions.ccshmf_model import DEFAULT_CCSHMF_PARAMS, predict_ccshmf
from diffsky.mass_functions.mc_subs import N_LGMU_TABLE, _compute_mean_subhalo_counts
from diffstar.defaults import (
    DEFAULT_Q_U_PARAMS_UNQUENCHED,
    FB,
    SFR_MIN,
    T_TABLE_MIN,
    DiffstarParams,
    DiffstarUParams,
    get_bounded_diffstar_params,
)
from diffstar.diffstarpop import DEFAULT_DIFFSTARPOP_PARAMS
from diffstar.diffstarpop.kernels import sfh_pdf_mgash as sfh_pdf
from diffstar.diffstarpop.kernels.defaults_mgash import DEFAULT_SATQUENCHPOP_PARAMS, SFH_PDF_QUENCH_PARAMS
from diffstar.diffstarpop.kernels.satquenchpop_model import get_qprob_sat
from diffstar.kernels.main_sequence_kernels import _sfr_eff_plaw
from diffstar.kernels.quenching_kernels import _jax_partial_u_tw_kern
from jax.scipy.special import erfinv, ndtr, ndtri

TILE = 8192
"""Rows of every compiled call. 8,192 was the fastest on the cores that were measured; memory grows with it."""

N_TIMES = 50
"""Steps of the star formation history between `T_TABLE_MIN` and the epoch of observation."""

STEPS_UNROLLED = 7
"""Steps that are compiled as one; more take longer to compile and no less to run."""

Array = jax.Array
Factor = npt.NDArray[np.float64]


def _single(params: Any) -> Any:
    """A library's parameters in single precision: importing diffsky makes JAX compute in double."""
    return jax.tree.map(np.float32, params)


def _part(of: Any, kind: Any) -> Any:
    """Those of the parameters that a kind of parameters has."""
    return kind._make(getattr(of, name) for name in kind._fields)


MAH_POP = _single(DEFAULT_DIFFMAHPOP_PARAMS)
SFH_POP = _single(_part(DEFAULT_DIFFSTARPOP_PARAMS, SFH_PDF_QUENCH_PARAMS))
SATELLITE_POP = _single(_part(DEFAULT_DIFFSTARPOP_PARAMS, DEFAULT_SATQUENCHPOP_PARAMS))
SUBHALO_MASSES = _single(DEFAULT_CCSHMF_PARAMS)
UNQUENCHED = _single(tuple(DEFAULT_Q_U_PARAMS_UNQUENCHED))


def _factor(correlations: Sequence[float]) -> Factor:
    """Cholesky factor of a 4 x 4 correlation matrix, given its lower triangle row by row."""
    corr = np.eye(4)
    corr[np.tril_indices(4, -1)] = correlations
    return np.asarray(np.linalg.cholesky(corr + np.tril(corr, -1).T), np.float64)


MAH_FACTOR = _factor(
    [float(getattr(DEFAULT_DIFFMAHPOP_PARAMS, k)) for k in DEFAULT_DIFFMAHPOP_PARAMS._fields if k[:4] == "rho_"]
)
UNCORRELATED = _factor([0.0] * 6)


class Epoch(NamedTuple):
    """The time at which galaxies are observed: scalars, traced, so that no redshift recompiles."""

    t_obs: Array  # age of the universe at the snapshot, Gyr
    t_now: Array  # age of the universe today, Gyr


class Centrals(NamedTuple):
    """One tile of central galaxies; arrays of shape (TILE,)."""

    log_stellar_mass: Array  # log10 of Msun
    log_sfr: Array  # log10 of Msun / yr
    quenched: Array  # bool
    mah: DiffmahParams  # five arrays, the growth history
    mean_subhaloes: Array  # expected number of subhaloes above the mass limit
    u_subhaloes: Array  # uniform in [0, 1), decides their number


class Satellites(NamedTuple):
    """One tile of satellite galaxies; arrays of shape (TILE,) but where said."""

    log_stellar_mass: Array  # log10 of Msun
    log_sfr: Array  # log10 of Msun / yr
    quenched: Array  # bool
    log_peak_mass: Array  # log10 of Msun
    u_phase_space: Array  # (TILE, 3), uniform: radius, cosine of the polar angle, azimuth
    normal_velocity: Array  # (TILE, 3), standard normal


def halo_key(base: Array, words: Array) -> Array:
    """The key of one halo: `base` folded with the high and the low word of its 64-bit identifier."""
    return jran.fold_in(jran.fold_in(base, words[0]), words[1])


def snapshot_key(seed: int, realization: int, snapshot_millis: int) -> Array:
    """The key of one (realization, redshift) under a campaign seed; the snapshot is named by 1000 z."""
    return jran.fold_in(jran.fold_in(jran.key(seed), realization), snapshot_millis)


def _pow10(x: Array) -> Array:
    """10^x; XLA has a vector instruction for the exponential, and none for the power."""
    return jnp.exp(x * jnp.float32(np.log(10)))


def _random_block(key: Array, uniforms: int, normals: int) -> tuple[Array, Array]:
    """(uniform in (0, 1), standard normal) numbers of one galaxy, from one call of the generator."""
    drawn = jran.uniform(key, (uniforms + normals,), jnp.float32, minval=jnp.nextafter(jnp.float32(-1), jnp.float32(0)))
    return 0.5 * (drawn[:uniforms] + 1), jnp.sqrt(jnp.float32(2)) * erfinv(drawn[uniforms:])


def _subhalo_mass_ratio(u: Array, log_host: Array, log_limit: Array) -> Array:
    """log10 of the ratio of subhalo mass to host mass, for uniform `u`.

    diffsky's `generate_subhalopop_kern` inverts a table of its cumulative mass function, linearly; here the two entries
    that are wanted are found by bisection, and no other entry is computed.
    """
    cutoff = log_limit - log_host
    last = N_LGMU_TABLE - 1

    def ratio(n: Array | int) -> Array:
        part: Array = 1 - n / jnp.float32(last)
        return part * cutoff

    def count(n: Array | int) -> Array:
        return _pow10(predict_ccshmf(SUBHALO_MASSES, log_host, ratio(n)))

    first = count(0)
    wanted = first + u * (count(last) - first)  # counts fall from the first entry to the last
    low, high = jnp.int32(0), jnp.int32(last)
    for _ in range(last.bit_length()):
        middle = (low + high) // 2
        beyond = count(middle) < wanted
        low, high = jnp.where(beyond, low, middle), jnp.where(beyond, middle, high)
    above, below = count(low), count(high)
    step = jnp.where(below == above, 1, below - above)  # a host at the limit
    return ratio(low) + (wanted - above) / step * (ratio(high) - ratio(low))


def _satellite_t_peak(u: Array, log_mass: Array, t_obs: Array) -> Array:
    """Time of peak mass of a subhalo (Gyr), for uniform `u`: a truncated normal distribution of t_peak / t_obs.

    What diffmah's `mc_tpeak_singlesat` draws from a table of 50 entries, inverted exactly.
    """
    params = get_component_model_params(MAH_POP)[1]
    loc, scale = _get_utp_loc(params, log_mass, t_obs), _get_utp_scale(params, log_mass, t_obs)
    low, high = ndtr((X_MIN - loc) / scale), ndtr((X_MAX - loc) / scale)
    x = loc + scale * ndtri(low + u * (high - low))
    least, most = jnp.maximum(loc - 4 * scale, X_MIN + EPS), jnp.minimum(loc + 4 * scale, X_MAX - EPS)
    return t_obs * jnp.clip(x, least, most)


def _correlated_normal(z: Array, mean: Sequence[Array], spread: Sequence[Array], factor: Factor) -> list[Array]:
    """Draw from a normal distribution, given standard normals `z`: `factor` is that of the correlation matrix."""
    return [
        m + s * sum(float(factor[i, k]) * z[k] for k in range(i + 1) if factor[i, k])
        for i, (m, s) in enumerate(zip(mean, spread, strict=True))
    ]


def _select(condition: Array, chosen: Sequence[Array], other: Sequence[Array]) -> list[Array]:
    return [jnp.where(condition, a, b) for a, b in zip(chosen, other, strict=True)]


def _growth(
    early: DiffmahParams, late: DiffmahParams, log_mass: Array, u: Array, z: Array, epoch: Epoch
) -> DiffmahParams:
    """Growth history of one halo, scattered about the mean of its type, through `log_mass` at the epoch."""
    fraction_early = _frac_early_cens_kern(MAH_POP, log_mass, epoch.t_obs)
    mean = get_unbounded_mah_params(DiffmahParams(*_select(u < fraction_early, early, late)))
    spread, _ = _get_cov_params(MAH_POP, log_mass)
    drawn = _correlated_normal(z, mean[:4], list(spread), MAH_FACTOR)
    mah = get_bounded_mah_params(DiffmahUParams(*drawn, mean[4]))
    excess = _log_mah_kern(mah, epoch.t_obs, jnp.log10(epoch.t_now)) - log_mass
    return DiffmahParams(*mah)._replace(logm0=mah.logm0 - excess)


def _star_formation(
    mah: DiffmahParams, infall: tuple[Array, Array, Array] | None, u: Array, z: Array, epoch: Epoch
) -> tuple[DiffstarParams, Array]:
    """(parameters of the star formation history, quenched) of one galaxy; only satellites have an `infall`."""
    log_mass = _log_mah_kern(mah, epoch.t_now, jnp.log10(epoch.t_now))
    if infall is None:
        fraction = sfh_pdf._frac_quench_cen(SFH_POP, log_mass, mah.t_peak)
    else:
        fraction = get_qprob_sat(SATELLITE_POP, *infall, sfh_pdf._frac_quench_sat(SFH_POP, log_mass, mah.t_peak))
    quenched = u < fraction
    mean_q = sfh_pdf._get_mean_u_params_qseq(SFH_POP, log_mass, mah.t_peak)
    mean = _select(quenched, mean_q[:4], sfh_pdf._get_mean_u_params_mseq(SFH_POP, log_mass))
    # The correlations of diffstar's population are all zero.
    spread = _select(
        quenched,
        sfh_pdf._get_cov_params_qseq_ms_block(SFH_POP, log_mass)[0],
        sfh_pdf._get_cov_params_mseq_ms_block(SFH_POP, log_mass)[0],
    )
    main = _correlated_normal(z[:4], mean, spread, UNCORRELATED)
    spread_q = sfh_pdf._get_cov_params_qseq_q_block(SFH_POP, log_mass)[0]
    quenching = _select(quenched, _correlated_normal(z[4:], mean_q[4:], spread_q, UNCORRELATED), UNQUENCHED)
    return get_bounded_diffstar_params(DiffstarUParams(*main, *quenching)), quenched


def _formed(params: DiffstarParams, mah: DiffmahParams, epoch: Epoch) -> tuple[Array, Array]:
    """(log10 stellar mass formed until the epoch in Msun, log10 SFR then in Msun / yr) of galaxies; arrays of (n,).

    The trapezoidal rule over `N_TIMES` times of diffstar's history: baryons that fall in, times an efficiency, times
    quenching (Alarcon et al. 2023). Growth stops at the peak.
    """
    times = jnp.linspace(T_TABLE_MIN, epoch.t_obs, N_TIMES)
    lgt0, lgt_peak = jnp.log10(epoch.t_now), jnp.log10(mah.t_peak)
    width = _pow10(params.qlglgdt) / 12  # of a triweight's standard deviation, six of them on each side

    def rate(t: Array) -> Array:
        lgt = jnp.log10(t)
        log_mass = _rolling_plaw_vs_logt(jnp.minimum(lgt, lgt_peak), lgt0, *mah[:4])
        efficiency = _sfr_eff_plaw(log_mass, *params[:4])
        kept = _jax_partial_u_tw_kern(lgt, params.lg_qt, width, params.lg_drop, params.lg_drop - params.lg_rejuv)
        return jnp.maximum(FB * _pow10(log_mass + efficiency + kept), SFR_MIN)

    def step(carry: tuple[Array, Array], t: Array) -> tuple[tuple[Array, Array], None]:
        now = rate(t)
        return (carry[0] + now, now), None

    first = rate(times[0])
    (total, last), _ = jax.lax.scan(step, (first, first), times[1:], unroll=STEPS_UNROLLED)
    formed = (total - 0.5 * (first + last)) * (times[1] - times[0]) * 1e9
    return jnp.log10(formed), jnp.log10(last)


def _one_central(
    key: Array, log_mass: Array, log_limit: Array, epoch: Epoch
) -> tuple[DiffmahParams, DiffstarParams, Array, Array, Array]:
    u, z = _random_block(key, 3, 12)
    # A host grows until today: its peak mass is not in its past.
    args = (MAH_POP, log_mass, epoch.t_obs, epoch.t_now, key)
    early, late = cens._mean_diffmah_params_early_t_peak(*args), cens._mean_diffmah_params_late_t_peak(*args)
    mah = _growth(early, late, log_mass, u[0], z[:4], epoch)
    params, quenched = _star_formation(mah, None, u[1], z[4:], epoch)
    return mah, params, quenched, _compute_mean_subhalo_counts(log_mass, log_limit, SUBHALO_MASSES), u[2]


def _one_satellite(
    key: Array, log_host: Array, host: DiffmahParams, log_limit: Array, epoch: Epoch
) -> tuple[DiffmahParams, DiffstarParams, Array, Array, Array, Array]:
    u, z = _random_block(key, 7, 15)
    log_mass = log_host + _subhalo_mass_ratio(u[0], log_host, log_limit)
    lgt0 = jnp.log10(epoch.t_now)
    args = (MAH_POP, log_mass, epoch.t_obs, _satellite_t_peak(u[6], log_mass, epoch.t_obs), key)
    early, late = sats._mean_diffmah_params_early_t_peak(*args), sats._mean_diffmah_params_late_t_peak(*args)
    mah = _growth(early, late, log_mass, u[1], z[:4], epoch)
    # A subhalo falls in when its mass peaks.
    host_then = _log_mah_kern(host, mah.t_peak, lgt0)
    infall = (_log_mah_kern(mah, mah.t_peak, lgt0) - host_then, host_then, epoch.t_obs - mah.t_peak)
    params, quenched = _star_formation(mah, infall, u[2], z[4:12], epoch)
    return mah, params, quenched, log_mass, u[3:6], z[12:]


@jax.jit
def central_tile(base: Array, words: Array, log_mass: Array, log_limit: Array, epoch: Epoch) -> Centrals:
    """Central galaxies of `TILE` haloes.

    `words` (TILE, 2) uint32: high and low word of the halo identifiers; `log_mass` (TILE,): log10 halo mass in Msun;
    `log_limit`: log10 of the smallest subhalo mass in Msun.
    """

    def one(w: Array, m: Array) -> tuple[Any, ...]:
        return _one_central(
            jran.fold_in(halo_key(base, w), 0), m, log_limit, epoch
        )  # ordinal 0; satellites count from 1

    mah, params, quenched, mean_subhaloes, u_subhaloes = jax.vmap(one)(words, log_mass)
    return Centrals(*_formed(params, mah, epoch), quenched, mah, mean_subhaloes, u_subhaloes)


@jax.jit
def satellite_tile(
    base: Array, words: Array, ordinal: Array, log_host: Array, host: DiffmahParams, log_limit: Array, epoch: Epoch
) -> Satellites:
    """`TILE` satellites, given the identifier words, growth and log10 mass (Msun) of the host of each, and its ordinal >= 1."""

    def one(w: Array, n: Array, m: Array, h: DiffmahParams) -> tuple[Any, ...]:
        return _one_satellite(jran.fold_in(halo_key(base, w), n), m, h, log_limit, epoch)

    mah, params, quenched, log_mass, u_phase_space, normal_velocity = jax.vmap(one)(words, ordinal, log_host, host)
    return Satellites(*_formed(params, mah, epoch), quenched, log_mass, u_phase_space, normal_velocity)
