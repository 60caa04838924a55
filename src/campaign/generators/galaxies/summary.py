"""Statistics of a catalogue, computed while it is in memory; they become variables of the dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.core.model import Axis, Variable
from campaign.errors import Code, JobError, UsageError
from campaign.generators.galaxies import clustering, suite
from campaign.generators.galaxies.options import MeasurementOptions

Floats = npt.NDArray[np.float64]
Values = dict[str, Any]

STELLAR_EDGES = np.linspace(8.0, 12.0, 21)
HALO_EDGES = np.linspace(11.0, 15.0, 21)
SFR_EDGES = np.linspace(-3.0, 3.0, 25)


def _bins(name: str, edges: Floats, units: str, long_name: str) -> Axis:
    return Axis(name, tuple(np.round((edges[1:] + edges[:-1]) / 2, 6).tolist()), units, f"{long_name}, bin centre")


LOG_STELLAR_MASS = _bins("log_stellar_mass", STELLAR_EDGES, "log10(Msun)", "logarithm of stellar mass")
LOG_HALO_MASS = _bins("log_halo_mass", HALO_EDGES, "log10(Msun/h)", "logarithm of halo mass")
MASS_ABOVE = Axis("stellar_mass_threshold", tuple(STELLAR_EDGES.tolist()), "log10(Msun)", "logarithm of stellar mass")
SFR_ABOVE = Axis("sfr_threshold", tuple(SFR_EDGES.tolist()), "log10(Msun/yr)", "logarithm of star formation rate")

LOG_SSFR_MIN = -11.0
"""Galaxies that form stars have a larger specific star formation rate, log10 of 1/yr."""

DENSITY, CUMULATIVE = "(Mpc/h)-3 dex-1", "(Mpc/h)-3"
COUNTS = (
    Variable("n_halos", "i8", "1", "number of host haloes"),
    Variable("n_galaxies", "i8", "1", "number of galaxies"),
    Variable("satellite_fraction", "f8", "1", "fraction of galaxies that are satellites"),
    Variable("quenched_fraction", "f8", "1", "fraction of galaxies that are quenched"),
)
BY_QUANTITY = {
    "mass_functions": (
        Variable("halo_mass_function", "f8", DENSITY, "host haloes per volume and decade of mass", (LOG_HALO_MASS,)),
        Variable("stellar_mass_function", "f8", DENSITY, "galaxies per volume and decade of mass", (LOG_STELLAR_MASS,)),
        Variable("stellar_mass_cumulative", "f8", CUMULATIVE, "galaxies per volume above a stellar mass", (MASS_ABOVE,)),
    ),
    "star_formation": (
        Variable("sfr_density", "f8", "Msun yr-1 (Mpc/h)-3", "comoving star formation rate density"),
        Variable("sfr_cumulative", "f8", CUMULATIVE, "galaxies per volume above a star formation rate", (SFR_ABOVE,)),
    ),
    "relations": (
        Variable(
            "specific_sfr", "f8", "log10(yr-1)", "mean logarithm of the specific star formation rate of galaxies above 1e-11 yr-1",
            (LOG_STELLAR_MASS,),
        ),
        Variable(
            "stellar_to_halo_mass", "f8", "log10(Msun)", "mean logarithm of the stellar mass of central galaxies", (LOG_HALO_MASS,),
        ),
    ),
}  # fmt: skip
"""Variables of what is measured for all galaxies together, beside the counts."""

MEASURED = ("log_stellar_mass", "log_sfr", "is_central", "is_quenched")
"""Properties of galaxies that are measured."""


NOWHERE = np.zeros((0, 3))
MESHES = (32, 48, 64, 80, 96, 128, 144, 160, 192, 256, 320, 384, 512)
RESOLVED = 0.4
"""Part of the Nyquist frequency up to which power is measured: clouds in cells have no aliases to speak of there."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A catalogue as it is measured: the galaxies in the order of their hosts, each central before its satellites."""

    properties: Mapping[str, npt.NDArray[Any]]  # name -> (n,)
    halo_masses: npt.NDArray[Any]  # (hosts,), Msun/h
    box_size: float  # Mpc/h
    redshift: float
    omega_m: float
    positions: npt.NDArray[Any]  # (n, 3), Mpc/h; (0, 3) where clustering is not asked for
    velocities: npt.NDArray[Any]  # (n, 3), km/s; likewise


