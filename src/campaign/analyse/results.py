"""The dataset as an xarray.Dataset, with the little that a reader wants done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.core.model import State
from campaign.errors import Code, UsageError
from campaign.layout import Layout

if TYPE_CHECKING:
    import xarray


def open_results(path: str | Path, *, completed_only: bool = True, **keywords: Any) -> xarray.Dataset:
    """The dataset of the campaign in the directory `path` (or of a `results.zarr`), lazily, with `.campaign` for its statistics.

    What `xarray.open_zarr` gives, and by default with every measurement of a job that is not `completed` masked as
    missing, text as empty. `keywords` go to `xarray.open_zarr`. Raises UsageError where there is no dataset.
    """
    import xarray

    import campaign.analyse.accessor  # noqa: F401 - registers itself

    given = Path(path)
    store = given if given.suffix == ".zarr" else Layout(given).dataset
    if not (store / "zarr.json").exists():
        raise UsageError(
            Code.CAMPAIGN_MISSING,
            f"there is no dataset at {store}",
            action="give the directory of a campaign that was started once",
        )
    dataset: xarray.Dataset = xarray.open_zarr(store, **keywords)
    if not completed_only:
        return dataset
    done = dataset["status"] == int(State.COMPLETED)
    measured = [name for name, v in dataset.data_vars.items() if v.attrs.get("campaign_role") == "measurement"]
    missing = {name: "" if dataset[name].dtype.kind in "TUO" else float("nan") for name in measured}
    masked: xarray.Dataset = dataset.assign({name: dataset[name].where(done, missing[name]) for name in measured})
    return masked
