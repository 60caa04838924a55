"""A synthetic halo suite whose theory is known, written in the format of AbacusSummit.

Haloes are a Poisson sample of a lognormal field: a Gaussian field delta with the linear power spectrum (Eisenstein and
Hu 1998) is scaled by the bias b(M) of Tinker et al. 2010, exponentiated and multiplied by the mass function of Tinker et
al. 2008, so that the mean density is exactly n(M) and the correlation of haloes is exp(b1 b2 xi) - 1 (Coles and Jones
1991). Velocities follow linear theory. The phases of a realization are shared by its redshifts.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.durable import fsync_directory, fsync_file
from campaign.generators.galaxies.options import SyntheticOptions

COSMOLOGY = {"flat": True, "H0": 67.36, "Om0": 0.315192, "Ob0": 0.049302, "sigma8": 0.807952, "ns": 0.9649}
"""AbacusSummit's base cosmology c000 (Maksimova et al. 2021)."""

MASS_BINS = 24
LARGEST_CONTRAST = 2.5
"""Limit of bias times rms of the field: beyond it the mean of a lognormal field is carried by cells that are too rare."""

LARGEST_MASS = 3e15
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Theory:
    """What the haloes are drawn from, in logarithmic mass bins."""

    edges: Floats  # (n + 1,), ln of Msun/h
    density: Floats  # (n,), haloes per (Mpc/h)^3 in each bin
    bias: Floats  # (n,), linear bias at the bin's centre
    growth: float  # linear growth factor, 1 today
    velocity: float  # km/s per Mpc/h of linear displacement: a H f


@lru_cache(maxsize=1)
def cosmology() -> Any:
    """The colossus cosmology of the suite; nothing is cached in the user's home."""
    from colossus.cosmology import cosmology as colossus

    return colossus.setCosmology("campaign_c000", params=COSMOLOGY, persistence="")


@lru_cache(maxsize=64)
def theory(redshift: float, min_mass: float) -> Theory:
    """Mass function and bias at `redshift` for haloes above `min_mass` (Msun/h)."""
    from colossus.lss import bias, mass_function

    cosmo = cosmology()
    edges = np.linspace(np.log(min_mass), np.log(LARGEST_MASS), MASS_BINS + 1)
    fine = np.linspace(edges[0], edges[-1], MASS_BINS * 8 + 1)
    dn = mass_function.massFunction(np.exp(fine), redshift, mdef="200m", model="tinker08", q_out="dndlnM")
    segments = 0.5 * (dn[1:] + dn[:-1]) * np.diff(fine)
    centres = np.exp(0.5 * (edges[1:] + edges[:-1]))
    growth_rate = cosmo.Om(redshift) ** 0.55
    return Theory(
        edges=edges,
        density=segments.reshape(MASS_BINS, 8).sum(axis=1),
        bias=np.asarray(bias.haloBias(centres, redshift, mdef="200m", model="tinker10")),
        growth=float(cosmo.growthFactor(redshift)),
        velocity=float(100 * cosmo.Ez(redshift) / (1 + redshift) * growth_rate),
    )


@dataclass(frozen=True, slots=True)
class Field:
    """The linear field of a realization on a periodic grid, at redshift 0."""

    delta: Floats  # (n, n, n), density contrast
    displacement: Floats  # (n, n, n, 3), linear displacement, Mpc/h
    box_size: float  # Mpc/h


def linear_field(options: SyntheticOptions, seed: int, phase: int) -> Field:
    """Gaussian random field with the linear power spectrum; white noise from a Philox stream named by seed and phase."""
    n = round(options.box_size / options.cell_size)
    white = _stream(seed, phase, 0).standard_normal((n, n, n))
    k1 = 2 * np.pi * np.fft.fftfreq(n, options.box_size / n)
    kz = 2 * np.pi * np.fft.rfftfreq(n, options.box_size / n)
    kvec = (k1[:, None, None], k1[None, :, None], kz[None, None, :])
    k = np.sqrt(sum(c**2 for c in kvec))
    amplitude = np.sqrt(smoothed_power(k, options) / (options.box_size / n) ** 3)
    modes = np.fft.rfftn(white) * amplitude
    k2 = np.where(k > 0, k**2, np.inf)
    displacement = np.stack([np.fft.irfftn(1j * c / k2 * modes, s=(n, n, n), axes=(0, 1, 2)) for c in kvec], axis=-1)
    return Field(np.fft.irfftn(modes, s=(n, n, n), axes=(0, 1, 2)), displacement, options.box_size)


def smoothed_power(k: Floats, options: SyntheticOptions) -> Floats:
    """Linear power spectrum today, (Mpc/h)^3, smoothed by a Gaussian of half a cell so that the grid resolves it."""
    power = np.zeros_like(k)
    positive = k > 0
    power[positive] = cosmology().matterPowerSpectrum(k[positive], 0.0, model="eisenstein98")
    return power * np.exp(-((k * options.cell_size / 2) ** 2))


