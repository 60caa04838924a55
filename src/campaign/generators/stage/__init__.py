"""The generator `stage`: what is made of the results of other jobs, all of an ensemble or one after another.

`reduce` calls a function with the measurements of all members at one point of the other axes; `apply` calls one with the product of one job and
what a stage before it has found for that point. Both record a fingerprint of what went in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from campaign.core.model import Axis, Point, State, Task, Variable
from campaign.core.staging import members_needed
from campaign.errors import Code, InputError, JobError, ProductError, UsageError
from campaign.generators.importing import imported

if TYPE_CHECKING:
    import xarray

INGREDIENTS = ("task_fingerprint", "product_sha256")
FINGERPRINT, MEMBERS = "inputs_fingerprint", "n_members"
"""Variables of every stage: SHA-256 of what went in, and of how many jobs that was."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z]\w{0,63}$")]


class Returned(BaseModel):
    """A value that the function returns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: Literal["f8", "f4", "i8", "i4", "str"] = "f8"
    units: Annotated[str, Field(max_length=100)] = "1"
    long_name: Annotated[str, Field(max_length=200)] = ""
    dims: Annotated[
        dict[Name, list[float | int | str]], Field(description="of an array: name and values of each dimension")
    ] = {}


class StageOptions(BaseModel):
    """What a stage does; `stages` of a campaign fills in where it belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["reduce", "apply"] = "reduce"
    call: Annotated[str, Field(pattern=r"^[^:]+:[A-Za-z_]\w*$", description="module:function or file.py:function")] = (
        "math:hypot"
    )
    needs: Annotated[
        list[str], Field(description="reduce: the measurements that the function is given; empty: all")
    ] = []
    over: Annotated[str, Field(description="reduce: the axis of the members")] = "realization"
    at_least: Annotated[
        float, Field(gt=0, le=1, description="reduce: the share of members that must have completed")
    ] = 1.0
    after: Annotated[str, Field(description="apply: directory of the stage whose results the function is given")] = ""
    arguments: Annotated[dict[str, Any], Field(description="further keyword arguments")] = {}
    returns: Annotated[dict[Name, Returned], Field(description="what the function returns")] = {}
    suffix: Annotated[
        str, Field(pattern=r"^(\.\w{1,16})?$", description="apply: end of the name of what it writes")
    ] = ""
    code_version: Annotated[
        str, Field(max_length=200, description="of the function: another one is another result")
    ] = ""
    of: Annotated[str, Field(description="directory of the campaign that it belongs to")] = ""
    here: Annotated[str, Field(description="where relative Python files are found")] = Field(
        default_factory=lambda: str(Path.cwd())
    )


