"""The generator `function`: any importable Python function, called with the parameters of a job."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from campaign.core.model import Point, Task, Variable
from campaign.errors import Code, JobError, UsageError
from campaign.generators.declaring import declared
from campaign.generators.importing import imported

ON_REQUEST = frozenset({"seed", "realization"})
"""What a function is given only if it has parameters of these names: the seed of the job, the number of the member of an ensemble."""


class Returned(BaseModel):
    """A value that the function returns."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    dtype: Literal["f8", "f4", "i8", "i4", "str"] = "f8"
    units: Annotated[str, Field(max_length=100)] = "1"
    long_name: Annotated[str, Field(max_length=200)] = ""


class FunctionOptions(BaseModel):
    """Options of `generator: function`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    call: Annotated[str, Field(pattern=r"^[^:]+:[A-Za-z_]\w*$", description="module:function or file.py:function")] = (
        "math:hypot"
    )
    arguments: Annotated[dict[str, Any], Field(description="further keyword arguments, the same for every job")] = {}
    returns: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z]\w{0,63}$")], Returned],
        Field(min_length=1, description="one name: the value itself; several: the entries of the mapping it returns"),
    ] = {"value": Returned()}
    code_version: Annotated[
        str, Field(max_length=200, description="of the function: another one is another result")
    ] = ""
    here: Annotated[str, Field(description="where relative Python files are found")] = Field(
        default_factory=lambda: str(Path.cwd())
    )


class Function:
    """Calls a Python function in a warm slot; jobs make no product."""

    name = "function"
    version = "1"
    options = FunctionOptions
    incidental = ("here",)
    parallel = False

    def suffix(self, config: Mapping[str, Any]) -> str:
        """What a function returns is all there is."""
        return ""

    def requires(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Whatever the function imports is its own affair."""
        return ()

    def check(self, config: Mapping[str, Any], point: Point) -> None:
        """Refuse a function that is not there, or that does not take these parameters."""
        try:
            signature = inspect.signature(_callable(config))
        except ValueError:  # one that is built in does not tell
            return
        except JobError as error:
            raise UsageError(Code.CONFIG_INVALID, error.message, action=error.action) from error
        try:
            signature.bind(**_arguments(config, point, 0))
        except TypeError as error:
            raise UsageError(
                Code.CONFIG_INVALID,
                f"{config['call']}{signature} can't be called with {', '.join(point)}: {error}",
                action="name the parameters of the design as the function does, or set `arguments`",
            ) from error

    def words(self, config: Mapping[str, Any], point: Point) -> dict[str, str]:
        """There is nothing beside the axes."""
        return {}

    def inputs(self, config: Mapping[str, Any], point: Point) -> tuple[str, ...]:
        """What a function reads is its own."""
        return ()

    def variables(self, config: Mapping[str, Any]) -> tuple[Variable, ...]:
        """What `returns` names."""
        return declared(config["returns"])

    def environment(self, directory: str) -> dict[str, str]:
        """Nothing that a function needs."""
        return {}

    def warm_up(self, config: Mapping[str, Any]) -> None:
        """Import the function."""
        _callable(config)

    def generate(self, task: Task, target: Path, phase: Callable[[str], None]) -> dict[str, Any]:
        """Call the function; returns the values of `variables`."""
        phase("call")
        found = _callable(task.config)(**_arguments(task.config, task.point, task.seed))
        names = list(task.config["returns"])
        if not isinstance(found, Mapping):
            return {names[0]: found}
        if set(found) != set(names):
            raise JobError(
                Code.PRODUCT_INVALID,
                f"{task.config['call']} returned {', '.join(map(str, found))}, and `returns` names {', '.join(names)}",
                action=f"set returns: {{{', '.join(f'{name}: {{}}' for name in found)}}}, or --returns NAME for each",
            )
        return dict(found)

    def verify(self, task: Task, product: Path, measurements: Mapping[str, Any]) -> None:
        """There is no product."""


def _callable(config: Mapping[str, Any]) -> Callable[..., Any]:
    return imported(config["call"], config["here"])


def _arguments(config: Mapping[str, Any], point: Point, seed: int) -> dict[str, Any]:
    """What the function is called with: parameters, further arguments, and what it asks for of `ON_REQUEST`."""
    given = {**config["arguments"], **point}
    asked = _names(config["call"], config["here"])
    offered = {"seed": seed, **given}
    return {name: value for name, value in offered.items() if name not in ON_REQUEST or name in asked}


@lru_cache(maxsize=64)
def _names(call: str, here: str) -> frozenset[str]:
    """Names of the function's parameters, as far as it tells them."""
    try:
        return frozenset(inspect.signature(imported(call, here)).parameters)
    except ValueError:
        return frozenset()