@dataclass(frozen=True, slots=True)
class Menu:
    """What a campaign measures."""

    quantities: tuple[str, ...]
    samples: Mapping[str, tuple[str, float]]  # name -> (property, above)
    binning: clustering.Binning | None  # None: no clustering

    @property
    def variables(self) -> tuple[Variable, ...]:
        """What each job adds to the dataset."""
        found = list(COUNTS)
        for quantity in self.quantities:
            found += BY_QUANTITY.get(quantity, ())
        for name, (column, above) in self.samples.items():
            words = f"number of galaxies with {column} above {above:g}"
            found.append(Variable(f"n_{name}", "i8", "1", words, settings=f"{column} > {above!r}"))
        if self.binning is not None:
            for name in ("", *self.samples):
                found += self._clustering(name, self.binning)
        return tuple(found)

    def _clustering(self, sample: str, binning: clustering.Binning) -> list[Variable]:
        ending, of, chosen = "", "", ""
        if sample:
            column, above = self.samples[sample]
            ending, of, chosen = f"_{sample}", f" of galaxies with {column} above {above:g}", f"{column} > {above!r}"
        settings = f"mesh {binning.mesh}; {chosen}"
        ell = Axis("ell", binning.multipoles, "1", "multipole")
        noise = f"shot noise{of}, subtracted from the monopole"
        found = [Variable(f"shot_noise{ending}", "f8", "(Mpc/h)3", noise, settings=chosen)]
        if "power_spectrum" in self.quantities:
            k = _bins("k", np.asarray(binning.k_edges), "h/Mpc", "wave number")
            long_name = f"power spectrum in redshift space{of}"
            found.append(Variable(f"power_spectrum{ending}", "f8", "(Mpc/h)3", long_name, (ell, k), settings))
        if "correlation_function" in self.quantities:
            s = _bins("s", np.asarray(binning.s_edges), "Mpc/h", "separation")
            long_name = f"correlation function in redshift space{of}"
            found.append(Variable(f"correlation_function{ending}", "f8", "1", long_name, (ell, s), settings))
        return found


def menu(config: Mapping[str, Any]) -> Menu:
    """What is measured under the resolved options of the generator; UsageError where the size of the box is not known."""
    return _menu(json.dumps([config["measurements"], suite.box_size(config)], sort_keys=True))


@lru_cache(maxsize=16)
def _menu(key: str) -> Menu:
    chosen, box_size = json.loads(key)
    options = MeasurementOptions(**chosen)
    samples = {name: (one.column, one.above) for name, one in options.samples.items()}
    binned = {"power_spectrum", "correlation_function"} & set(options.quantities)
    return Menu(tuple(options.quantities), samples, _binning(options, box_size) if binned else None)


def _binning(options: MeasurementOptions, box_size: float) -> clustering.Binning:
    """Bins that fit the box where they are not given: two fundamental modes wide; twelve to a quarter of the box, above two cells and none less than one wide.

    UsageError where the mesh does not resolve what is asked for, or where nothing is.
    """
    asked, fundamental = options.clustering, 2 * np.pi / box_size
    k_step = asked.k_step or 2 * fundamental
    k_edges = np.arange(fundamental / 2, asked.k_max + k_step / 2, k_step)
    mesh = asked.mesh or next((n for n in MESHES if RESOLVED * n * fundamental / 2 >= asked.k_max), MESHES[-1])
    if asked.k_max > RESOLVED * mesh * fundamental / 2 * (1 + 1e-9):
        raise UsageError(
            Code.CONFIG_INVALID,
            f"a mesh of {mesh} cells in a box of {box_size:g} Mpc/h resolves k up to {RESOLVED * mesh * fundamental / 2:.3g} h/Mpc, not {asked.k_max:g}",
            action="lower measurements.clustering.k_max, or set a larger `mesh`",
        )
    cell = box_size / mesh
    s_max = asked.s_max or min(box_size / 4, 150.0)
    s_step = asked.s_step or (s_max - 2 * cell) / max(min(12, int((s_max - 2 * cell) / cell)), 1)
    s_edges = s_max - s_step * np.arange(int(s_max / s_step) + 1)[::-1] if s_step > 0 else np.zeros(0)
    s_edges = s_edges[s_edges >= 2 * cell * (1 - 1e-9)]
    for what, edges, room in (
        ("k", k_edges, f"from {fundamental / 2:.3g} to {asked.k_max:g} h/Mpc"),
        ("s", s_edges, f"from two cells, {2 * cell:.3g}, to {s_max:g} Mpc/h"),
    ):
        if len(edges) < 2:
            raise UsageError(
                Code.CONFIG_INVALID, f"no bin of {what} fits {room}",
                action=f"set {what}_max and {what}_step of measurements.clustering, or a larger `mesh`",
            )  # fmt: skip
    rounded = [tuple(np.round(edges, 9).tolist()) for edges in (k_edges, s_edges)]
    return clustering.Binning(box_size, mesh, rounded[0], rounded[1], tuple(sorted(set(asked.multipoles))))


