"""Galaxy catalogues as HDF5 files: write, and prove them complete by reading them again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.errors import Code, ProductError
from campaign.generators.galaxies.halos import HaloCatalog
from campaign.generators.galaxies.mpi import MPIContext, MPIError, concatenated, counts
from campaign.generators.galaxies.populate import GalaxyCatalog
from campaign.generators.galaxies.summary import MEASURED, NOWHERE, Sample

Columns = Mapping[str, Mapping[str, npt.NDArray[Any]]]
"""Group -> name -> column."""

Rows = Mapping[str, Sequence[int]]
"""Group -> rows of each rank."""

SCHEMA_VERSION = "1.0"
OMEGA_M = 0.315192
"""Matter density of catalogues that do not tell it: that of AbacusSummit's base cosmology."""

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
    compression: str = "zstd",
    attributes: Mapping[str, Any] | None = None,
    collective: bool | None = None,
    kept: Mapping[str, Collection[str]] | None = None,
) -> bool:
    """Write galaxies and their hosts to `output_path`; True when the file is closed.

    `kept` names the columns that are written of each group; None for all.

    Under several ranks every rank writes its slab into one file, collectively, where h5py was built for that
    (`collective`: None to take what is there); otherwise the slabs are gathered to rank 0. Rows stand in the order of a
    single rank either way. Raises MPIError where collective writing is demanded but not to be had, and OSError where the
    file can't be written.
    """
    columns: Columns = {
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
    rows = {group: counts(len(next(iter(members.values()))), mpi_context) for group, members in columns.items()}
    if kept is not None:
        columns = {group: {n: c for n, c in columns[group].items() if n in kept[group]} for group in columns}
    known = {"box_size": box_size, **(attributes or {})}
    if mpi_context.size > 1 and (can_write_collectively() if collective is None else collective):
        _write_collectively(Path(output_path), columns, rows, known, compression, mpi_context)
        return True
    whole = {group: _gathered(members, mpi_context) for group, members in columns.items()}
    if mpi_context.rank == 0:
        _write(Path(output_path), whole, rows, known, compression)
    return True


def can_write_collectively() -> bool:
    """Whether h5py was built on a parallel HDF5."""
    import h5py

    return bool(h5py.get_config().mpi)


def _gathered(members: Mapping[str, npt.NDArray[Any]], context: MPIContext) -> dict[str, npt.NDArray[Any]]:
    """The columns of every slab, one behind the other, on rank 0; nothing on the others."""
    whole = {name: concatenated(column, context) for name, column in members.items()}
    return {name: column for name, column in whole.items() if column is not None}


def _write(path: Path, columns: Columns, rows: Rows, attributes: Mapping[str, Any], compression: str) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for group, name, dataset in _laid_out(file, columns, rows, attributes, compression):
            if len(columns[group][name]):
                dataset[...] = columns[group][name]


def _write_collectively(
    path: Path, columns: Columns, rows: Rows, attributes: Mapping[str, Any], compression: str, context: MPIContext
) -> None:
    """Every rank writes its rows behind those of the ranks before it; compressed chunks demand that all write at once."""
    import h5py

    if not can_write_collectively():
        raise MPIError(
            Code.GENERATOR_UNAVAILABLE,
            "h5py was built without parallel HDF5",
            action="build it with MPI, or leave `collective_write` out",
        )
    offsets = {group: sum(by_rank[: context.rank]) for group, by_rank in rows.items()}
    with h5py.File(path, "w", driver="mpio", comm=context.comm) as file:
        for group, name, dataset in _laid_out(file, columns, rows, attributes, compression):
            _write_slab(dataset, np.ascontiguousarray(columns[group][name]), offsets[group])


def _write_slab(dataset: Any, column: npt.NDArray[Any], offset: int) -> None:
    """Write a rank's rows; a rank without rows takes part with an empty selection, since all must."""
    import h5py

    if not dataset.shape[0]:
        return
    where, what = dataset.id.get_space(), h5py.h5s.create_simple(column.shape)
    if len(column):
        where.select_hyperslab((offset, *[0] * (column.ndim - 1)), column.shape)
    else:
        where.select_none()
        what.select_none()
    transfer = h5py.h5p.create(h5py.h5p.DATASET_XFER)
    transfer.set_dxpl_mpio(h5py.h5fd.MPIO_COLLECTIVE)
    dataset.id.write(what, where, column, dxpl=transfer)


def _laid_out(
    file: Any, columns: Columns, rows: Rows, attributes: Mapping[str, Any], compression: str
) -> Iterator[tuple[str, str, Any]]:
    """(group, name, empty dataset) of each column in a file that has everything else."""
    file.attrs["schema_version"] = SCHEMA_VERSION
    for name, value in attributes.items():
        file.attrs[name] = value
    for group_name, members in columns.items():
        group = file.create_group(group_name)
        group.attrs["count"] = total = sum(rows[group_name])
        for name, column in members.items():
            yield group_name, name, _make_column(group, name, column, total, compression)


def _make_column(group: Any, name: str, column: npt.NDArray[Any], rows: int, compression: str) -> Any:
    filters: dict[str, Any] = {}
    if rows:
        chunks = (min(rows, CHUNK_ROWS), *column.shape[1:])
        filters = {"chunks": chunks, "fletcher32": True, **compression_filters(compression)}
    dataset = group.create_dataset(name, (rows, *column.shape[1:]), column.dtype, **filters)
    dataset.attrs["units"] = UNITS.get(name, "1")
    return dataset


def compression_filters(compression: str) -> dict[str, Any]:
    """What h5py's `create_dataset` is told for a compression; bytes are shuffled before all of them."""
    match compression:
        case "none":
            return {}
        case "gzip":
            return {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        case "lzf":
            return {"compression": "lzf", "shuffle": True}
        case _:
            import hdf5plugin

            return {**hdf5plugin.Zstd(clevel=1), "shuffle": True}


def read_sample(path: str | Path, *, with_phase_space: bool) -> Sample:
    """What is measured of a catalogue, from its file; ProductError where it can't be read or lacks a column."""
    import h5py
    import hdf5plugin  # noqa: F401 - registers the filters that the catalogue may need

    try:
        with h5py.File(path, "r") as file:
            galaxies = file["galaxies"]
            space = [galaxies[name][...] if with_phase_space else NOWHERE for name in ("position", "velocity")]
            return Sample(
                {name: galaxies[name][...] for name in MEASURED}, file["halos/mass"][...], float(file.attrs["box_size"]),
                float(file.attrs["redshift"]), float(file.attrs.get("omega_m", OMEGA_M)), *space,
            )  # fmt: skip
    except KeyError as error:
        raise ProductError(
            Code.PRODUCT_INVALID,
            f"{path} has not all that is measured: {error}",
            action="measure less, or keep all `columns`",
        ) from error
    except (OSError, RuntimeError) as error:
        raise _invalid(path, f"it can't be read: {error}") from error


def verify_catalogue(path: str | Path, expected_galaxies: int, expected_halos: int) -> None:
    """Read a closed catalogue from end to end; columns that were not kept are not missed.

    Raises ProductError unless every column is complete, finite and as long as the counts say, all
    positions lie in the box, and the counts are the expected ones.
    """
    import h5py
    import hdf5plugin  # noqa: F401 - registers the filters that the catalogue may need

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
