"""What no plan may be: refusals that look at all of it before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from campaign.core import identity
from campaign.core.design import Grid
from campaign.core.model import BOOKKEEPING, Config, Point, Scalar, Shape, Variable
from campaign.errors import Code, UsageError
from campaign.ports import Generator

NAME_MAX = 200
"""Characters of a file's name: file systems allow 255 bytes, and some are for what is unfinished."""

NAMED_FIRST = 1000
"""Jobs whose names are looked at one by one; of the others, each parameter is."""


def refuse_ranks(generator: Generator, shape: Shape) -> None:
    """Refuse jobs of several ranks where the generator knows of one."""
    if shape.ranks > 1 and not generator.parallel:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"jobs of generator {generator.name!r} have one rank, not {shape.ranks}",
            action=f"set resources.ranks_per_job: 1 and threads_per_rank: {shape.ranks * shape.threads}; a program that is parallel starts its ranks "
            "itself on these CPUs, such as argv: [mpiexec, -launcher, fork, -n, ...]",
        )


def refuse_unknown_metric(config: Config, variables: Sequence[Variable]) -> None:
    """Refuse a rule about a variable that is no measured number."""
    rule = config.execution.enough
    numbers = [variable.name for variable in variables if not variable.dims and variable.dtype != "str"]
    if rule is not None and rule.metric and rule.metric not in numbers:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"execution.enough.metric: {rule.metric!r} is no measured number of generator {config.generator!r}",
            action=f"name one of: {', '.join(numbers) or 'none is measured'}",
        )


def refuse_clashes(grid: Grid, variables: Sequence[Variable]) -> None:
    """Refuse two things of one name: in the dataset one would hide the other."""
    inner = {dim.name for variable in variables for dim in variable.dims}
    named = [axis.name for axis in grid.axes]
    named += [parameter.name for axis in grid.axes for parameter in axis.varies]
    named += [variable.name for variable in variables]
    times = Counter([*named, *inner, *BOOKKEEPING])
    twice = [name for name, count in times.items() if count > 1]
    if twice:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"two things are called {twice[0]!r}: parameters, dimensions, measured values and what the dataset says of each job have names of their own",
            action="rename the parameter, or the measured value",
        )


def refuse_bad_names(config: Config, grid: Grid, named: Callable[[int, Point], str]) -> None:
    """Refuse a naming scheme that gives two jobs one name, leaves `catalogs/`, or gives names that are too long.

    `named` gives the name of a job at a point.
    """
    scheme = f"outputs.naming_scheme {config.naming_scheme!r}"
    try:
        if not identity.numbers_jobs(config.naming_scheme):
            _refuse_words_twice(scheme, grid)
        first = [named(job, grid.point(job)) for job in range(min(grid.size, NAMED_FIRST))]
        longest = named(0, {p.name: _longest(p.values) for p in grid.parameters})
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"{scheme} can't be filled in: {error}",
            action=f"use {{name}}, {{version}}, {{job}}, {{hash}}, {{parameters}}, one of {', '.join(f'{{{p.name}}}' for p in grid.parameters)}, "
            "or a word of the generator such as {phase}",
        ) from error
    if len(set(first)) < len(first) or any(".." in n.split("/") or n.startswith("/") for n in first):
        raise UsageError(
            Code.CONFIG_INVALID, f"{scheme} gives two jobs one name or leaves the directory", action="name every axis in it"
        )  # fmt: skip
    long = max(longest.split("/"), key=len)
    if len(long) > NAME_MAX:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"{scheme} gives names of up to {len(long)} characters: {long[:60]}...",
            action="set `outputs.naming_scheme` to sequential, hierarchical or hash",
        )


def _longest(values: Sequence[Scalar]) -> Scalar:
    """A value that takes most characters."""
    if all(type(value) is int for value in values):
        return max(max(values), min(values), key=lambda value: len(str(value)))
    return max(values, key=lambda value: len(str(value)))


def _refuse_words_twice(scheme: str, grid: Grid) -> None:
    """Refuse a parameter two of whose values stand alike in a name."""
    for parameter in grid.parameters:
        if not identity.may_agree(parameter):
            continue
        known: dict[str, object] = {}
        for value in dict.fromkeys(parameter.values):
            word = identity.axis_word(parameter.name, value)
            if word in known:
                raise UsageError(
                    Code.CONFIG_INVALID,
                    f"{scheme}: {parameter.name} {known[word]} and {value} are both called {word}",
                    action="set `outputs.naming_scheme` to sequential or hash",
                )
            known[word] = value
