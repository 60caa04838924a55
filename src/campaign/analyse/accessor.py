"""`ds.campaign`: what is asked of a campaign's dataset most often, by the names of its variables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import xarray

from campaign.analyse import moments, resampling
from campaign.analyse.labels import value_at
from campaign.analyse.selection import threshold
from campaign.core.model import State
from campaign.core.words import value_words
from campaign.errors import Code, UsageError

if TYPE_CHECKING:
    Gaps = moments.Gaps

OVER = "realization"


@xarray.register_dataset_accessor("campaign")  # type: ignore[no-untyped-call]
class CampaignAccessor:
    """Statistics of an ensemble; `ds` is what `campaign.open` or `xarray.open_zarr` gives.

    `over` is the dimension along which members differ, `along` those of the data vector; see `campaign.analyse.moments`. Jobs that have not
    completed are left out and counted: every result has a coordinate `members`.
    """

    def __init__(self, dataset: xarray.Dataset) -> None:
        self._dataset = dataset

    @property
    def design(self) -> tuple[str, ...]:
        """Dimensions by which jobs differ."""
        return tuple(map(str, self._dataset["status"].dims)) if "status" in self._dataset else ()

    @property
    def done(self) -> xarray.DataArray:
        """Whether each job has completed."""
        return self._dataset["status"] == int(State.COMPLETED)

    @property
    def measurements(self) -> tuple[str, ...]:
        """Names of what is measured and is a number."""
        return tuple(
            str(name) for name, variable in self._dataset.data_vars.items()
            if variable.attrs.get("campaign_role") == "measurement" and variable.dtype.kind in "fiub"
        )  # fmt: skip

    def values(self, name: str) -> xarray.DataArray:
        """A variable, missing where a job has not completed; it knows which of its dimensions are those of the design."""
        if name not in self.measurements:
            raise UsageError(
                Code.CONFIG_INVALID,
                f"there is no measurement {name!r}",
                action=f"name one of: {', '.join(self.measurements) or 'none is there'}",
            )
        found = self._dataset[name]
        if "status" in self._dataset:
            found = found.where(self.done)
        return found.assign_attrs({moments.DESIGN: " ".join(self.design)})

    def vector(self, names: str | Sequence[str]) -> xarray.DataArray:
        """Several measurements as one data vector along `bin`, which knows the `measurement` and the coordinates of each element."""
        if isinstance(names, str):
            return self.values(names)
        parts = [self._flat(name) for name in names]
        joined = xarray.concat(parts, moments.BIN, coords="minimal", compat="override", join="exact")
        units = {str(part.attrs.get("units", "1")) for part in parts}
        attributes = {moments.DESIGN: " ".join(self.design), "units": units.pop() if len(units) == 1 else "1"}
        return joined.assign_attrs(attributes).rename("+".join(names))

    def _flat(self, name: str) -> xarray.DataArray:
        values = self.values(name)
        inner = [str(dim) for dim in values.dims if dim not in self.design]
        if inner:
            flat = values.stack({moments.BIN: inner}, create_index=False)
        else:
            flat = values.expand_dims({moments.BIN: 1}, axis=-1)
        lost = [coord for coord in flat.coords if moments.BIN in flat[coord].dims]
        labels = [
            ", ".join(f"{dim}={value_words(value_at(flat[dim], n))}" for dim in inner)
            for n in range(flat.sizes[moments.BIN])
        ] if inner else [""]  # fmt: skip
        flat = flat.drop_vars(lost).transpose(..., moments.BIN)
        return flat.assign_coords(
            measurement=(moments.BIN, [name] * flat.sizes[moments.BIN]), element=(moments.BIN, labels)
        )

    def members(self, name: str, over: str = OVER) -> xarray.DataArray:
        """How many members are there, for each of the other points of the design."""
        return moments.n_members(self.values(name), over)

    def mean(self, name: str, over: str = OVER, gaps: Gaps = "raise") -> xarray.DataArray:
        """Mean over the members."""
        return moments.mean(self.values(name), over, gaps=gaps)

    def std(self, name: str, over: str = OVER, gaps: Gaps = "raise") -> xarray.DataArray:
        """Standard deviation over the members, n - 1 in the denominator."""
        matrix = moments.covariance(self.values(name), over, gaps=gaps)
        found: xarray.DataArray = moments.diagonal(matrix) ** 0.5
        return found.assign_attrs(units=self._dataset[name].attrs.get("units", "1"))

    def covariance(
        self, names: str | Sequence[str], over: str = OVER, along: Sequence[str] | None = None, gaps: Gaps = "raise"
    ) -> xarray.DataArray:
        """Covariance matrix of the data vector of one measurement, or of several one after the other."""
        return moments.covariance(self.vector(names), over, along, gaps)

    def correlation(
        self, names: str | Sequence[str], over: str = OVER, along: Sequence[str] | None = None, gaps: Gaps = "raise"
    ) -> xarray.DataArray:
        """Correlation matrix of the same."""
        return moments.correlation(self.covariance(names, over, along, gaps))

    def precision(
        self, names: str | Sequence[str], over: str = OVER, along: Sequence[str] | None = None, gaps: Gaps = "raise"
    ) -> xarray.DataArray:
        """Inverse of the covariance matrix, with Hartlap's factor."""
        return moments.precision(self.covariance(names, over, along, gaps))

    def convergence(
        self, names: str | Sequence[str], over: str = OVER, along: Sequence[str] | None = None, gaps: Gaps = "raise"
    ) -> xarray.Dataset:
        """How the covariance settles with more members."""
        return moments.covariance_convergence(self.vector(names), over, along, gaps)

    def percentiles(self, name: str, q: Sequence[float] = (5, 16, 50, 84, 95), over: str = OVER) -> xarray.DataArray:
        """Percentiles over the members."""
        return resampling.percentiles(self.values(name), q, over)

    def bootstrap(
        self, name: str, statistic: Callable[..., xarray.DataArray] | None = None, over: str = OVER, **options: Any
    ) -> xarray.Dataset:
        """Errors of a statistic (the mean, unless another one is given) by drawing members with replacement."""
        return resampling.bootstrap(self.values(name), statistic or partial(moments.mean, over=over), over, **options)

    def jackknife(
        self, name: str, statistic: Callable[..., xarray.DataArray] | None = None, over: str = OVER, **options: Any
    ) -> xarray.Dataset:
        """Errors of a statistic (the mean, unless another one is given) by leaving members out."""
        return resampling.jackknife(self.values(name), statistic or partial(moments.mean, over=over), over, **options)

    def threshold(self, cumulative: str, density: float, over: str = OVER) -> xarray.DataArray:
        """The threshold above which the ensemble has a number density, one for all members; see `campaign.analyse.selection.threshold`."""
        return threshold(moments.mean(self.values(cumulative), over), density)
