"""Haloes in, galaxies out."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.errors import Code, JobError
from campaign.generators.galaxies import nfw
from campaign.generators.galaxies.halos import HaloCatalog, HaloMetadata, wrap

REFERENCE = "rgrspit_diffsky"
SUMMED_UP_TO = 50.0
"""Mean of a Poisson distribution up to which its probabilities are summed; above, a library inverts it."""

TILES_UNDER_WAY = 8
"""Tiles that are handed to the device ahead of the one that is waited for: enough to keep it busy, few to hold."""


class ModelError(JobError):
    """The galaxy model is not available, or gave what no galaxy can be."""


@dataclass(frozen=True, slots=True)
class GalaxyCatalog:
    """Galaxies in the order of their hosts: each central, then its satellites."""

    positions: npt.NDArray[np.float32]  # (n, 3), comoving Mpc/h, in [-box/2, box/2)
    velocities: npt.NDArray[np.float32]  # (n, 3), peculiar, km/s
    properties: Mapping[str, npt.NDArray[Any]]  # name -> (n,)
    parent_halos: npt.NDArray[np.uint64]  # (n,), identifier of the host

    def __len__(self) -> int:
        return len(self.parent_halos)


@dataclass(frozen=True, slots=True)
class GalaxyModelParams:
    """Settings of the galaxy model."""

    model: str = "diffsky"
    log_subhalo_mass_min: float = 11.0  # log10 of Msun
    mass_unit: str = "Msun"  # or Msun/h: the reference pipeline's convention
    realization: int = 0
    redshift: float = 0.0  # nominal, names the snapshot in the random key


def age_gyr(redshift: float, hubble: float, omega_m: float) -> float:
    """Age of a flat LCDM universe in Gyr in closed form (Carroll, Press and Turner 1992)."""
    hubble_time = 977.7922216807891 / (100 * hubble)
    omega_l = 1 - omega_m
    arg = np.sqrt(omega_l / omega_m) * (1 + redshift) ** -1.5
    return float(hubble_time * 2 / (3 * np.sqrt(omega_l)) * np.arcsinh(arg))


def generate_galaxies(
    halo_catalog: HaloCatalog, galaxy_model_params: GalaxyModelParams, random_seed: int | None = None
) -> GalaxyCatalog:
    """Populate `halo_catalog`; the same seed gives the same galaxies, whatever the tiles, slabs, threads or order.

    Raises ModelError where the model is not installed or gives values that are not finite.
    """
    seed = 0 if random_seed is None else random_seed
    if galaxy_model_params.model.startswith(REFERENCE):
        galaxies = _populate_reference(halo_catalog, galaxy_model_params, seed)
    else:
        galaxies = _populate(halo_catalog, galaxy_model_params, seed)
    for name, column in {
        "positions": galaxies.positions,
        "velocities": galaxies.velocities,
        **galaxies.properties,
    }.items():
        bad = int(np.count_nonzero(~np.isfinite(column)))
        if bad:
            raise ModelError(
                Code.PRODUCT_INVALID,
                f"the galaxy model gave {bad} values of {name} that are not finite",
                action="report the halo catalogue and the seed of this job",
            )
    return galaxies


def _populate(halos: HaloCatalog, params: GalaxyModelParams, seed: int) -> GalaxyCatalog:
    from campaign.generators.galaxies import model

    meta = halos.metadata
    base = model.snapshot_key(seed, params.realization, round(1000 * params.redshift))
    ages = [np.float32(age_gyr(z, meta.hubble, meta.omega_m)) for z in (meta.redshift, 0.0)]
    epoch = model.Epoch(*ages)  # type: ignore[arg-type]
    limit = np.float32(params.log_subhalo_mass_min)
    unit = meta.hubble if params.mass_unit == "Msun" else 1.0
    log_mass = np.log10(halos.masses.astype(np.float64) / unit).astype(np.float32)
    words = np.stack([halos.ids >> np.uint64(32), halos.ids & np.uint64(0xFFFFFFFF)], axis=1).astype(np.uint32)

    cen = _tiled(lambda w, m: model.central_tile(base, w, m, limit, epoch), words, log_mass)
    # A host at or below the limit has no subhalo above it; the model is not defined there.
    counts = np.where(log_mass > limit, _poisson(cen.u_subhaloes, cen.mean_subhaloes), 0)
    host = np.repeat(np.arange(len(halos)), counts)
    ordinal = _ordinals(counts)
    sat = _tiled(
        lambda w, n, m, *mah: model.satellite_tile(base, w, n, m, type(cen.mah)(*mah), limit, epoch),
        words[host],
        ordinal,
        log_mass[host],
        *[column[host] for column in cen.mah],
    )
    return _assemble(halos, host, cen, sat, log_mass)


def compile_tiles() -> None:
    """Compile what every job runs, or load it from the compilation cache, by one halo that nobody asked for."""
    metadata = HaloMetadata("", redshift=1.0, box_size=1.0, particle_mass=1.0, hubble=0.7, omega_m=0.3)
    nowhere = np.zeros((1, 3), np.float32)
    generate_galaxies(
        HaloCatalog(nowhere, nowhere, np.full(1, 1e13, np.float32), np.zeros(1, np.uint64), metadata),
        GalaxyModelParams(),
    )


def _assemble(halos: HaloCatalog, host: Any, cen: Any, sat: Any, log_mass: Any) -> GalaxyCatalog:
    """Weave satellites in behind their centrals and put them into phase space."""
    meta = halos.metadata
    owner = np.concatenate([np.arange(len(halos)), host])
    weave = np.argsort(owner, kind="stable")
    host_mass = halos.masses[host].astype(np.float64)
    shift = nfw.offsets(sat.u_phase_space.astype(np.float64), host_mass, meta.omega_m, meta.redshift)
    sigma = nfw.velocity_dispersion(host_mass, nfw.radius(host_mass, meta.omega_m), meta.redshift)
    positions = np.concatenate([halos.positions, halos.positions[host] + shift])[weave]
    velocities = np.concatenate([halos.velocities, halos.velocities[host] + sigma[:, None] * sat.normal_velocity])[
        weave
    ]
    is_central = np.concatenate([np.ones(len(halos), np.uint8), np.zeros(len(host), np.uint8)])
    return GalaxyCatalog(
        positions=wrap(positions, meta.box_size),
        velocities=velocities.astype(np.float32),
        properties={
            "log_stellar_mass": np.concatenate([cen.log_stellar_mass, sat.log_stellar_mass])[weave],
            "log_sfr": np.concatenate([cen.log_sfr, sat.log_sfr])[weave],
            "log_peak_mass": np.concatenate([log_mass, sat.log_peak_mass])[weave],
            "is_central": is_central[weave],
            "is_quenched": np.concatenate([cen.quenched, sat.quenched])[weave].astype(np.uint8),
        },
        parent_halos=halos.ids[owner[weave]],
    )


def _poisson(u: npt.NDArray[np.float32], mean: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Poisson counts by inversion: one uniform, one count. The probabilities are summed up for small means, all at once."""
    from scipy.stats import poisson

    u, mean = u.astype(np.float64), np.nan_to_num(mean.astype(np.float64))
    counts = np.zeros(len(u), np.int64)
    large = mean > SUMMED_UP_TO
    counts[large] = poisson.ppf(u[large], mean[large])
    left = np.flatnonzero(~large & (u > np.exp(-mean)))
    term = np.exp(-mean[left])
    total = term.copy()
    while left.size:
        counts[left] += 1
        term *= mean[left] / counts[left]
        total += term
        again = (u[left] > total) & (term > 0)
        left, term, total = left[again], term[again], total[again]
    return counts


