"""Host haloes: read a CompaSO catalogue, cut by mass, take this rank's slab."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.errors import Code, InputError, JobError
from campaign.generators.galaxies.mpi import MPIContext, exchanged

FIELDS = ["id", "N", "x_com", "v_com"]
HEADER = ("BoxSize", "ParticleMassHMsun", "Redshift", "H0", "Omega_M", "SimName")

Floats = npt.NDArray[np.float32]


class ValidationError(JobError):
    """A halo catalogue is not what it should be."""


@dataclass(frozen=True, slots=True)
class HaloMetadata:
    """What the header of a halo catalogue says."""

    simulation: str
    redshift: float
    box_size: float  # Mpc/h
    particle_mass: float  # Msun/h
    hubble: float  # H0 / (100 km/s/Mpc)
    omega_m: float  # matter density today, in units of the critical density


@dataclass(frozen=True, slots=True)
class HaloCatalog:
    """Host haloes, ordered by x and then by identifier, so that slabs are contiguous whatever the number of ranks."""

    positions: Floats  # (n, 3), comoving, Mpc/h, in [-box/2, box/2]
    velocities: Floats  # (n, 3), peculiar, km/s
    masses: Floats  # (n,), Msun/h
    ids: npt.NDArray[np.uint64]  # (n,)
    metadata: HaloMetadata

    def __len__(self) -> int:
        return len(self.ids)


def load_and_filter_halos(
    catalog_path: str | Path,
    min_mass: float,
    n_gen: int | None = None,
    mpi_context: MPIContext | None = None,
    *,
    cleaned: bool = True,
) -> HaloCatalog:
    """The haloes of a CompaSO catalogue directory with mass >= `min_mass` (Msun/h).

    `n_gen` keeps the first so many of them (test mode). Under several ranks each reads its part of the files, and gets
    the haloes of its slab in x; one slab after another they are what a single rank gets, in the same order. Raises InputError where the catalogue is missing, ValidationError where it is truncated, damaged, not finite, or
    without a halo above the cut.
    """
    path = Path(catalog_path)
    if not (path / "halo_info").is_dir():
        raise InputError(
            Code.INPUT_MISSING,
            f"there is no halo catalogue at {path}",
            action="check simulation_root, simulation_suite, cosmology, first_phase and the redshifts",
        )
    context = mpi_context or MPIContext(None, 0, 1, ())
    columns, metadata = _read_part(path, context, cleaned=cleaned)
    _check(path, columns, metadata)
    masses = columns["N"].astype(np.float64) * metadata.particle_mass
    keep = masses >= min_mass
    _refuse_empty(path, masses, min_mass, context)
    columns = {name: column[keep] for name, column in columns.items()} | {"mass": masses[keep].astype(np.float32)}
    if context.size > 1:
        owner = _slab(columns["x_com"][:, 0], metadata.box_size, context.size)
        columns = {name: exchanged(column, owner, context) for name, column in columns.items()}
    order = np.lexsort((columns["id"], columns["x_com"][:, 0]))[: _share_of(n_gen, len(columns["id"]), context)]
    return HaloCatalog(
        positions=wrap(columns["x_com"][order], metadata.box_size),
        velocities=np.ascontiguousarray(columns["v_com"][order], dtype=np.float32),
        masses=np.ascontiguousarray(columns["mass"][order]),
        ids=np.ascontiguousarray(columns["id"][order], dtype=np.uint64),
        metadata=metadata,
    )


def _refuse_empty(path: Path, masses: npt.NDArray[np.float64], min_mass: float, context: MPIContext) -> None:
    """ValidationError on every rank where no rank has a halo above the cut."""
    count, heaviest = masses.size, float(masses.max(initial=0.0))
    if context.comm is not None:
        count, heaviest = sum(context.comm.allgather(count)), max(context.comm.allgather(heaviest))
    if heaviest < min_mass:
        most = f"the heaviest of its {count} haloes has {heaviest:.3g}" if count else "it is empty"
        raise ValidationError(
            Code.INPUT_EMPTY,
            f"{path} has no halo of {min_mass:.3g} Msun/h or more ({most})",
            action="lower min_mass, or take this redshift out of the campaign",
        )


def _share_of(n_gen: int | None, own: int, context: MPIContext) -> int | None:
    """How many of its `own` haloes a rank keeps, so that the first `n_gen` of the box are kept."""
    if n_gen is None or context.comm is None:
        return n_gen
    before = int(sum(context.comm.allgather(own)[: context.rank]))
    return max(0, min(own, n_gen - before))


def wrap(positions: npt.NDArray[Any], box_size: float) -> Floats:
    """Positions folded into [-box/2, box/2), as float32 without ever rounding up to the upper edge."""
    half = box_size / 2
    folded = (np.mod(positions.astype(np.float64) + half, box_size) - half).astype(np.float32)
    return np.where(folded >= np.float32(half), np.float32(-half), folded)


def _slab(x: npt.NDArray[Any], box_size: float, size: int) -> npt.NDArray[np.int64]:
    """Rank that owns each x: equal slabs of the box."""
    return np.clip(((x.astype(np.float64) / box_size + 0.5) * size).astype(np.int64), 0, size - 1)


def _read_part(
    path: Path, context: MPIContext, *, cleaned: bool
) -> tuple[dict[str, npt.NDArray[np.generic]], HaloMetadata]:
    """Part of the files for this rank; every rank learns the header."""
    if context.size == 1:
        return _read(path, path, cleaned=cleaned)
    files = sorted((path / "halo_info").glob("halo_info_*.asdf"))
    mine = files[context.rank :: context.size]
    columns, metadata = _read(mine or files[:1] or path, path, cleaned=cleaned)
    return (columns if mine else {name: column[:0] for name, column in columns.items()}), metadata


def _read(
    source: Path | list[Path], path: Path, *, cleaned: bool
) -> tuple[dict[str, npt.NDArray[np.generic]], HaloMetadata]:
    """The columns of `source`: a catalogue directory, or some of the files of the one at `path`."""
    from abacusnbody.data.compaso_halo_catalog import CompaSOHaloCatalog

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            catalog = CompaSOHaloCatalog(source, fields=FIELDS, cleaned=cleaned)
        header = {key: catalog.header[key] for key in HEADER}
        columns = {name: np.asarray(catalog.halos[name]) for name in FIELDS}
    except FileNotFoundError as error:
        advice = "set `cleaned: false` to read the catalogue as it is" if cleaned else "check the files below it"
        raise InputError(Code.INPUT_MISSING, f"{path} is incomplete: {error}", action=advice) from error
    except Exception as error:  # whatever asdf, blosc or the reader raise on damaged bytes
        raise ValidationError(
            Code.INPUT_DAMAGED,
            f"{path} can't be read: {type(error).__name__}: {error}",
            action="compare the files' checksums with the suite's, and copy the damaged one again",
        ) from error
    return columns, HaloMetadata(
        simulation=str(header["SimName"]),
        redshift=float(header["Redshift"]),
        box_size=float(header["BoxSize"]),
        particle_mass=float(header["ParticleMassHMsun"]),
        hubble=float(header["H0"]) / 100,
        omega_m=float(header["Omega_M"]),
    )


def _check(path: Path, columns: dict[str, npt.NDArray[np.generic]], metadata: HaloMetadata) -> None:
    for name in ("x_com", "v_com"):
        bad = int(np.count_nonzero(~np.isfinite(columns[name].astype(np.float64)).all(axis=1)))
        if bad:
            raise ValidationError(
                Code.INPUT_NOT_FINITE,
                f"column {name} of {path} is not finite for {bad} of {len(columns[name])} haloes",
                action="copy the catalogue again, or take this realization out of the campaign",
            )
    if len(columns["x_com"]) and np.abs(columns["x_com"].astype(np.float64)).max() > metadata.box_size / 2 * (1 + 1e-6):
        raise ValidationError(
            Code.INPUT_DAMAGED,
            f"{path} has haloes outside its box of {metadata.box_size} Mpc/h",
            action="check that header and data belong to the same simulation",
        )
