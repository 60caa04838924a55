"""The `stages` section: what is made of the results of jobs, and whether it fits the campaign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from campaign.core.model import Axis

PREVIEW = "preview_"
"""Begins the name of a stage that is run on what is there."""

PRODUCTS = "products"
"""What is applied to products alone is applied to."""


Name = Annotated[str, Field(pattern=r"^[A-Za-z]\w{0,63}$")]


class ReturnedSection(BaseModel):
    """A value that a function returns; an array has dimensions, with the values along each."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    dtype: Literal["f8", "f4", "i8", "i4", "str"] = "f8"
    units: Annotated[str, Field(max_length=100)] = "1"
    long_name: Annotated[str, Field(max_length=200)] = ""
    dims: Annotated[
        dict[Name, Annotated[list[float | int | str], Field(min_length=1)]], Field(description="name: values")
    ] = {}


class StageSection(BaseModel):
    """What is made of the results of a campaign's jobs, by a function of yours."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    reduce: Annotated[str | None, Field(description="called once for all members along this axis")] = None
    apply: Annotated[
        str | None, Field(description="called for each product, with the results of this stage; `products`: of none")
    ] = None
    call: Annotated[str, Field(pattern=r"^[^:]+:[A-Za-z_]\w*$", description="module:function or file.py:function")]
    needs: Annotated[list[str], Field(description="reduce: the measurements that are given; unset: all")] = []
    at_least: Annotated[float, Field(gt=0, le=1, description="reduce: share of members that must have completed")] = 1.0
    arguments: Annotated[dict[str, Any], Field(description="further keyword arguments")] = {}
    returns: Annotated[dict[Name, ReturnedSection], Field(description="what the function returns, by name")] = {}
    suffix: Annotated[
        str, Field(pattern=r"^(\.\w{1,16})?$", description="apply: end of the names of what is written")
    ] = ""
    code_version: Annotated[str, Field(max_length=200, description="another one is another result")] = ""
    here: Annotated[
        str | None,
        Field(description="where relative Python files are found; unset: where the campaign is started"),
        AfterValidator(lambda path: str(Path(path or ".").expanduser().absolute())),
    ] = Field(default=None, validate_default=True)

    @model_validator(mode="after")
    def _one_of_both(self) -> StageSection:
        if (self.reduce is None) == (self.apply is None):
            raise ValueError("give `reduce` (an axis), or `apply` (a stage, or `products`)")
        if self.reduce is not None and self.suffix:
            raise ValueError("`suffix` belongs to `apply`")
        if self.apply is not None and (self.needs or self.at_least != 1.0):
            raise ValueError("`needs` and `at_least` belong to `reduce`")
        return self


def misfits(stages: Mapping[str, StageSection], axes: Sequence[Axis]) -> Iterator[tuple[str, str, str, str]]:
    """(stage, key, what is there, what is allowed) of what does not fit the design, or the stages before it."""
    names = [axis.name for axis in axes]
    before: list[str] = []
    for name, stage in stages.items():
        if stage.reduce is not None and stage.reduce not in names:
            yield name, "reduce", stage.reduce, f"an axis: {', '.join(names)}"
        if stage.apply is not None and stage.apply not in (PRODUCTS, *before):
            yield (
                name,
                "apply",
                stage.apply,
                f"{PRODUCTS}, or a stage before it that reduces: {', '.join(before) or 'there is none'}",
            )
        if name == PRODUCTS or name.startswith(PREVIEW):
            yield name, "", name, "another name"
        if stage.reduce is not None:
            before.append(name)
