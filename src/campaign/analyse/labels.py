"""Values of axes as plain Python and as words: numbers, or text of any kind of array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from campaign.core.words import value_words

if TYPE_CHECKING:
    import xarray


def value_at(coordinate: xarray.DataArray, n: int) -> Any:
    """One value of a coordinate as Python knows it."""
    value = coordinate.to_numpy()[n]
    return value.item() if hasattr(value, "item") else value


def place(data: xarray.Dataset | xarray.DataArray, dims: Sequence[str], n: int) -> dict[str, Any]:
    """The values of coordinates along a common dimension at a place; a dimension without coordinate has numbers."""
    return {dim: value_at(data[dim], n) for dim in dims}


def words(at: Mapping[str, Any]) -> str:
    """`redshift 0.5, model b`."""
    return ", ".join(f"{name} {value_words(value)}" for name, value in at.items())
