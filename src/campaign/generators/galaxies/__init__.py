"""Mock galaxy catalogues from AbacusSummit haloes: the generator, and the functions that it is made of.

Nothing heavy is imported before the first job: the coordinator asks this module for names and paths only.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.core.model import Point, Task, Variable
from campaign.errors import Code, UsageError
from campaign.generators.galaxies import suite
from campaign.generators.galaxies.options import SYNTHETIC_SUITE, GalaxiesOptions
from campaign.generators.galaxies.suite import build_abacus_path

if TYPE_CHECKING:
    from campaign.generators.galaxies.catalogue import (
        generate_output_filename,
        validate_output_path,
        verify_catalogue,
        write_parallel_hdf5,
    )
    from campaign.generators.galaxies.halos import HaloCatalog, load_and_filter_halos
    from campaign.generators.galaxies.mpi import MPIContext, initialize_mpi_jax
    from campaign.generators.galaxies.populate import GalaxyCatalog, GalaxyModelParams, generate_galaxies
    from campaign.ports import Expected

    Loaded = tuple[MPIContext, HaloCatalog]
    Made = tuple[MPIContext, HaloCatalog, GalaxyCatalog]

_ROOMS = {
    "mpi": ("MPIContext", "initialize_mpi_jax"),
    "halos": ("HaloCatalog", "load_and_filter_halos"),
    "populate": ("GalaxyCatalog", "GalaxyModelParams", "generate_galaxies"),
    "catalogue": ("generate_output_filename", "validate_output_path", "verify_catalogue", "write_parallel_hdf5"),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "Galaxies",
    "GalaxiesOptions",
    "GalaxyCatalog",
    "GalaxyModelParams",
    "HaloCatalog",
    "MPIContext",
    "build_abacus_path",
    "generate_galaxies",
    "generate_output_filename",
    "initialize_mpi_jax",
    "load_and_filter_halos",
    "validate_output_path",
    "verify_catalogue",
    "write_parallel_hdf5",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


ALLOCATION = {
    "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**32), "MALLOC_TOP_PAD_": str(2**26),
}  # fmt: skip
"""Tells the C library to keep the memory of arrays for the next ones: a third of a mock's time were page faults."""