def measure(sample: Sample, chosen: Menu) -> Values:
    """Values of `chosen.variables` for one catalogue; JobError where its box is not the one that the bins are made for."""
    properties, volume = sample.properties, sample.box_size**3
    found: Values = {
        "n_halos": len(sample.halo_masses),
        "n_galaxies": len(properties["is_central"]),
        "satellite_fraction": float(1 - properties["is_central"].mean()) if len(properties["is_central"]) else np.nan,
        "quenched_fraction": float(properties["is_quenched"].mean()) if len(properties["is_central"]) else np.nan,
    }
    for quantity in chosen.quantities:
        if quantity in QUANTITIES:
            found |= QUANTITIES[quantity](sample, volume)
    inside = {name: properties[column] > above for name, (column, above) in chosen.samples.items()}
    found |= {f"n_{name}": int(mask.sum()) for name, mask in inside.items()}
    if chosen.binning is not None:
        found |= _clustering(sample, chosen.binning, inside)
    return {variable.name: found[variable.name] for variable in chosen.variables}


def _clustering(sample: Sample, binning: clustering.Binning, inside: Mapping[str, npt.NDArray[np.bool_]]) -> Values:
    if abs(sample.box_size / binning.box_size - 1) > 1e-6:
        raise JobError(
            Code.PRODUCT_INVALID,
            f"the box is {sample.box_size:g} Mpc/h wide, and clustering is measured in one of {binning.box_size:g}",
            action="set measurements.box_size of the generator",
        )
    seen = clustering.in_redshift_space(sample.positions, sample.velocities, sample.redshift, sample.omega_m)
    found: Values = {}
    everywhere = np.ones(len(seen), bool)
    for ending, mask in {"": everywhere, **{f"_{name}": mask for name, mask in inside.items()}}.items():
        spectra = clustering.measure(seen[mask], binning)
        found |= {
            f"power_spectrum{ending}": spectra.power, f"correlation_function{ending}": spectra.correlation,
            f"shot_noise{ending}": spectra.shot_noise,
        }  # fmt: skip
    return found


def _mass_functions(sample: Sample, volume: float) -> Values:
    stellar = sample.properties["log_stellar_mass"]
    return {
        "halo_mass_function": _density(np.log10(sample.halo_masses.astype(np.float64)), HALO_EDGES, volume),
        "stellar_mass_function": _density(stellar, STELLAR_EDGES, volume),
        "stellar_mass_cumulative": _cumulative(stellar, STELLAR_EDGES, volume),
    }


def _star_formation(sample: Sample, volume: float) -> Values:
    log_sfr = sample.properties["log_sfr"]
    return {
        "sfr_density": float((10.0 ** log_sfr.astype(np.float64)).sum() / volume),
        "sfr_cumulative": _cumulative(log_sfr, SFR_EDGES, volume),
    }


def _relations(sample: Sample, _: float) -> Values:
    """Mean relations; missing in bins without galaxies."""
    properties = sample.properties
    stellar = properties["log_stellar_mass"].astype(np.float64)
    specific = properties["log_sfr"] - stellar
    forming = specific > LOG_SSFR_MIN
    central = properties["is_central"] == 1
    return {
        "specific_sfr": _mean(stellar[forming], specific[forming], STELLAR_EDGES),
        "stellar_to_halo_mass": _mean(np.log10(sample.halo_masses.astype(np.float64)), stellar[central], HALO_EDGES),
    }


QUANTITIES = {"mass_functions": _mass_functions, "star_formation": _star_formation, "relations": _relations}


def _bins_of(values: npt.NDArray[Any], edges: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """(number of the bin of each value, whether it is in one); edges are equally far apart."""
    places = np.floor((values.astype(np.float64) - edges[0]) * ((len(edges) - 1) / (edges[-1] - edges[0])))
    inside = (places >= 0) & (places < len(edges) - 1)
    return np.where(inside, places, 0).astype(np.int64), inside


def _counts(values: npt.NDArray[Any], edges: Floats) -> npt.NDArray[np.int64]:
    places, inside = _bins_of(values, edges)
    return np.bincount(places[inside], minlength=len(edges) - 1)


def _density(log_mass: npt.NDArray[Any], edges: Floats, volume: float) -> Floats:
    return np.asarray(_counts(log_mass, edges) / (volume * np.diff(edges)))


def _cumulative(values: npt.NDArray[Any], edges: Floats, volume: float) -> Floats:
    """Galaxies per volume above each edge."""
    above = np.count_nonzero(values >= edges[-1])
    inside = np.cumsum(_counts(values, edges)[::-1])[::-1]
    return np.append(inside + above, above) / volume


def _mean(x: Floats, y: Floats, edges: Floats) -> Floats:
    """Mean of `y` in bins of `x`."""
    places, inside = _bins_of(x, edges)
    counts = np.bincount(places[inside], minlength=len(edges) - 1)
    sums = np.bincount(places[inside], y[inside], minlength=len(edges) - 1)
    with np.errstate(invalid="ignore"):
        return np.where(counts > 0, sums / counts, np.nan)
