"""Galaxy catalogues as HDF5 files: write, and prove them complete by reading them again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.errors import Code, ProductError
from campaign.generators.galaxies.halos import HaloCatalog
from campaign.generators.galaxies.mpi import MPIContext, MPIError
from campaign.generators.galaxies.populate import GalaxyCatalog

SCHEMA_VERSION = "1.0"
CHUNK_ROWS = 65536
UNITS = {
    "position": "Mpc/h",
    "velocity": "km/s",
    "log_stellar_mass": "log10(Msun)",
    "log_sfr": "log10(Msun/yr)",
    "log_peak_mass": "log10(Msun)",
    "mass": "Msun/h",
}


def validate_output_path(path: str | Path, directory: str | Path) -> Path:
    """`path` resolved, if it lies inside `directory` and ends in `.hdf5`; ValueError otherwise."""
    resolved, root = Path(path).resolve(), Path(directory).resolve()
    if not resolved.is_relative_to(root):
        raise ValueError(f"{path} would be written outside the campaign's directory {root}")
    if resolved.suffix != ".hdf5":
        raise ValueError(f"{path} does not end in .hdf5")
    return resolved


def generate_output_filename(redshift: float) -> str:
    """File name of a catalogue by the default convention: `mock_z1.100.hdf5`."""
    return f"mock_z{redshift:.3f}.hdf5"


def write_parallel_hdf5(
    galcat: GalaxyCatalog,
    halo_data: HaloCatalog,
    output_path: str | Path,
    mpi_context: MPIContext,
    box_size: float,
    *,
    compression: str = "gzip",
    attributes: Mapping[str, Any] | None = None,
) -> bool:
    """Write galaxies and their hosts to `output_path`; True when the file is closed.

    Under several ranks the slabs are gathered to rank 0 in rank order, which is the order of a single rank. Raises
    MPIError where gathering fails and OSError where the file can't be written.
    """
    columns: dict[str, Mapping[str, npt.NDArray[Any]]] = {
        "galaxies": {
            "position": galcat.positions,
            "velocity": galcat.velocities,
            **galcat.properties,
            "halo_id": galcat.parent_halos,
        },
        "halos": {
            "position": halo_data.positions,
            "velocity": halo_data.velocities,
            "mass": halo_data.masses,
            "id": halo_data.ids,
        },
    }
    if mpi_context.size > 1:
        columns = {group: _gather(members, mpi_context) for group, members in columns.items()}
    if mpi_context.rank == 0:
        _write(Path(output_path), columns, {"box_size": box_size, **(attributes or {})}, compression)
    return True


def _gather(members: Mapping[str, npt.NDArray[Any]], context: MPIContext) -> dict[str, npt.NDArray[Any]]:
    try:
        parts = context.comm.gather(dict(members), root=0)
    except Exception as error:
        raise MPIError(Code.GENERATOR_RAISED, f"rank {context.rank} could not hand over its slab: {error}") from error
    if parts is None:
        return {}
    return {name: np.concatenate([part[name] for part in parts]) for name in members}


def _write(
    path: Path, columns: Mapping[str, Mapping[str, npt.NDArray[Any]]], attributes: Mapping[str, Any], compression: str
) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        for name, value in attributes.items():
            file.attrs[name] = value
        for group_name, members in columns.items():
            group = file.create_group(group_name)
            group.attrs["count"] = len(next(iter(members.values())))
            for name, column in members.items():
                _write_column(group, name, column, compression)


def _write_column(group: Any, name: str, column: npt.NDArray[Any], compression: str) -> None:
    filters: dict[str, Any] = {}
    if len(column):
        filters = {"chunks": (min(len(column), CHUNK_ROWS), *column.shape[1:]), "fletcher32": True}
        if compression != "none":
            filters |= {"compression": compression, "shuffle": True}
            filters |= {"compression_opts": 1} if compression == "gzip" else {}
    dataset = group.create_dataset(name, data=column, **filters)
    dataset.attrs["units"] = UNITS.get(name, "1")


def verify_catalogue(path: str | Path, expected_galaxies: int, expected_halos: int) -> None:
    """Read a closed catalogue from end to end.

    Raises ProductError unless every column is complete, finite and as long as the counts say, all
    positions lie in the box, and the counts are the expected ones.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            box = float(file.attrs["box_size"])
            for group, expected in (("galaxies", expected_galaxies), ("halos", expected_halos)):
                _verify_group(path, file[group], expected, box)
    except (OSError, KeyError, RuntimeError) as error:
        raise _invalid(path, f"it can't be read: {error}") from error


def _verify_group(path: str | Path, group: Any, expected: int, box: float) -> None:
    count = int(group.attrs["count"])
    if count != expected:
        raise _invalid(path, f"{group.name} has {count} rows, {expected} were made")
    for name, dataset in group.items():
        values = dataset[...]
        if len(values) != expected:
            raise _invalid(path, f"{dataset.name} has {len(values)} rows, {expected} were made")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise _invalid(path, f"{dataset.name} has values that are not finite")
        if name == "position" and len(values) and np.abs(values).max() > box / 2:
            raise _invalid(path, f"{dataset.name} leaves the box of {box} Mpc/h")


def _invalid(path: str | Path, why: str) -> ProductError:
    return ProductError(
        Code.PRODUCT_INVALID, f"{path} is not a complete catalogue: {why}", action="it will be made again"
    )
