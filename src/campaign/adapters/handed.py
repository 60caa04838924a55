"""What a slot was handed: leases, and the jobs of them that its process has."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from campaign.core.model import Record, Task

Emit = Callable[[Mapping[str, Any]], None]
BlankRecord = Callable[[Task, str, int], Record]


@dataclass(eq=False, slots=True)
class HandedLease:
    """Jobs that came together."""

    waiting: deque[Task]
    emit: Emit
    stopped: Callable[[], bool]
    given: int = 0  # jobs that the process has in its hands
    asked_back: bool = False  # whether the process was told to give back what it has not begun
    left: list[int] = field(default_factory=list)  # jobs that are not begun any more
    error: Exception | None = None
    over: threading.Event = field(default_factory=threading.Event)


@dataclass(eq=False, slots=True)
class Given:
    """A job in the hands of the process."""

    task: Task
    lease: HandedLease
    started_ms: int  # when it was handed over; when it began, once it has
    begun: bool = False
    touched: bool = False  # whether anything was done to it; it may have been loaded ahead
    told: bool = False  # whether its start was told
    phase: str = ""  # what is done to it now; nothing between two stages
    spent_s: float = 0.0
    since_s: float = 0.0  # when the phase began

    def elapsed_s(self, now_s: float) -> float:
        """Time that it was worked on."""
        return self.spent_s + (now_s - self.since_s if self.phase else 0.0)
