"""Large simulation campaigns inside SLURM allocations, on Dask, with one xarray dataset as the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["CampaignManager", "__version__", "open"]

if TYPE_CHECKING:
    from campaign.analyse.results import open_results as open  # noqa: A004
    from campaign.manager import CampaignManager


def __getattr__(name: str) -> Any:
    if name == "open":
        from campaign.analyse.results import open_results

        return open_results
    if name == "CampaignManager":
        from campaign.manager import CampaignManager

        return CampaignManager
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
