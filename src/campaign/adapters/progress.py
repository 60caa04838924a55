"""The snapshot of a running coordinator as a small file, for readers in other shells."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
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
        self._me = {"host": socket.gethostname(), "pid": os.getpid()}

    def hear(self, event: str, **facts: object) -> None:
        """Only how far it is counts."""

    def observe(self, progress: Progress) -> None:
        """Write what is seen, if it is time."""
        if self._clock.monotonic_s() < self._next:
            return
        self._next = self._clock.monotonic_s() + INTERVAL_S
        scratch = self._path.with_suffix(".tmp")
        with contextlib.suppress(OSError):  # a view must not stop the run
            seen = snapshot(self._scene.look())
            scratch.write_text(json.dumps({**self._me, "time_ms": self._clock.now_ms(), **seen}))
            scratch.replace(self._path)


def read_snapshot(path: Path, writer: Mapping[str, Any], jobs: int) -> Look | None:
    """What the coordinator `writer` (host, pid) last saw of so many jobs; None where there is nothing of it."""
    try:
        seen = json.loads(path.read_text())
        look = look_of(seen)
        ours = (seen["host"], seen["pid"]) == (writer.get("host"), writer.get("pid"))
    except (OSError, ValueError, KeyError, TypeError, zlib.error):  # none, or that of another version
        return None
    return look if ours and look.states.size == jobs else None


def together(looks: Sequence[Look]) -> Look:
    """What several allocations that share a campaign see, as one: what is queued for one of them may be further in another."""
    first, *others = looks
    if not others:
        return first
    states = np.stack([look.states for look in looks])
    states = np.where(states.max(axis=0) > State.QUEUED, states.max(axis=0), states.min(axis=0))
    codes = np.bincount(states, minlength=len(State)).tolist()
    all_of = [look.progress for look in looks]
    rate, ends = (
        sum(one.rate_per_s for one in all_of),
        [one.allocation_left_s for one in all_of if one.allocation_left_s is not None],
    )
    left = codes[State.PENDING] + codes[State.QUEUED] + codes[State.RUNNING]
    progress = replace(
        first.progress,
        counts={state: codes[state] for state in State},
        done_this_run=sum(one.done_this_run for one in all_of),
        elapsed_s=max(one.elapsed_s for one in all_of),
        rate_per_s=rate,
        remaining_s=left / rate if rate > 0 else None,
        slots=sum(one.slots for one in all_of),
        nodes=sum(one.nodes for one in all_of),
        draining=all(one.draining for one in all_of),
        paused=all(one.paused for one in all_of),
        allocation_left_s=min(ends, default=None),
        failures=tuple(failure for one in all_of for failure in one.failures),
    )
    names = {name for look in looks for name in look.phases_s or {}}
    weights = [max(one.done_this_run, 1) for one in all_of]
    phases = {
        name: float(np.average([(look.phases_s or {}).get(name, 0.0) for look in looks], weights=weights))
        for name in sorted(names)
    }
    troubles = sorted((trouble for look in looks for trouble in look.troubles), key=lambda trouble: -trouble.count)
    nodes = [node for look in looks for node in look.nodes]
    return Look(progress, states, nodes, troubles, phases, sum(look.memory_bytes for look in looks))


def snapshot(look: Look) -> dict[str, Any]:
    """A look for scripts."""
    progress = look.progress
    return {
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
    """What a snapshot tells; KeyError, TypeError or ValueError where it is that of another version."""
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
