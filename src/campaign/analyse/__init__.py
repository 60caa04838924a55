"""What comes out: reports on a campaign and its dataset; for people, statistics of its ensembles."""

from __future__ import annotations

import importlib
from typing import Any

_ROOMS = {
    "moments": (
        "condition_number", "correlation", "covariance", "covariance_convergence", "covariance_error", "hartlap_factor", "mean", "n_members",
        "percival_factor", "precision",
    ),
    "resampling": ("bootstrap", "jackknife", "percentiles"),
    "selection": ("threshold",),
    "accessor": ("CampaignAccessor",),
}  # fmt: skip
_HOME = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = [*sorted(_HOME)]  # noqa: PLE0604 - made of the table above


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