def _ordinals(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """1, 2, ... for the satellites of each host."""
    starts = np.cumsum(counts) - counts
    return (np.arange(counts.sum()) - np.repeat(starts, counts) + 1).astype(np.uint32)


def _tiled(kernel: Callable[..., Any], *columns: npt.NDArray[Any]) -> Any:
    """Run `kernel` over the rows in tiles of one shape; the last one is padded with copies of a valid row and cut."""
    import jax

    parts: list[Any] = []
    under_way: deque[Any] = deque()  # on the device, which need not wait for us
    with jax.enable_x64(new_val=False):  # importing diffsky has switched double precision on
        for tile in _tiles(columns):
            under_way.append(kernel(*tile))
            if len(under_way) > TILES_UNDER_WAY:
                parts.append(jax.device_get(under_way.popleft()))
        parts += jax.device_get(list(under_way))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(columns[0])], *parts)


def _tiles(columns: tuple[npt.NDArray[Any], ...]) -> Iterator[list[npt.NDArray[Any]]]:
    from campaign.generators.galaxies.model import TILE

    total = len(columns[0])
    filler = [c[:1] if total else _harmless(c) for c in columns]
    for start in range(0, max(total, 1), TILE):
        rows = min(TILE, total - start)
        yield [
            np.concatenate([c[start : start + rows], np.repeat(f, TILE - rows, axis=0)])
            for c, f in zip(columns, filler, strict=True)
        ]


