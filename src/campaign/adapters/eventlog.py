"""What happens in a run, for machines: a line of JSON for each event."""

from __future__ import annotations

import contextlib
import json
import logging
from datetime import UTC, datetime
from pathlib import Path

from campaign.ports import Clock, Progress
from campaign.wire import encode

logger = logging.getLogger("campaign")

WRITTEN_S = 0.5
"""Longest time that a line waits for others."""


class EventLog:
    """Implements `ports.Audience`; appends to a file. A file that can't be written stops no run: it is said once."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._lines: list[bytes] = []
        self._next_s = 0.0
        self._lost = False

    def hear(self, event: str, **facts: object) -> None:
        """Note an event."""
        at = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).isoformat(timespec="milliseconds")
        self._lines.append(encode({"time": at, "event": event, **facts}))

    def observe(self, progress: Progress) -> None:
        """Write what has gathered, if it is time."""
        if self._clock.monotonic_s() >= self._next_s:
            self._next_s = self._clock.monotonic_s() + WRITTEN_S
            self.write()

    def write(self) -> None:
        """Write what has gathered."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            with self._path.open("ab") as file:
                file.write(b"\n".join([*lines, b""]))
        except OSError as error:
            if not self._lost:
                self._lost = True
                with contextlib.suppress(Exception):
                    logger.warning("events can't be written to %s: %s", self._path, error)


TAIL_BYTES = 1 << 16


def ended_with(path: Path) -> int | None:
    """The exit code of the latest run that ended in order; None where none did, or another has begun since."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            if told["event"] in ("run_began", "run_broken"):
                return None
            if told["event"] == "run_ended":
                return int(told["exit_code"])
    return None
