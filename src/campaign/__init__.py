"""Large simulation campaigns inside SLURM allocations, on Dask, with one xarray dataset as the result."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["CampaignManager", "__version__", "audit", "open", "sweep", "tidy"]

if TYPE_CHECKING:
    from campaign.analyse.results import open_results as open  # noqa: A004
    from campaign.examine import audit_campaign as audit
    from campaign.examine import tidy
    from campaign.manager import CampaignManager
    from campaign.sweeps import sweep


_ROOMS = {
    "open": ("campaign.analyse.results", "open_results"),
    "audit": ("campaign.examine", "audit_campaign"),
    "tidy": ("campaign.examine", "tidy"),
    "sweep": ("campaign.sweeps", "sweep"),
    "CampaignManager": ("campaign.manager", "CampaignManager"),
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room, thing = _ROOMS[name]
    return getattr(importlib.import_module(room), thing)
