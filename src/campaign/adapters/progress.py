"""The snapshot of a running coordinator as a small file, for readers in other shells."""

from __future__ import annotations

import base64
import contextlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from campaign.core.model import State
from campaign.ports import Clock, Look, NodeLook, Progress, Scene, Trouble

INTERVAL_S = 2.0
NODES_KEPT = 100


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
        "nodes_at_work": progress.nodes,
        "draining": progress.draining,
        "paused": progress.paused,
        "failures": [dict(f) for f in progress.failures],
        "troubles": [asdict(trouble) for trouble in look.troubles],
        "nodes": [asdict(node) for node in look.nodes[:NODES_KEPT]],
        "phases_s": dict(look.phases_s or {}),
        "memory_bytes": look.memory_bytes,
        "states": base64.b64encode(zlib.compress(look.states.astype(np.int8).tobytes(), level=1)).decode(),
    }


def look_of(snapshot: Mapping[str, Any]) -> Look:
    """What a snapshot tells; KeyError where it is that of another version."""
    states = np.frombuffer(zlib.decompress(base64.b64decode(snapshot["states"])), np.int8)
    progress = Progress(
        counts=dict.fromkeys(State, 0) | {State[word.upper()]: n for word, n in snapshot["counts"].items()},
        failures=tuple(snapshot["failures"]),
        nodes=snapshot["nodes_at_work"],
        **{name: snapshot[name] for name in ("total", "done_this_run", "elapsed_s", "rate_per_s", "remaining_s", "slots",
                                             "draining", "allocation_left_s", "paused")},
    )  # fmt: skip
    nodes = [
        NodeLook(**{**node, "memory": tuple(node["memory"]) if node["memory"] else None}) for node in snapshot["nodes"]
    ]
    troubles = [Trouble(**trouble) for trouble in snapshot["troubles"]]
    return Look(progress, states, nodes, troubles, snapshot["phases_s"], snapshot["memory_bytes"])
