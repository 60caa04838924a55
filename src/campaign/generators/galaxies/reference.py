"""What catalogues should measure on average: theory of the synthetic suite, and relations that others have found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.core.model import Point
from campaign.generators.galaxies.options import SYNTHETIC_SUITE
from campaign.generators.galaxies.populate import age_gyr
from campaign.generators.galaxies.summary import HALO_EDGES, LOG_HALO_MASS, LOG_STELLAR_MASS
from campaign.ports import Expected

Floats = npt.NDArray[np.float64]

HUBBLE, OMEGA_M = 0.6736, 0.315192


def expected(config: Mapping[str, Any], point: Point) -> dict[str, Expected]:
    """Of some variables, at the redshift of `point`."""
    if "redshift" not in point:
        return {}
    redshift = float(point["redshift"])
    known = {
        "stellar_to_halo_mass": Expected(
            _between(stellar_to_halo_mass(redshift), LOG_HALO_MASS.values, 12.0, 13.5), 0.35,
            "the stellar-to-halo mass relation of Moster, Naab and White (2013)", logarithmic=True, binding=False,
        ),
        "specific_sfr": Expected(
            _between(specific_sfr(redshift), LOG_STELLAR_MASS.values, 9.7, 11.1), 0.8,
            "the main sequence of Speagle et al. (2014)", logarithmic=True, binding=False,
        ),
    }  # fmt: skip
    if config["simulation_suite"] == SYNTHETIC_SUITE and config["n_gen"] is None:
        source = "the mass function of Tinker et al. (2008) that the haloes were drawn from"
        density = halo_mass_function(config, redshift)
        volume = float(config["synthetic"]["box_size"]) ** 3 * np.diff(HALO_EDGES)
        known["halo_mass_function"] = Expected(density, 0.05, source, scatter=np.sqrt(density / volume))
    return known


def halo_mass_function(config: Mapping[str, Any], redshift: float) -> Floats:
    """Haloes per (Mpc/h)^3 and decade in the bins of `halo_mass_function`, above the cuts; missing in a bin that a cut divides."""
    from colossus.lss import mass_function

    from campaign.generators.galaxies.synthetic import cosmology

    cosmology()
    lowest = np.log10(max(float(config["min_mass"]), float(config["synthetic"]["min_mass"])))
    found = np.empty(len(HALO_EDGES) - 1)
    for n in range(len(found)):
        fine = np.linspace(HALO_EDGES[n], HALO_EDGES[n + 1], 33)
        dn = mass_function.massFunction(10**fine, redshift, mdef="200m", model="tinker08", q_out="dndlnM") * np.log(10)
        found[n] = np.trapezoid(dn, fine) / (fine[-1] - fine[0])
    found[HALO_EDGES[1:] <= lowest] = 0.0
    found[(HALO_EDGES[:-1] < lowest) & (lowest < HALO_EDGES[1:])] = np.nan
    return found


def stellar_to_halo_mass(redshift: float) -> Floats:
    """log10 of the stellar mass (Msun) of central galaxies by halo mass (Moster, Naab and White, MNRAS 428, 3121, 2013, eq. 2 and table 1)."""
    a = redshift / (1 + redshift)
    mass = 10 ** np.asarray(LOG_HALO_MASS.values, float) / HUBBLE
    scale = 10 ** (11.590 + 1.195 * a)
    norm, beta, gamma = 0.0351 - 0.0247 * a, 1.376 - 0.826 * a, 0.608 + 0.329 * a
    return np.asarray(np.log10(mass * 2 * norm / ((mass / scale) ** -beta + (mass / scale) ** gamma)))


def specific_sfr(redshift: float) -> Floats:
    """log10 of the specific star formation rate (1/yr) of star-forming galaxies (Speagle et al., ApJS 214, 15, 2014, eq. 28)."""
    mass, age = np.asarray(LOG_STELLAR_MASS.values, float), age_gyr(redshift, HUBBLE, OMEGA_M)
    return np.asarray((0.84 - 0.026 * age) * mass - (6.51 - 0.11 * age) - mass)


def _between(values: Floats, at: Any, low: float, high: float) -> Floats:
    """Missing outside the range in which a relation was measured."""
    place = np.asarray(at, float)
    return np.where((place >= low) & (place <= high), values, np.nan)
