"""How many jobs a slot has in its hands: one, the next where jobs take seconds, or so many that it never waits for the next."""

from __future__ import annotations

from dataclasses import dataclass

AHEAD_S, AHEAD_MAX = 0.05, 256
"""Work that a slot has in its hands where jobs are short, and how many jobs at most."""

ONE_AHEAD_S = 2.0
"""A slot has the next job in its hands where a job takes no longer than this: the time between two would show."""

REST_S = 0.005
"""Longest time for which a slot with short jobs is left alone, so that several ends are heard at once."""

SMOOTHING = 0.1


@dataclass(slots=True)
class Pace:
    """Learns how often a job of a slot ends while there is always another one."""

    _interval_s: float | None = None  # smoothed
    _ended_s: float = 0.0
    _busy: bool = False  # whether there was another job when the last one ended

    def note(self, now_s: float, duration_s: float, *, busy: bool) -> None:
        """A job ended that took so long; `busy` where the slot has another one in its hands."""
        passed = now_s - self._ended_s if self._busy else duration_s
        self._ended_s, self._busy = now_s, busy
        known = self._interval_s
        self._interval_s = passed if known is None else known + SMOOTHING * (passed - known)

    def ahead(self, least: int) -> int:
        """Jobs that the slot should have in its hands, `least` of them at least."""
        if self._interval_s is None or self._interval_s >= ONE_AHEAD_S:
            return least
        return max(least, 2, min(AHEAD_MAX, int(AHEAD_S / max(self._interval_s, 1e-4)) + 1))

    def rest_s(self, held: int) -> float:
        """Seconds for which nothing new need be handed over or heard, where the slot has `held` jobs in its hands."""
        if self._interval_s is None or self._interval_s >= REST_S:
            return 0.0
        return min(REST_S, self._interval_s * held / 2)
