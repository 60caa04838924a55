"""When somebody should be told about a run: pure decisions on what is seen of it, each kind told seldom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from campaign.core.lifecycle import FAILED
from campaign.core.model import State
from campaign.core.notices import Kind, Rules

ENDED_MIN = 10
"""Jobs that must have ended for good before a rate of failures means anything."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something to be told."""

    kind: Kind
    words: str


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen of a run at one moment."""

    counts: Mapping[State, int]
    ended: int  # attempts in this run
    held: bool  # whether somebody wants nothing to be started
    last_failure: str = ""


class Watch:
    """Looks at a run now and then. Every method is told the time."""

    def __init__(self, rules: Rules, now_s: float) -> None:
        self._rules = rules
        self._ended, self._moved_s = 0, now_s
        self._before: tuple[int, int] | None = None  # (failed, ended for good) when the run began
        self._told_s: dict[Kind, float] = {}

    def look(self, sight: Sight, now_s: float) -> list[Alert]:
        """What is to be told now."""
        if sight.ended != self._ended or sight.held:
            self._ended, self._moved_s = sight.ended, now_s
        found = []
        left = (
            sight.counts.get(State.PENDING, 0) + sight.counts.get(State.QUEUED, 0) + sight.counts.get(State.RUNNING, 0)
        )
        if left and now_s - self._moved_s >= self._rules.stalled_s:
            minutes = (now_s - self._moved_s) / 60
            found.append(Alert(Kind.STALLED, f"nothing has ended for {minutes:.0f} min; {left} jobs are left"))
        failed = sum(sight.counts.get(state, 0) for state in FAILED)
        over = failed + sight.counts.get(State.COMPLETED, 0)
        if self._before is None:
            self._before = (failed, over) if not sight.ended else (0, 0)
        failed, over = failed - self._before[0], over - self._before[1]
        if over >= ENDED_MIN and failed > self._rules.failure_rate * over:
            words = f"{failed} of {over} jobs have failed in this run" + (
                f"; the last: {sight.last_failure}" if sight.last_failure else ""
            )
            found.append(Alert(Kind.FAILING, words))
        return [alert for alert in found if self._may_tell(alert.kind, now_s)]

    def end(self, kind: Kind, words: str, now_s: float) -> list[Alert]:
        """What is to be told of the end of the run."""
        return [Alert(kind, words)] if self._may_tell(kind, now_s) else []

    def _may_tell(self, kind: Kind, now_s: float) -> bool:
        if kind not in self._rules.kinds or now_s - self._told_s.get(kind, -float("inf")) < self._rules.apart_s:
            return False
        self._told_s[kind] = now_s
        return True
