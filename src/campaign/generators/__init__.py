"""Plug-ins that turn one job into products and measurements; found by the entry points `campaign.generators`."""

from __future__ import annotations

import difflib
from importlib.metadata import entry_points

from campaign.errors import Code, UsageError
from campaign.ports import Generator

GROUP = "campaign.generators"


def names() -> list[str]:
    """Names of the installed generators."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def find(name: str) -> Generator:
    """The generator called `name`; UsageError (`generator.unknown`) where there is none: nothing runs on a guess."""
    for point in entry_points(group=GROUP):
        if point.name == name:
            generator: Generator = point.load()()
            return generator
    known = names()
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(
        Code.GENERATOR_UNKNOWN,
        f"there is no generator {name!r}; installed: {', '.join(known) or 'none'}",
        action=f"{hint}install the package that brings it, or correct `generator` in the configuration",
    )
