"""The snapshot of a running coordinator as a small file, for readers in other shells."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from campaign.core.model import State
from campaign.ports import Clock, Look, Progress, Scene

INTERVAL_S = 2.0
NODES_KEPT, IN_FLIGHT_KEPT = 100, 10_000


class ProgressFile:
    """Implements `ports.Audience`: writes the snapshot that `campaign status` and `campaign monitor` read while the ledger is held."""

    def __init__(self, path: Path, clock: Clock, scene: Scene) -> None:
        self._path, self._clock, self._scene, self._next = path, clock, scene, 0.0

    def hear(self, event: str, **facts: object) -> None:
        """Only how far it is counts."""

    def observe(self, progress: Progress) -> None:
        """Write what is seen, if it is time."""
        if self._clock.monotonic_s() < self._next:
            return
        self._next = self._clock.monotonic_s() + INTERVAL_S
        scratch = self._path.with_suffix(".tmp")
        with contextlib.suppress(OSError):  # a view must not stop the run
            scratch.write_text(json.dumps(snapshot(self._scene.look(), self._clock.now_ms())))
            scratch.replace(self._path)


def snapshot(look: Look, now_ms: int) -> dict[str, Any]:
    """A snapshot for scripts."""
    progress = look.progress
    return {
        "time_ms": now_ms,
        "counts": {state.word: n for state, n in progress.counts.items()},
        "total": progress.total,
        "done_this_run": progress.done_this_run,
        "elapsed_s": round(progress.elapsed_s, 3),
        "rate_per_s": round(progress.rate_per_s, 6),
        "remaining_s": progress.remaining_s,
        "allocation_left_s": progress.allocation_left_s,
        "slots": progress.slots,
        "draining": progress.draining,
        "paused": progress.paused,
        "failures": [dict(f) for f in progress.failures],
        "troubles": [asdict(trouble) for trouble in look.troubles],
        "nodes": [asdict(node) for node in look.nodes[:NODES_KEPT]],
        "phases_s": dict(look.phases_s or {}),
        "memory_bytes": look.memory_bytes,
        "in_flight": {state.word: _jobs_in(state, look) for state in (State.QUEUED, State.RUNNING)},
    }


def _jobs_in(state: State, look: Look) -> list[int]:
    jobs: list[int] = np.flatnonzero(look.states == state)[:IN_FLIGHT_KEPT].tolist()
    return jobs