class Stage:
    """Calls a function of a user's with the results of a campaign."""

    name = "stage"
    version = "1"
    options = StageOptions
    incidental = ("of", "after", "here", "at_least")
    parallel = False

    def suffix(self, config: Mapping[str, Any]) -> str:
        """Only what is applied to products makes some."""
        return str(config["suffix"])

    def requires(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Whatever the function imports is its own affair."""
        return ()

    def check(self, config: Mapping[str, Any], point: Point) -> None:
        """Refuse a function that is not there, and a stage that belongs to nothing."""
        if not config["of"]:
            raise UsageError(
                Code.CONFIG_INVALID,
                "a stage belongs to a campaign",
                action="declare it in `stages` of that campaign's YAML",
            )
        try:
            imported(config["call"], config["here"])
        except JobError as error:
            raise UsageError(Code.CONFIG_INVALID, error.message, action=error.action) from error

    def words(self, config: Mapping[str, Any], point: Point) -> dict[str, str]:
        """There is nothing beside the axes."""
        return {}

    def inputs(self, config: Mapping[str, Any], point: Point) -> tuple[str, ...]:
        """What it needs is waited for, not looked for."""
        return ()

    def variables(self, config: Mapping[str, Any]) -> tuple[Variable, ...]:
        """What `returns` names, and what went in."""
        found = [
            Variable(name, one["dtype"], one["units"], one["long_name"] or name,
                     tuple(Axis(dim, tuple(values)) for dim, values in one["dims"].items()))
            for name, one in config["returns"].items()
        ]  # fmt: skip
        return (
            *found,
            Variable(MEMBERS, "i8", "1", "jobs whose results went in"),
            Variable(FINGERPRINT, "str", "1", "SHA-256 of what went in"),
        )

    def environment(self, directory: str) -> dict[str, str]:
        """Nothing that a function needs."""
        return {}

    def warm_up(self, config: Mapping[str, Any]) -> None:
        """Import the function."""
        import xarray  # noqa: F401 - takes a second

        imported(config["call"], config["here"])

    def generate(self, task: Task, target: Path, phase: Callable[[str], None]) -> dict[str, Any]:
        """Call the function; returns the values of `variables`."""
        act = self._reduce if task.config["kind"] == "reduce" else self._apply
        found, went_in = act(task, target, phase)
        names = set(task.config["returns"])
        if not isinstance(found, Mapping) or set(found) != names:
            given = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            raise JobError(
                Code.PRODUCT_INVALID, f"{task.config['call']} returned {given}, and `returns` names {', '.join(sorted(names)) or 'nothing'}",
                action="return a mapping with these names",
            )  # fmt: skip
        return {**found, **went_in}

    def _reduce(self, task: Task, _: Path, phase: Callable[[str], None]) -> tuple[Any, dict[str, Any]]:
        config = task.config
        phase("load")
        over, campaign = config["over"], opened(config["of"])
        needs = config["needs"] or measured(campaign)
        here = at_point(campaign, task.point)[[*INGREDIENTS, "status", *needs]].load()
        members = there(here, over, needs)
        if members.sizes[over] < members_needed(config["at_least"], here.sizes[over]):
            raise InputError(
                Code.INPUT_MISSING,
                f"{members.sizes[over]} of {here.sizes[over]} members have completed and are measured, and {config['at_least']:g} of them are needed",
                action="let the others complete (campaign measure fills in what is measured now), or set at_least of the stage",
            )
        phase("call")
        found = imported(config["call"], config["here"])(members[needs], **config["arguments"])
        return found, {MEMBERS: members.sizes[over], FINGERPRINT: fingerprint(ingredients(members, needs))}

    def _apply(self, task: Task, target: Path, phase: Callable[[str], None]) -> tuple[Any, dict[str, Any]]:
        config = task.config
        phase("load")
        job = at_point(opened(config["of"]), task.point)
        if int(job["status"]) != State.COMPLETED:
            raise InputError(
                Code.INPUT_MISSING, f"the job at {dict(task.point)} has not completed", action="run it first"
            )
        went_in, given = ingredients(job, ()), {}
        if config["after"]:
            before = at_point(opened(config["after"]), task.point)
            before = before.isel(
                dict.fromkeys(before["status"].dims, 0)
            )  # all that is left of a reduction over the only axis
            given = {name: before[name].load() for name in measured(before) if name not in (MEMBERS, FINGERPRINT)}
            went_in = [*went_in, str(before[FINGERPRINT].item())]
        product = str(job["product"].item())
        phase("call")
        found = imported(config["call"], config["here"])(
            Path(config["of"]) / product, target, **given, **config["arguments"]
        )
        return found if found is not None else {}, {MEMBERS: 1, FINGERPRINT: fingerprint(went_in)}

    def verify(self, task: Task, product: Path, measurements: Mapping[str, Any]) -> None:
        """A file that is not empty: what is in it only the function knows."""
        if not product.stat().st_size:
            raise ProductError(Code.PRODUCT_INVALID, f"{task.config['call']} wrote an empty file")


def opened(directory: str) -> xarray.Dataset:
    """The dataset of a campaign."""
    import xarray

    found: xarray.Dataset = xarray.open_zarr(Path(directory) / "results.zarr", chunks=None)
    return found


def at_point(dataset: xarray.Dataset, point: Point) -> xarray.Dataset:
    """The part at the parameters of a job."""
    import numpy as np

    places = {}
    for dim in dataset["status"].dims:
        named = [name for name in point if name in dataset.coords and dataset[name].dims == (dim,)]
        if named:
            there = np.logical_and.reduce([dataset[name].to_numpy() == point[name] for name in named])
            places[dim] = int(np.flatnonzero(there)[0])
    return dataset.isel(places)


def there(dataset: xarray.Dataset, over: str, needs: Sequence[str]) -> xarray.Dataset:
    """The members that have completed, and for which everything is measured that is needed."""
    import numpy as np

    found = dataset["status"] == int(State.COMPLETED)
    for name in needs:
        if dataset[name].dtype.kind == "f":
            found = found & dataset[name].notnull().any(
                [dim for dim in dataset[name].dims if dim not in dataset["status"].dims]
            )
    return dataset.isel({over: np.flatnonzero(found.to_numpy())})


def measured(dataset: xarray.Dataset) -> list[str]:
    """Names of what is measured."""
    return [str(name) for name, v in dataset.data_vars.items() if v.attrs.get("campaign_role") == "measurement"]


def ingredients(dataset: xarray.Dataset, needs: Sequence[str]) -> list[str]:
    """What decides the results of jobs, what they made, and what was measured of it: fingerprints and checksums, in order."""
    found = [str(text) for name in INGREDIENTS for text in dataset[name].to_numpy().reshape(-1).tolist()]
    for name in needs:
        values = dataset[name]
        numbers = values.dtype.kind in "fiub"
        told = values.to_numpy().tobytes() if numbers else str(values.to_numpy().tolist()).encode()
        found.append(f"{name} {values.attrs.get('campaign_declared', '')} {hashlib.sha256(told).hexdigest()}")
    return found


def fingerprint(texts: Iterable[str]) -> str:
    """SHA-256, in hexadecimal, of what went in."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
