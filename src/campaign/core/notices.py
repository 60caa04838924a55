"""What people want to be told about a run, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What there is to be told."""

    FINISHED = "finished"  # nothing is left to run
    STOPPED = "stopped"  # ended with work left, by a person or by trouble
    WALLTIME = "walltime"  # ended with work left, because the allocation does
    STALLED = "stalled"  # nothing has ended for long, and nobody wants it so
    FAILING = "failing"  # too large a part of what ended has failed


@dataclass(frozen=True, slots=True)
class Rules:
    """When each kind is told."""

    kinds: frozenset[Kind] = frozenset(Kind)
    stalled_s: float = 1800.0
    failure_rate: float = 0.1  # of what has ended for good
    apart_s: float = 3600.0  # between two of a kind


@dataclass(frozen=True, slots=True)
class Notify:
    """Who is told, and when."""

    command: tuple[str, ...]  # gets each notice as JSON on standard input
    urls_file: str | None  # with a URL in each line, of services that apprise knows
    rules: Rules = field(default_factory=Rules)
