"""Failures in groups that are alike: what went wrong, where in the code, at which points of the design, on which nodes."""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.core.model import Axis, FailureClass, Record, Scalar
from campaign.core.policy import class_of

PLACES = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
CHANGING = (
    (re.compile(r"0x[0-9a-fA-F]+"), "#"),
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b|\b[0-9a-f]{16,}\b"), "#"),
    (re.compile(r"(?:/[\w.+=-]+){2,}"), "/..."),
    (re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"), "#"),
)
"""What differs from one failure to the next of the same kind, and what stands for it."""

FEW = 3
"""Values of an axis that are worth naming one by one."""


@dataclass(frozen=True, slots=True)
class Signature:
    """By what failures are alike."""

    failure_class: FailureClass
    error_class: str
    message: str  # its first line without what changes
    place: str  # the last line of the traceback that is named: file and function


@dataclass(frozen=True, slots=True)
class Group:
    """Failures that are alike."""

    signature: Signature
    jobs: tuple[int, ...]
    example: Record  # the first of them
    axes: Mapping[str, tuple[Scalar, ...]]  # axes along which they are concentrated -> the few values
    nodes: Mapping[str, int]  # node -> failures; those of most failures first

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        failure = self.example.failure
        return {
            "class": str(self.signature.failure_class), "error_class": self.signature.error_class,
            "message": self.signature.message, "place": self.signature.place, "count": len(self.jobs), "jobs": list(self.jobs),
            "axes": {name: list(values) for name, values in self.axes.items()}, "nodes": dict(self.nodes),
            "example": {
                "name": self.example.name, "attempt": self.example.attempt, "batch": self.example.batch, "node": self.example.node,
                "message": failure.message if failure else "", "traceback": failure.traceback if failure else "",
            },
        }  # fmt: skip


def signature(record: Record) -> Signature:
    """What a failed record has in common with others of its kind."""
    failure = record.failure
    assert failure is not None, "only failures have a signature"
    places = PLACES.findall(failure.traceback)
    place = f"{places[-1][0].rpartition('/')[2]}:{places[-1][2]}" if places else ""
    return Signature(class_of(failure), failure.error_class, _steady(failure.first_line), place)


def _steady(message: str) -> str:
    for pattern, stand_in in CHANGING:
        message = pattern.sub(stand_in, message)
    return message[:300]


def grouped(records: Iterable[Record], axes: Sequence[Axis]) -> list[Group]:
    """Failed records in groups, the largest first. `axes` are the parameters of the design."""
    alike: dict[Signature, list[Record]] = defaultdict(list)
    for record in records:
        if record.failure is not None:
            alike[signature(record)].append(record)
    groups = [_group(known, members, axes) for known, members in alike.items()]
    return sorted(groups, key=lambda group: (-len(group.jobs), group.signature.message))


def _group(known: Signature, members: Sequence[Record], axes: Sequence[Axis]) -> Group:
    members = sorted(members, key=lambda record: record.job)
    concentrated = {}
    for axis in axes:
        there = {record.point.get(axis.name) for record in members}
        if len(there) < len(members) and len(there) <= min(FEW, len(axis.values) - 1):
            concentrated[axis.name] = tuple(value for value in axis.values if value in there)
    nodes = Counter(record.node for record in members if record.node)
    return Group(known, tuple(record.job for record in members), members[0], concentrated, dict(nodes.most_common()))


def in_words(group: Group) -> str:
    """A group in a line: how many, what, where they are concentrated."""
    return f"{len(group.jobs)} {what(group)}"


def what(group: Group) -> str:
    """What a group has in common: what went wrong, and where."""
    count, known = len(group.jobs), group.signature
    where = [f"{'all ' if count > 1 else ''}{_values(name, values)}" for name, values in group.axes.items()]
    if len(group.nodes) == 1 and count > 1:
        where.append(f"all on {next(iter(group.nodes))}")
    elif group.nodes and next(iter(group.nodes.values())) > max(1, count // 2):
        node, number = next(iter(group.nodes.items()))
        where.append(f"{number} on {node}")
    place = f" in {known.place}" if known.place else ""
    kind = str(known.failure_class).replace("_", " ")
    return f"{kind}: {known.message}{place}" + (f" ({'; '.join(where)})" if where else "")


def _values(name: str, values: Sequence[Scalar]) -> str:
    return f"{name}={', '.join(map(str, values))}"


def retry_command(group: Group, campaign: Path | str) -> str:
    """What to type to give the jobs of a group, and no others, another chance."""
    return f"campaign retry {shlex.quote(str(campaign))} --like {shlex.quote(group.example.name)} --run"
