"""How far a run is, for whoever looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from campaign.core.model import State


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; one snapshot feeds every view."""

    counts: Mapping[State, int]
    total: int
    done_this_run: int
    elapsed_s: float
    rate_per_s: float  # jobs that ended, over the last minutes
    remaining_s: float | None  # estimate; None while nothing is known
    slots: int
    draining: bool
    failures: tuple[Mapping[str, Any], ...]  # the latest, newest first
    nodes: int = 1
    allocation_left_s: float | None = None  # None where nothing ends
    paused: bool = False  # whether a person holds it

    @property
    def held_by(self) -> str:
        """Why nothing is started: `draining`, `paused`, or empty where jobs are."""
        return "draining" if self.draining else "paused" if self.paused else ""
