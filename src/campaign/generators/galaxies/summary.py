"""Statistics of a catalogue, computed while it is in memory; they become variables of the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.core.model import Axis, Variable

STELLAR_EDGES = np.linspace(8.0, 12.0, 21)
HALO_EDGES = np.linspace(11.0, 15.0, 21)

LOG_STELLAR_MASS = Axis(
    "log_stellar_mass", tuple(np.round((STELLAR_EDGES[1:] + STELLAR_EDGES[:-1]) / 2, 6).tolist()), "log10(Msun)",
    "logarithm of stellar mass, bin centre",
)  # fmt: skip
LOG_HALO_MASS = Axis(
    "log_halo_mass", tuple(np.round((HALO_EDGES[1:] + HALO_EDGES[:-1]) / 2, 6).tolist()), "log10(Msun/h)",
    "logarithm of halo mass, bin centre",
)  # fmt: skip

DENSITY = "(Mpc/h)-3 dex-1"
VARIABLES = (
    Variable("n_halos", "i8", "1", "number of host haloes"),
    Variable("n_galaxies", "i8", "1", "number of galaxies"),
    Variable("satellite_fraction", "f8", "1", "fraction of galaxies that are satellites"),
    Variable("quenched_fraction", "f8", "1", "fraction of galaxies that are quenched"),
    Variable("sfr_density", "f8", "Msun yr-1 (Mpc/h)-3", "comoving star formation rate density"),
    Variable("halo_mass_function", "f8", DENSITY, "host haloes per volume and decade of mass", (LOG_HALO_MASS,)),
    Variable("stellar_mass_function", "f8", DENSITY, "galaxies per volume and decade of mass", (LOG_STELLAR_MASS,)),
)


MEASURED = ("log_stellar_mass", "log_sfr", "is_central", "is_quenched")
"""Properties of galaxies that are measured."""


def measure(
    properties: Mapping[str, npt.NDArray[Any]], halo_masses: npt.NDArray[np.float32], box_size: float
) -> dict[str, Any]:
    """Values of `VARIABLES` for one catalogue: `properties` of its galaxies, each (n,), masses of its haloes in Msun/h."""
    volume = box_size**3
    return {
        "n_halos": len(halo_masses),
        "n_galaxies": len(properties["is_central"]),
        "satellite_fraction": float(1 - properties["is_central"].mean()),
        "quenched_fraction": float(properties["is_quenched"].mean()),
        "sfr_density": float((10.0 ** properties["log_sfr"].astype(np.float64)).sum() / volume),
        "halo_mass_function": _density(np.log10(halo_masses.astype(np.float64)), HALO_EDGES, volume),
        "stellar_mass_function": _density(properties["log_stellar_mass"], STELLAR_EDGES, volume),
    }


def _density(log_mass: npt.NDArray[Any], edges: npt.NDArray[np.float64], volume: float) -> list[float]:
    counts, _ = np.histogram(log_mass, bins=edges)
    return [float(v) for v in counts / (volume * np.diff(edges))]
