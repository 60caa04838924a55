"""Fingerprints, seeds and names. What they give is on disk in every campaign: golden tests hold them."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from string import Formatter
from typing import Any

from campaign.core.model import Axis, Point, Scalar, Variable

FINGERPRINT_VERSION = 1
"""Version of the rule that makes `task_fingerprint`."""

CONFIG_FINGERPRINT_SCHEMA = 1
"""Version of the rule that makes `resolved_config_hash`."""


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, shortest round-trip floats; NaN and infinity raise ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def resolved_config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256, in hexadecimal, of the resolved task configuration."""
    return _sha256(f"campaign-config-{CONFIG_FINGERPRINT_SCHEMA}:{canonical_json(dict(config))}")


def task_fingerprint(generator: str, point: Point, seed: int, config_hash: str) -> str:
    """SHA-256, in hexadecimal, of what decides a job's result: generator, point, seed, resolved configuration."""
    return fingerprint_of(generator, canonical_json(dict(point)), seed, config_hash)


def fingerprint_of(generator: str, point_json: str, seed: int, config_hash: str) -> str:
    """`task_fingerprint` of a point that is given as its canonical JSON."""
    return _sha256(f"campaign-task-{FINGERPRINT_VERSION}:{generator}:{point_json}:{seed}:{config_hash}")


@lru_cache(maxsize=1024)
def variable_digest(variable: Variable) -> str:
    """What a variable's values mean, in 16 hexadecimal digits: values of one name and other bins are not the same."""
    dims = [[dim.name, list(dim.values), dim.units] for dim in variable.dims]
    return _sha256(canonical_json([variable.name, variable.dtype, variable.units, dims, variable.settings]))[:16]


def job_seed(campaign_seed: int, point: Point) -> int:
    """A seed in [0, 2**63) that depends on the campaign's seed and on the point, on nothing else."""
    return seed_of(campaign_seed, canonical_json(dict(point)))


def seed_of(campaign_seed: int, point_json: str) -> int:
    """`job_seed` of a point that is given as its canonical JSON."""
    digest = hashlib.sha256(f"campaign-seed-1:{campaign_seed}:{point_json}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def canonical_points(axes: Sequence[Axis]) -> Iterator[str]:
    """Canonical JSON of every point of a grid, in C order; each value of a parameter is encoded once."""
    parts = sorted(
        (parameter.name, n, [f"{canonical_json(parameter.name)}:{canonical_json(value)}" for value in parameter.values])
        for n, axis in enumerate(axes)
        for parameter in axis.parameters
    )
    indices = itertools.product(*(range(len(axis.values)) for axis in axes))
    return ("{" + ",".join([texts[row[n]] for _, n, texts in parts]) + "}" for row in indices)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def slug(text: str) -> str:
    """`text` as a safe directory name: lower case, letters, digits, '.', '-' and '_'."""
    return re.sub(r"[^a-z0-9.\-]+", "_", text.lower()).strip("_.-") or "campaign"


def directory_name(version: str, name: str) -> str:
    """What the directory of a campaign is called."""
    return f"{version}_{slug(name)}"


AXIS_DIRECTORIES = frozenset({"realization"})
"""Axes each of whose values has a directory of its own, named by its word."""

AXIS_WORDS = {"realization": "r{:04d}", "redshift": "z{:.3f}"}


NAMINGS = {"sequential": "job_{job}", "parameters": "{parameters}", "hash": "job_{hash}"}
"""Naming schemes that have a name of their own; so has `hierarchical`, a directory for each parameter."""

DISTINCT = frozenset({"job", "hash", "parameters"})
"""Fields of a naming scheme each of which tells every job from every other."""

WORD_MAX, WORD_DIGITS = 40, 16
"""Characters of a text that stand in a name, and digits of its hash where these are not all of it."""


@lru_cache(maxsize=1 << 16, typed=True)
def axis_word(axis: str, value: Scalar) -> str:
    """How a value stands in a name: `r0003`, `z1.100`, `dt_0.001`; text that file systems may not like, with a hash of it."""
    if axis in AXIS_WORDS and isinstance(value, float if axis == "redshift" else int):
        return AXIS_WORDS[axis].format(value)
    if not isinstance(value, str):
        return f"{axis}_{value}"
    plain = re.sub(r"[^A-Za-z0-9.+-]+", "-", value)[:WORD_MAX].strip(".-")
    return f"{axis}_{plain}" if plain and plain == value else f"{axis}_{plain or 'text'}-{_sha256(value)[:WORD_DIGITS]}"


def may_agree(parameter: Axis) -> bool:
    """Whether two values of it may have one word: numbers are written with all their digits, but for redshifts."""
    return parameter.name == "redshift" or any(isinstance(value, str) for value in parameter.values)


def product_stem(scheme: str, point: Point, words: Mapping[str, str]) -> str:
    """Path of a job's product without its suffix: one directory for a realization, then the naming scheme.

    `{axis}` in the scheme stands for the axis' word, `{parameters}` for all of those that give no directory, every other
    field for the entry of `words`; KeyError on an unknown one. Axes that the scheme leaves out, and that give no directory,
    are appended, so that names never collide.
    """
    fields = dict(words)
    for axis, value in point.items():
        fields[axis] = axis_word(axis, value)
    fields["parameters"] = "_".join([fields[axis] for axis in point if axis not in AXIS_DIRECTORIES])
    template, names = _template(scheme, tuple(point))
    return template % tuple([fields[name] for name in names])


def naming_scheme(asked: str | None, axes: Sequence[str]) -> str:
    """The scheme that is meant by a scheme, by the name of one, or by nothing, where these parameters are varied."""
    if asked is None:
        inner = [axis for axis in axes if axis not in AXIS_DIRECTORIES]
        return "mock_{redshift}" if "redshift" in axes else "{parameters}" if inner else "sample"
    if asked == "hierarchical":
        return "/".join(f"{{{axis}}}" for axis in axes if axis not in AXIS_DIRECTORIES) or "sample"
    return NAMINGS.get(asked, asked)


def numbers_jobs(scheme: str) -> bool:
    """Whether the scheme tells jobs apart by number or hash, whatever their parameters are."""
    return bool(_fields(scheme) & {"job", "hash"})


def _fields(scheme: str) -> frozenset[str]:
    """Names in braces; doubled braces are none."""
    return frozenset(name for _, name, _, _ in Formatter().parse(scheme) if name is not None)


@lru_cache(maxsize=16)
def _template(scheme: str, axes: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """(template for %, fields that it takes) of `scheme` with directories before it, and behind it the axes that it leaves out.

    A field that reaches into another, such as `{name.upper}`, is one that nobody knows.
    """
    directories = [f"{{{axis}}}/" for axis in axes if axis in AXIS_DIRECTORIES]
    known = _fields(scheme)
    left_out = [f"_{{{a}}}" for a in axes if not (known & DISTINCT or a in known or a in AXIS_DIRECTORIES)]
    parsed = list(Formatter().parse("".join([*directories, scheme, *left_out])))
    names = tuple(name for _, name, _, _ in parsed if name is not None)
    return "".join(text.replace("%", "%%") + ("" if name is None else "%s") for text, name, _, _ in parsed), names