class Galaxies:
    """The generator `galaxies`: halo catalogue in, galaxy catalogue and its statistics out."""

    name = "galaxies"
    version = "3"
    options = GalaxiesOptions
    incidental = ("simulation_root", "collective_write", "measurements")
    parallel = True

    def suffix(self, config: Mapping[str, Any]) -> str:
        """A catalogue is one file."""
        return ".hdf5"

    def requires(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Packages that must be importable where jobs run."""
        model = str(config["galaxy_model"])
        extra = ("rgrspit_diffsky",) if model.startswith("rgrspit_diffsky") else ()
        theory = ("colossus",) if config["simulation_suite"] == SYNTHETIC_SUITE else ()
        return ("jax", "diffsky", "h5py", "abacusnbody", *theory, *extra)

    def check(self, config: Mapping[str, Any], point: Point) -> None:
        """Haloes are found by realization and redshift."""
        if set(point) != {"realization", "redshift"}:
            raise UsageError(
                Code.CONFIG_INVALID,
                f"galaxies are made for each realization and redshift, not for {', '.join(point)}",
                action="give science.realizations and science.redshifts, and no `design`",
            )

    def words(self, config: Mapping[str, Any], point: Point) -> dict[str, str]:
        """Fields that a naming scheme may use beside the axes."""
        return {"cosmology": str(config["cosmology"]), "phase": suite.phase_word(_phase(config, point))}

    def inputs(self, config: Mapping[str, Any], point: Point) -> tuple[str, ...]:
        """Paths that must exist before the job can run; the synthetic suite is made where it is missing."""
        if config["simulation_suite"] == SYNTHETIC_SUITE:
            return ()
        path = _catalogue_path(config, point)
        cleaning = (str(suite.cleaning_path(path)),) if config["cleaned"] else ()
        return (str(path / "halo_info"), *cleaning)

    def variables(self, config: Mapping[str, Any]) -> tuple[Variable, ...]:
        """What each job adds to the dataset."""
        from campaign.generators.galaxies.summary import menu

        return menu(config).variables

    def environment(self, directory: str) -> dict[str, str]:
        """Environment of a slot: JAX's compilation cache is kept with the campaign and shared by its slots, memory with the slot.

        XLA's own caches stay off: their paths would become part of JAX's keys, and a campaign that is copied or renamed
        would compile again.
        """
        return {
            **ALLOCATION,
            "JAX_COMPILATION_CACHE_DIR": f"{directory}/cache/jax",
            "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }

    def preload(self) -> None:
        """Import what starts no thread: diffsky is not among it, it computes while it is imported."""
        for name in ("abacusnbody.data.compaso_halo_catalog", "h5py", "hdf5plugin", "jax", f"{__name__}.catalogue"):
            importlib.import_module(name)
        from campaign.generators.galaxies import clustering

        clustering.compile_painting()

    def warm_up(self, config: Mapping[str, Any]) -> None:
        """Import and compile what a job needs, so that its own time is its own."""
        for name in ("abacusnbody.data.compaso_halo_catalog", "h5py", "hdf5plugin", f"{__name__}.catalogue"):
            importlib.import_module(name)
        from campaign.generators.galaxies import clustering, mpi, populate

        clustering.compile_painting()
        mpi.initialize_mpi_jax()
        if not str(config["galaxy_model"]).startswith(populate.REFERENCE):
            populate.compile_tiles()

    def generate(self, task: Task, target: Path, phase: Callable[[str], None]) -> dict[str, Any]:
        """Write the catalogue of `task` to `target`; returns the values of `variables`.

        Every rank of a job calls this; what rank 0 returns counts.
        """
        return self.write(task, self.compute(task, self.load(task, phase), phase), target, phase)

    def load(self, task: Task, phase: Callable[[str], None]) -> Loaded:
        """The host haloes of this rank."""
        from campaign.generators.galaxies import halos, mpi

        config = task.config
        phase("initialize")
        context = mpi.initialize_mpi_jax()
        phase("load")
        synthetic = config["simulation_suite"] == SYNTHETIC_SUITE
        path = _synthetic_input(task, context) if synthetic else _catalogue_path(config, task.point)
        cleaned = config["cleaned"] and not synthetic
        hosts = halos.load_and_filter_halos(path, config["min_mass"], config["n_gen"], context, cleaned=cleaned)
        return context, hosts

    def compute(self, task: Task, loaded: Loaded, phase: Callable[[str], None]) -> Made:
        """The galaxies of this rank."""
        from campaign.generators.galaxies import populate

        context, hosts = loaded
        phase("compute")
        params = populate.GalaxyModelParams(
            model=task.config["galaxy_model"],
            log_subhalo_mass_min=task.config["log_subhalo_mass_min"],
            mass_unit=task.config["mass_unit"],
            realization=int(task.point["realization"]),
            redshift=float(task.point["redshift"]),
        )
        return context, hosts, populate.generate_galaxies(hosts, params, task.campaign_seed)

    def write(self, task: Task, made: Made, target: Path, phase: Callable[[str], None]) -> dict[str, Any]:
        """The catalogue, and the statistics of it on rank 0."""
        from campaign.generators.galaxies import catalogue

        context, hosts, galaxies = made
        phase("measure")
        measured = _measured(task, made)
        phase("write")
        attributes = {
            "simulation": hosts.metadata.simulation,
            "redshift": hosts.metadata.redshift,
            "omega_m": hosts.metadata.omega_m,
            "realization": int(task.point["realization"]),
            "campaign_seed": task.campaign_seed,
            "galaxy_model": task.config["galaxy_model"],
            "task_fingerprint": task.task_fingerprint,
        }
        catalogue.write_parallel_hdf5(
            galaxies, hosts, target, context, hosts.metadata.box_size, compression=task.config["compression"],
            attributes=attributes, collective=task.config["collective_write"], kept=task.config["columns"],
        )  # fmt: skip
        return measured

    def read(self, task: Task, product: Path, names: Sequence[str]) -> dict[str, Any]:
        """What is measured of a catalogue that was made before; JobError where it lacks a column that is needed."""
        from campaign.generators.galaxies import catalogue, summary

        chosen = summary.menu(task.config)
        found = summary.measure(catalogue.read_sample(product, with_phase_space=chosen.binning is not None), chosen)
        return {name: found[name] for name in names}

    def expected(self, config: Mapping[str, Any], point: Point) -> dict[str, Expected]:
        """What catalogues should measure on average at a redshift."""
        from campaign.generators.galaxies import reference

        return reference.expected(config, point)

    def verify(self, task: Task, product: Path, measurements: Mapping[str, Any]) -> None:
        """Prove the closed catalogue complete; JobError where it is not."""
        from campaign.generators.galaxies.catalogue import verify_catalogue

        verify_catalogue(product, int(measurements["n_galaxies"]), int(measurements["n_halos"]))


def _measured(task: Task, made: Made) -> dict[str, Any]:
    """The statistics of a catalogue that lies in the memory of several ranks, on rank 0."""
    from campaign.generators.galaxies import mpi, summary

    context, hosts, galaxies = made
    chosen = summary.menu(task.config)
    columns = {name: galaxies.properties[name] for name in summary.MEASURED} | {"mass": hosts.masses}
    if chosen.binning is not None:
        columns |= {"positions": galaxies.positions, "velocities": galaxies.velocities}
    whole = {name: mpi.concatenated(column, context) for name, column in columns.items()}
    if context.rank:
        return {}
    present = {name: column for name, column in whole.items() if column is not None}
    sample = summary.Sample(
        {name: present[name] for name in summary.MEASURED}, present["mass"], hosts.metadata.box_size, hosts.metadata.redshift,
        hosts.metadata.omega_m, present.get("positions", summary.NOWHERE), present.get("velocities", summary.NOWHERE),
    )  # fmt: skip
    return summary.measure(sample, chosen)


def _phase(config: Mapping[str, Any], point: Point) -> int:
    first = config["first_phase"]
    if first is None:
        first = suite.first_phase_of(str(config["simulation_suite"]))
    return int(first) + int(point["realization"])


def _catalogue_path(config: Mapping[str, Any], point: Point) -> Path:
    return build_abacus_path(
        config["simulation_root"],
        str(config["simulation_suite"]),
        str(config["cosmology"]),
        _phase(config, point),
        float(point["redshift"]),
    )


def _synthetic_input(task: Task, context: MPIContext) -> Path:
    """The synthetic catalogue of a job, made by rank 0 where it is missing."""
    path = _make_input(task) if context.rank == 0 else Path()
    return path if context.comm is None else Path(context.comm.bcast(str(path), root=0))


def _make_input(task: Task) -> Path:
    """The synthetic catalogue of a job, made where it is missing.

    Its directory is named by what it is made from, so that another seed or another box never finds it.
    """
    from campaign.generators.galaxies.options import SyntheticOptions
    from campaign.generators.galaxies.synthetic import ensure_catalogue, recipe

    options = SyntheticOptions(**task.config["synthetic"])
    root = Path(task.config["simulation_root"]) / recipe(options, task.campaign_seed)
    path = _catalogue_path({**task.config, "simulation_root": str(root)}, task.point)
    ensure_catalogue(path, options, float(task.point["redshift"]), task.campaign_seed, _phase(task.config, task.point))
    return path
