"""Plug-ins that turn one job into products and measurements; found by the entry points `campaign.generators`."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points

from campaign.errors import Code, UsageError
from campaign.ports import Generator

GROUP = "campaign.generators"


def names() -> list[str]:
    """Names of the installed generators."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def _load(point: EntryPoint) -> Generator:
    try:
        generator: Generator = point.load()()
    except Exception as error:  # whatever a plug-in's module raises
        raise UsageError(
            Code.GENERATOR_UNAVAILABLE,
            f"generator {point.name!r} ({point.value}) can't be loaded: {type(error).__name__}: {error}",
            action="correct that module, or the entry point in its package, and install it again",
        ) from error
    return generator


def find(name: str) -> Generator:
    """The generator called `name`; UsageError (`generator.unknown`) where there is none: nothing runs on a guess."""
    for point in entry_points(group=GROUP):
        if point.name == name:
            return _load(point)
    known = names()
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(
        Code.GENERATOR_UNKNOWN,
        f"there is no generator {name!r}; installed: {', '.join(known) or 'none'}",
        action=f"{hint}install the package that brings it, or correct `generator` in the configuration",
    )
