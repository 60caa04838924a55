"""What a run has done so far: attempts, rate, latest failures, and where the time of the nodes went."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from campaign.core.model import Failure, Outcome, Record
from campaign.core.policy import class_of
from campaign.core.usage import NodeTime, Usage

RATE_WINDOW_S = 120.0
LATEST_FAILURES, FAILED_KEPT = 5, 1000
MOMENTS_KEPT = 600


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did."""

    completed: int
    ended: int  # attempts
    duplicates: int  # ends of attempts that had ended already
    drained: bool
    usage: Usage
    left: int  # jobs of ours that are not terminal
    stopped_by: str = ""  # why it stopped early, empty where it did not


class Rates:
    """Jobs a second over a whole run, at a bounded number of moments: when they are many, every second one is forgotten."""

    def __init__(self) -> None:
        self.moments: list[tuple[float, float]] = []  # (seconds since the run began, jobs a second)
        self._apart_s = 1.0

    def note(self, elapsed_s: float, rate_per_s: float) -> None:
        """The rate at a moment; those that are close together count as one."""
        if self.moments and elapsed_s < self.moments[-1][0] + self._apart_s:
            return
        self.moments.append((elapsed_s, rate_per_s))
        if len(self.moments) > MOMENTS_KEPT:
            self.moments = self.moments[::2]
            self._apart_s *= 2


class Tally:
    """Counts the ends of attempts. Every method is told the time."""

    def __init__(self, begin_s: float) -> None:
        self._begin_s = begin_s
        self._ends: deque[float] = deque()
        self.node_time = NodeTime()
        self.failures: deque[Mapping[str, Any]] = deque(maxlen=LATEST_FAILURES)  # newest first
        self.failed: deque[Record] = deque(maxlen=FAILED_KEPT)  # the latest records of attempts that failed
        self._phases_s: dict[str, float] = {}  # of attempts that completed
        self.completed = self.ended = self.duplicates = 0
        self.by_node: dict[str, tuple[int, int]] = {}  # node -> (completed, failed) attempts
        self.rates = Rates()

    def note(self, record: Record, nodes: float, now_s: float) -> None:
        """An attempt has ended that used `nodes` nodes' worth of CPUs."""
        completed = record.outcome is Outcome.COMPLETED
        self.ended += 1
        self.completed += completed
        self._ends.append(now_s)
        self._forget_before(now_s - RATE_WINDOW_S)
        for name, seconds in record.phases_s.items() if completed else ():
            self._phases_s[name] = self._phases_s.get(name, 0.0) + seconds
        self.node_time.spent(record.duration_s, nodes, completed=completed)
        done, failed = self.by_node.get(record.node, (0, 0))
        self.by_node[record.node] = (done + completed, failed + (not completed))
        if record.failure is not None:
            self.failed.append(record)
            self.failures.appendleft(
                {
                    "job": record.job, "name": record.name, "attempt": record.attempt, "outcome": str(record.outcome),
                    "code": record.failure.code, "error_class": record.failure.error_class,
                    "message": first_line(record.failure),
                }
            )  # fmt: skip

    def mean_phases_s(self) -> dict[str, float]:
        """Mean time of each phase of the attempts that completed."""
        return {name: seconds / max(self.completed, 1) for name, seconds in self._phases_s.items()}

    def last_failure(self) -> str:
        """The first line of what the latest failure said."""
        return str(self.failures[0]["message"]) if self.failures else ""

    def elapsed_s(self, now_s: float) -> float:
        """Time since the run began."""
        return now_s - self._begin_s

    def rate_per_s(self, now_s: float) -> float:
        """Attempts that ended, over the last minutes."""
        self._forget_before(now_s - RATE_WINDOW_S)
        span = min(self.elapsed_s(now_s), RATE_WINDOW_S)
        return len(self._ends) / span if span > 0 else 0.0

    def _forget_before(self, time_s: float) -> None:
        while self._ends and self._ends[0] < time_s:
            self._ends.popleft()


def first_line(failure: Failure | None) -> str:
    """The first line of a failure's message; empty where there is none."""
    return failure.first_line if failure is not None else ""


def told(record: Record, retry_after_s: float | None) -> dict[str, object]:
    """The end of an attempt, and what became of the job, for an event log."""
    facts: dict[str, object] = {
        "job": record.job, "name": record.name, "attempt": record.attempt, "outcome": record.outcome, "state": record.verdict,
        "node": record.node, "duration_s": round(record.duration_s, 3), "batch": record.batch,
    }  # fmt: skip
    if record.failure is not None:
        facts |= {"class": class_of(record.failure), "message": first_line(record.failure)}
    if retry_after_s is not None:
        facts["retry_after_s"] = round(retry_after_s, 1)
    return facts
