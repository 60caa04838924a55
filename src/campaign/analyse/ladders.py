"""The ladders of a campaign: a metric along one parameter, for each point of the others."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from campaign.analyse.convergence import Convergence, analyse
from campaign.analyse.metric import metric
from campaign.core.design import is_meant

Ladder = tuple[dict[str, Any], Convergence]
"""(values of the other axes, what the ladder tells)."""


def ladders(
    directory: Path, name: str, along: str, *, cells: bool = False, at: Mapping[str, str] | None = None
) -> list[Ladder]:
    """Each ladder of `name` along the dimension `along`; `cells`: values count cells, so that their inverse is the size.

    `at` chooses values of other dimensions. ValueError where `along` is no dimension of numbers, or nothing is left.
    """
    values = metric(directory, name)
    if along not in values.dims:
        raise ValueError(f"{name} has no dimension {along!r}, but {', '.join(map(str, values.dims))}")
    steps = values.coords[along].to_numpy()
    if steps.dtype.kind not in "fiu":
        raise ValueError(f"{along} is not a number")
    sizes = 1 / steps.astype(np.float64) if cells else steps.astype(np.float64)
    others = [str(dim) for dim in values.dims if dim != along]
    for dim, wanted in (at or {}).items():
        if dim not in others:
            raise ValueError(f"there is no other axis {dim!r}, but {', '.join(others) or 'none'}")
        kept = [n for n, value in enumerate(values.coords[dim].to_numpy().tolist()) if is_meant(value, wanted)]
        if not kept:
            known = ", ".join(map(str, values.coords[dim].to_numpy().tolist()[:20]))
            raise ValueError(f"{dim} has no value {wanted}, but {known}")
        values = values.isel({dim: kept})
    found: list[Ladder] = []
    for place in itertools.product(*(range(values.sizes[dim]) for dim in others)):
        row = values.isel(dict(zip(others, place, strict=True)))
        numbers = row.to_numpy().astype(np.float64)
        there = np.isfinite(numbers)
        if there.any():
            point = {dim: row.coords[dim].item() for dim in others}
            found.append((point, analyse(sizes[there].tolist(), numbers[there].tolist())))
    if not found:
        raise ValueError(f"no job has a value of {name} yet")
    return found
