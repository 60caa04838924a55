"""The snapshot of a running coordinator as a small file, for readers in other shells."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from campaign.ports import Clock, Progress

INTERVAL_S = 2.0


class ProgressFile:
    """Writes the snapshot that `campaign status` reads while the ledger is held."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock, self._next = path, clock, 0.0

    def __call__(self, progress: Progress) -> None:
        if self._clock.monotonic_s() < self._next:
            return
        self._next = self._clock.monotonic_s() + INTERVAL_S
        scratch = self._path.with_suffix(".tmp")
        with contextlib.suppress(OSError):  # a view must not stop the run
            scratch.write_text(json.dumps(snapshot(progress, self._clock.now_ms())))
            scratch.replace(self._path)


def snapshot(progress: Progress, now_ms: int) -> dict[str, Any]:
    """A snapshot for scripts."""
    return {
        "time_ms": now_ms,
        "counts": {state.word: n for state, n in progress.counts.items()},
        "total": progress.total,
        "done_this_run": progress.done_this_run,
        "elapsed_s": round(progress.elapsed_s, 3),
        "rate_per_s": round(progress.rate_per_s, 6),
        "remaining_s": progress.remaining_s,
        "slots": progress.slots,
        "draining": progress.draining,
        "paused": progress.paused,
        "failures": [dict(f) for f in progress.failures],
    }