def _harmless(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A row to pad with where there is none at all: no galaxy comes of it."""
    return np.ones((1, *column.shape[1:]), dtype=column.dtype)


def _populate_reference(halos: HaloCatalog, params: GalaxyModelParams, seed: int) -> GalaxyCatalog:
    """Galaxies of `rgrspit_diffsky.mc_galpop`, with a key for each job.

    It is given Msun and Mpc, as it documents, or masses and lengths with their factors of h, as its pipeline does.
    """
    try:
        mc_galpop = importlib.import_module("rgrspit_diffsky.mc_galpop")
        cosmology = importlib.import_module("dsps.cosmology").DEFAULT_COSMOLOGY
    except ImportError as error:
        raise ModelError(
            Code.GENERATOR_UNAVAILABLE,
            f"galaxy model {params.model!r} needs the package rgrspit_diffsky: {error}",
            action="install it from its repository, or set `science.galaxy_model: diffsky`",
        ) from error
    import jax.random as jran

    meta = halos.metadata
    key = jran.fold_in(jran.fold_in(jran.key(seed), params.realization), round(1000 * params.redshift))
    unit = meta.hubble if params.mass_unit == "Msun" else 1.0
    mass = halos.masses.astype(np.float64)
    result = mc_galpop.mc_galpop_synthetic_subs(
        key,
        np.log10(mass / unit).astype(np.float32),
        (nfw.radius(mass, meta.omega_m) / unit).astype(np.float32),
        halos.positions / np.float32(unit),
        halos.velocities,
        meta.redshift,
        params.log_subhalo_mass_min,
        cosmology,
        meta.box_size / unit,
    )
    upid = np.asarray(result["upid"])
    host = np.where(upid < 0, np.arange(len(upid)) % max(len(halos), 1), upid)
    log_mass = np.asarray(result["logsm_t_obs"], dtype=np.float32)
    return GalaxyCatalog(
        positions=wrap(np.asarray(result["pos"]) * unit, meta.box_size),
        velocities=np.asarray(result["vel"], dtype=np.float32),
        properties={
            "log_stellar_mass": log_mass,
            "log_sfr": np.asarray(result["logssfr_t_obs"], dtype=np.float32) + log_mass,
            "log_peak_mass": np.asarray(result["logmp_t_obs"], dtype=np.float32),
            "is_central": (upid < 0).astype(np.uint8),
            "is_quenched": (np.asarray(result["logssfr_t_obs"]) < -11).astype(np.uint8),
        },
        parent_halos=halos.ids[host],
    )
