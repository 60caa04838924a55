"""What a run has done so far: attempts, rate, latest failures, and where the time of the nodes went."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from campaign.core.model import Failure, Outcome, Record
from campaign.core.usage import NodeTime

RATE_WINDOW_S = 120.0
LATEST_FAILURES = 5


class Tally:
    """Counts the ends of attempts. Every method is told the time."""

    def __init__(self, begin_s: float) -> None:
        self._begin_s = begin_s
        self._ends: deque[float] = deque()
        self.node_time = NodeTime()
        self.failures: deque[Mapping[str, Any]] = deque(maxlen=LATEST_FAILURES)  # newest first
        self.completed = self.ended = self.duplicates = 0

    def note(self, record: Record, nodes: float, now_s: float) -> None:
        """An attempt has ended that used `nodes` nodes' worth of CPUs."""
        completed = record.outcome is Outcome.COMPLETED
        self.ended += 1
        self.completed += completed
        self._ends.append(now_s)
        self._forget_before(now_s - RATE_WINDOW_S)
        self.node_time.spent(record.duration_s, nodes, completed=completed)
        if record.failure is not None:
            self.failures.appendleft(
                {
                    "job": record.job, "name": record.name, "attempt": record.attempt, "outcome": str(record.outcome),
                    "code": record.failure.code, "error_class": record.failure.error_class,
                    "message": first_line(record.failure),
                }
            )  # fmt: skip

    def last_failure(self) -> str:
        """The first line of what the latest failure said."""
        return str(self.failures[0]["message"]) if self.failures else ""

    def elapsed_s(self, now_s: float) -> float:
        """Time since the run began."""
        return now_s - self._begin_s

    def rate_per_s(self, now_s: float) -> float:
        """Attempts that ended, over the last minutes."""
        span = min(self.elapsed_s(now_s), RATE_WINDOW_S)
        return len(self._ends) / span if span > 0 else 0.0

    def _forget_before(self, time_s: float) -> None:
        while self._ends and self._ends[0] < time_s:
            self._ends.popleft()


def first_line(failure: Failure | None) -> str:
    """The first line of a failure's message; empty where there is none."""
    return failure.message.partition("\n")[0] if failure is not None else ""