def draw_haloes(
    options: SyntheticOptions, field: Field, redshift: float, seed: int, phase: int
) -> dict[str, npt.NDArray[Any]]:
    """Haloes of one snapshot: `position` (n, 3) in [-box/2, box/2) Mpc/h, `velocity` (n, 3) km/s, `mass` (n,) Msun/h."""
    known = theory(redshift, options.min_mass)
    stream = _stream(seed, phase, 1 + round(1000 * redshift))
    delta = known.growth * field.delta
    variance = float(delta.var())
    biases = limited_bias(known, variance)
    n = delta.shape[0]
    cell = field.box_size / n
    cells, log_mass = [], []
    for b in range(MASS_BINS):
        mean = known.density[b] * cell**3 * np.exp(biases[b] * delta - 0.5 * biases[b] ** 2 * variance)
        chosen = np.repeat(np.arange(n**3), stream.poisson(mean).reshape(-1))
        cells.append(chosen)
        log_mass.append(_masses_within(known, b, stream.random(chosen.size)))
    where = np.concatenate(cells)
    corner = np.stack(np.unravel_index(where, delta.shape), axis=1)
    position = (corner + stream.random((where.size, 3))) * cell - field.box_size / 2
    velocity = known.velocity * known.growth * field.displacement.reshape(-1, 3)[where]
    return {"position": position, "velocity": velocity, "mass": np.exp(np.concatenate(log_mass))}


def limited_bias(known: Theory, variance: float) -> Floats:
    """Bias of each mass bin as it is used on a field of this variance."""
    biases: Floats = np.minimum(known.bias, LARGEST_CONTRAST / np.sqrt(variance))
    return biases


def _masses_within(known: Theory, b: int, u: Floats) -> Floats:
    """Ln M inside bin `b`: the density falls as a power law between the neighbours' mean densities."""
    lo, hi = known.edges[b], known.edges[b + 1]
    before, after = known.density[max(b - 1, 0)], known.density[min(b + 1, MASS_BINS - 1)]
    span = (min(b + 1, MASS_BINS - 1) - max(b - 1, 0)) * (hi - lo)
    slope = np.log(max(after, 1e-300) / max(before, 1e-300)) / span
    if abs(slope) * (hi - lo) < 1e-6:
        drawn: Floats = lo + u * (hi - lo)
    else:
        drawn = lo + np.log1p(u * np.expm1(slope * (hi - lo))) / slope
    return drawn


def _stream(seed: int, phase: int, purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, (phase << 32) | purpose]))


def recipe(options: SyntheticOptions, seed: int) -> str:
    """Name of the directory of all simulations that are made from these options and this seed."""
    text = json.dumps([1, seed, options.model_dump(mode="json"), COSMOLOGY], sort_keys=True)
    return f"synthetic_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def ensure_catalogue(path: Path, options: SyntheticOptions, redshift: float, seed: int, phase: int) -> None:
    """Make the catalogue directory `path` (`.../<simulation>/halos/z1.100`) unless it is there; it appears whole or not."""
    if (path / "halo_info").is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    haloes = draw_haloes(options, linear_field(options, seed, phase), redshift, seed, phase)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write_compaso(scratch, haloes, options, redshift, simulation=path.parents[1].name)
        fsync_file(scratch / "halo_info" / "halo_info_000.asdf")
        fsync_directory(scratch / "halo_info")
        scratch.rename(path)
        fsync_directory(path.parent)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        if not (path / "halo_info").is_dir():  # another process may have been faster
            raise


def write_compaso(
    path: Path, haloes: dict[str, npt.NDArray[Any]], options: SyntheticOptions, redshift: float, simulation: str
) -> None:
    """Write `halo_info/halo_info_000.asdf` below `path`, with the columns and header keys that CompaSO readers ask for."""
    import asdf

    count = np.maximum(np.rint(haloes["mass"] / options.particle_mass), 1).astype(np.uint32)
    box = options.box_size
    known = theory(redshift, options.min_mass)
    r100 = np.cbrt(3 * haloes["mass"] / (4 * np.pi * 200 * COSMOLOGY["Om0"] * 2.77536627e11))
    zspace_to_kms = 100 * box * float(cosmology().Ez(redshift)) / (1 + redshift)
    scaled = {
        "id": np.arange(count.size, dtype=np.uint64) + (np.uint64(round(1000 * redshift)) << np.uint64(40)),
        "N": count,
        "x_com": (haloes["position"] / box).astype(np.float32),
        "v_com": (haloes["velocity"] / zspace_to_kms).astype(np.float32),
        "r100_com": (r100 / box).astype(np.float32),
        "r10_com_i16": np.full(count.size, 32000 // 5, dtype=np.int16),
    }
    header = {
        "SimName": simulation,
        "BoxSize": box,
        "BoxSizeHMpc": box,
        "ParticleMassHMsun": options.particle_mass,
        "Redshift": float(redshift),
        "ScaleFactor": 1 / (1 + redshift),
        "VelZSpace_to_kms": zspace_to_kms,
        "H0": COSMOLOGY["H0"],
        "Omega_M": COSMOLOGY["Om0"],
        "Omega_DE": 1 - COSMOLOGY["Om0"],
        "Growth": known.growth,
        "SimSet": "campaign-synthetic",
    }
    (path / "halo_info").mkdir(parents=True)
    asdf.AsdfFile({"header": header, "data": scaled}).write_to(path / "halo_info" / "halo_info_000.asdf")
