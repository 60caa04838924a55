"""The `design` section -> axes: a grid of named dimensions, or cases along one."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from campaign.config.schema import DRAWN, DesignSection, ParameterSection
from campaign.config.source import Path_, shown
from campaign.core import ranges
from campaign.core.model import BOOKKEEPING, Axis, Scalar

CASE = "case"
"""Dimension of cases, where parameters do not span a grid."""

SAVED = frozenset({*BOOKKEEPING, CASE, "job", "name", "version"})
"""Words that mean something else in the dataset or in names."""

Complain = Callable[[Path_, str, str], None]


def designed(section: DesignSection, seed: int, complain: Complain) -> list[Axis]:
    """The axes of a design, in order; mistakes are told to `complain`, and axes that are wrong are left out."""
    for name in {*section.parameters, *(name for case in section.cases for name in case)} & SAVED:
        complain(("design", "parameters", name), f"a parameter called {name}", "a name that means nothing else here")
    if section.method == "cases":
        return _listed(section, complain)
    found = {name: _values(name, given, complain) for name, given in section.parameters.items()}
    if section.method in DRAWN:
        return _drawn(section, {name: values for name, values in found.items() if values is not None}, seed, complain)
    axes = [axis for name, values in found.items() if values and (axis := _axis(section, name, values, complain))]
    if section.method == "zip":
        return _grouped(axes, [list(section.parameters)], ("design", "parameters"), complain)
    return _grouped(axes, section.together, ("design", "together"), complain)


def _values(name: str, given: object, complain: Complain) -> ranges.Values | None:
    """What a parameter may be; None where that can't be read."""
    values = given.values if isinstance(given, ParameterSection) else given
    try:
        if isinstance(values, str):
            return ranges.parse(values)
        return ranges.choice(values if isinstance(values, list) else [values])  # type: ignore[list-item]
    except ValueError as error:
        complain(("design", "parameters", name), shown(values), str(error))
        return None


def _axis(section: DesignSection, name: str, values: ranges.Values, complain: Complain) -> Axis | None:
    try:
        return _described(section, Axis(name, values.values()))
    except ValueError as error:
        complain(("design", "parameters", name), "a range", str(error))
        return None


def _described(section: DesignSection, axis: Axis) -> Axis:
    """The axis with the units and the words that its parameter was given."""
    known = section.parameters.get(axis.name)
    if not isinstance(known, ParameterSection):
        return axis
    return Axis(axis.name, axis.values, known.units, known.long_name)


def _grouped(axes: Sequence[Axis], groups: Sequence[Sequence[str]], where: Path_, complain: Complain) -> list[Axis]:
    """The axes, those of a group as one; a group stands where the first of its parameters stood."""
    known = {axis.name: axis for axis in axes}
    times = Counter(name for group in groups for name in group)
    group_of: dict[str, int] = {}
    for n, group in enumerate(groups):
        place: Path_ = (*where, n) if where[-1] == "together" else where
        unknown = [name for name in group if name not in known]
        if unknown:
            complain(place, f"unknown parameter {unknown[0]!r}", ", ".join(known))
        elif twice := [name for name in group if times[name] > 1]:
            complain(place, f"{twice[0]} twice", "each parameter once")
        elif len({len(known[name].values) for name in group}) > 1:
            lengths = ", ".join(f"{len(known[name].values)} of {name}" for name in group)
            complain(place, lengths, "as many values of each: they go side by side")
        else:
            group_of |= dict.fromkeys(group, n)
    made: list[Axis] = []
    begun: set[int] = set()
    several = len(set(group_of.values())) > 1
    for axis in axes:
        n = group_of.get(axis.name, -1)
        if n < 0:
            made.append(axis)
        elif n not in begun:
            begun.add(n)
            made.append(cases([known[name] for name in groups[n]], f"{CASE}_{n}" if several else CASE))
    return made


def cases(parameters: Sequence[Axis], name: str = CASE) -> Axis:
    """Parameters that are varied together, each with a value for every case, as one axis."""
    return Axis(name, tuple(range(len(parameters[0].values))), "1", "number of the case", tuple(parameters))


def _listed(section: DesignSection, complain: Complain) -> list[Axis]:
    """Cases one by one."""
    names = list(section.cases[0])
    for n, case in enumerate(section.cases):
        if set(case) != set(names):
            complain(
                ("design", "cases", n), f"parameters {', '.join(case)}", f"{', '.join(names)}, as in the first case"
            )
            return []
    columns = {name: tuple(case[name] for case in section.cases) for name in names}
    return _distinct({name: _one_type(name, values, complain) for name, values in columns.items()}, section, complain)


def _one_type(name: str, values: tuple[Scalar, ...], complain: Complain) -> tuple[Scalar, ...]:
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        return tuple(float(value) for value in values)
    if len(kinds) > 1:
        complain(("design", "cases"), f"{name} of several types", "values of one type")
    return values


def _drawn(
    section: DesignSection, parameters: Mapping[str, ranges.Values], seed: int, complain: Complain
) -> list[Axis]:
    """Cases that are drawn between the ends of each parameter, by scipy's quasi-Monte Carlo engines."""
    if len(parameters) < len(section.parameters) or section.samples is None:
        return []
    try:
        places = sample(section.method, len(parameters), section.samples, seed)
    except ImportError:
        complain(
            ("design", "method"), section.method, "a method that needs no scipy, or: pip install 'campaign[designs]'"
        )
        return []
    columns = {name: _levels(values).at(places[:, n]) for n, (name, values) in enumerate(parameters.items())}
    kept = list(dict.fromkeys(zip(*columns.values(), strict=True)))  # integers may be drawn twice: once is enough
    return _distinct(dict(zip(columns, zip(*kept, strict=True), strict=True)), section, complain)


def _levels(values: ranges.Values) -> ranges.Values:
    """A range of which somebody said how many values it has is drawn from these."""
    if isinstance(values, ranges.Range) and values.count is not None:
        return ranges.Choice(values.values())
    return values


def sample(method: str, dimensions: int, count: int, seed: int) -> npt.NDArray[np.float64]:
    """Points in the unit cube, (count, dimensions), each coordinate in [0, 1). More points of Sobol and Halton begin with the same ones."""
    from scipy.stats import qmc

    engines = {"lhs": qmc.LatinHypercube, "sobol": qmc.Sobol, "halton": qmc.Halton}
    engine = engines[method](d=dimensions, rng=np.random.default_rng(seed))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The balance properties of Sobol")
        points: npt.NDArray[np.float64] = engine.random(count)
    return np.minimum(points, np.nextafter(1.0, 0.0))


def _distinct(columns: Mapping[str, tuple[Scalar, ...]], section: DesignSection, complain: Complain) -> list[Axis]:
    """One axis of cases; a complaint where two are the same, which would be one job with two names."""
    times = Counter(zip(*columns.values(), strict=True))
    twice = [case for case, n in times.items() if n > 1]
    if twice:
        words = ", ".join(f"{name}={value}" for name, value in zip(columns, twice[0], strict=True))
        complain(("design", "cases"), f"{words} twice", "each case once; for an ensemble set `science.realizations`")
        return []
    if any(isinstance(v, float) and not math.isfinite(v) for values in columns.values() for v in values):
        complain(("design", "cases"), "a value that is not finite", "numbers")
        return []
    return [cases([_described(section, Axis(name, values)) for name, values in columns.items()])]
