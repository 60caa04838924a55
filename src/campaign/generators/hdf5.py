"""HDF5 files as columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from campaign.errors import Code, UsageError
from campaign.needs import need


def columns(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every array of a file by its name, such as `galaxies/position`; UsageError where it can't be read."""
    need("a catalogue", "h5py", "hdf5plugin", extra="galaxies")
    import h5py
    import hdf5plugin  # noqa: F401 - registers the filters that a catalogue may need

    found: dict[str, npt.NDArray[Any]] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim:
            found[name] = item[...]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(take)
    except (OSError, RuntimeError) as error:
        raise UsageError(
            Code.FORMAT_DAMAGED,
            f"{path} can't be read as HDF5: {error}",
            action="name a catalogue, or the directory of a campaign",
        ) from error
    return found
