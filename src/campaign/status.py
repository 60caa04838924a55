"""How far a campaign is, read from its directory without disturbing its coordinator."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from campaign import manifest
from campaign.adapters import ledger, orders
from campaign.adapters.lock import holder, holders
from campaign.adapters.progress import read_snapshot, snapshot, together
from campaign.core.lifecycle import TERMINAL
from campaign.core.model import Order, State
from campaign.errors import Code, FormatError
from campaign.layout import Layout
from campaign.ports import Look

LIVE = ("elapsed_s", "allocation_left_s", "slots", "nodes", "phases_s", "troubles", "memory_bytes")
"""What only a running coordinator tells."""

COMMIT_S = 5.0
"""How long the commit of a shard may take, for somebody who looks."""


@dataclass(frozen=True, slots=True)
class Status:
    """One look at a campaign."""

    name: str
    version: str
    directory: str
    total: int
    counts: Mapping[str, int]
    holder: Mapping[str, Any] | None  # host, pid and time of a running coordinator
    rate_per_s: float | None
    remaining_s: float | None
    failures: tuple[Mapping[str, Any], ...]
    paused: str = ""  # by whom and since when; empty where it is not
    queue: tuple[Mapping[str, str], ...] = ()  # its jobs in SLURM's queue
    shards: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # allocations that share it now: name -> holder

    stages: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # directory below it -> state -> jobs
    live: Look | None = None  # what the coordinators at work see

    @property
    def runs(self) -> bool:
        """Whether any coordinator is at work on it."""
        return self.holder is not None or bool(self.shards)

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": self.name,
            "version": self.version,
            "directory": self.directory,
            "total": self.total,
            "counts": dict(self.counts),
            "running_on": self.holder,
            "paused": self.paused,
            "rate_per_s": self.rate_per_s,
            "remaining_s": self.remaining_s,
            "failures": [dict(f) for f in self.failures],
            "queue": [dict(job) for job in self.queue],
            "stages": {name: dict(counts) for name, counts in self.stages.items()},
            "shards": {name: dict(who) for name, who in self.shards.items()},
            **self._seen(),
        }

    def _seen(self) -> dict[str, Any]:
        seen = snapshot(self.live) if self.live is not None else {}
        return {name: seen.get(name) for name in LIVE}


def read_status(layout: Layout) -> Status:
    """The status of the campaign in a directory; UsageError where there is none."""
    known = manifest.read(layout)
    shards = holders(layout.metadata, "shard-*.lock")
    held = _coordinator(layout, patient=bool(shards))
    live = _live(layout, held, shards, known["jobs"])
    rate = remaining = None
    if live is not None:
        counts, failures = {s.word: n for s, n in live.progress.counts.items()}, list(live.progress.failures)
        rate, remaining = live.progress.rate_per_s, live.progress.remaining_s
    elif held is None and layout.ledger.exists():
        seen = ledger.view(layout.ledger, known["jobs"])
        counts, failures = {s.word: n for s, n in seen.counts.items()}, list(seen.failures)
    elif held is None and any((layout.root / "batches").glob("*/batch_*.zip")):
        raise FormatError(
            Code.FORMAT_DAMAGED,
            f"the ledger of {layout.root} is gone",
            action=f"start the campaign again: the ledger is rebuilt from batches/ (campaign run {layout.root})",
        )
    elif held is not None:  # between taking the lock and the first snapshot
        counts, failures = {"starting": known["jobs"]}, []
    else:
        counts, failures = {State.PENDING.word: known["jobs"]}, []
    return Status(
        name=known["name"],
        version=known["version"],
        directory=str(layout.root),
        total=known["jobs"],
        counts={word: n for word, n in counts.items() if n},
        holder=held,
        rate_per_s=rate,
        remaining_s=remaining,
        failures=tuple(failures),
        paused=_paused(layout),
        queue=queued_jobs(layout),
        shards=shards,
        stages={} if held is not None else _stages(layout),
        live=live,
    )


def _stages(layout: Layout) -> dict[str, dict[str, int]]:
    """How far its stages are; their ledgers are held while it runs."""
    found = {}
    for root in sorted((layout.root / "stages").glob("*")):
        place = Layout(root)
        if place.manifest.exists() and place.ledger.exists():
            seen = ledger.view(place.ledger, manifest.read(place)["jobs"])
            found[f"stages/{root.name}"] = {state.word: n for state, n in seen.counts.items() if n}
    return found


def _live(
    layout: Layout, held: Mapping[str, Any] | None, shards: Mapping[str, Mapping[str, Any]], jobs: int
) -> Look | None:
    """What the coordinators that are at work see together; None where none has told yet."""
    places = [(Layout(layout.root, name).progress, who) for name, who in shards.items()]
    if held is not None:
        places.append((layout.progress, held))
    looks = [look for path, who in places if (look := read_snapshot(path, who, jobs)) is not None]
    return together(looks) if looks else None


def _coordinator(layout: Layout, *, patient: bool) -> dict[str, Any] | None:
    """Who holds the campaign; where shards share it, each holds it for the moment of a commit, which is waited for."""
    deadline = time.monotonic() + COMMIT_S
    while (held := holder(layout.metadata)) is not None and patient and time.monotonic() < deadline:
        time.sleep(COMMIT_S / 50)
    return held


def _paused(layout: Layout) -> str:
    standing = orders.read(layout.metadata)
    return str(standing) if standing is not None and standing.order is Order.PAUSE else ""


def queued_jobs(layout: Layout) -> tuple[Mapping[str, str], ...]:
    """SLURM's view, asked for only where something was ever submitted."""
    if not any(layout.logs.glob("batch_*.sh")):
        return ()
    from campaign.adapters.slurm.batch import queued

    return tuple(asdict(job) for job in queued(layout.root) or ())


def terminal_jobs(layout: Layout, size: int) -> set[int]:
    """Jobs that a run would leave alone, as far as the ledger knows."""
    if not layout.ledger.exists() or holder(layout.metadata) is not None:
        return set()
    states = ledger.states(layout.ledger, size)
    return {
        job for job, state in enumerate(states.tolist()) if State(state) in TERMINAL and state != State.MISSING_INPUT
    }


def read_measured_cost(layout: Layout) -> tuple[float | None, float | None, int]:
    """(mean seconds of a completed job, mean bytes of a product, number of completed jobs) of a campaign so far."""
    if not layout.ledger.exists() or holder(layout.metadata) is not None:
        return None, None, 0
    known = manifest.read(layout)
    seen = ledger.view(layout.ledger, known["jobs"])
    completed = seen.counts[State.COMPLETED]
    if not completed:
        return None, None, 0
    sizes = [p.stat().st_size for p in _some_products(layout.catalogs)]
    return seen.mean_duration_s, (sum(sizes) / len(sizes) if sizes else None), completed


def _some_products(catalogs: Path, limit: int = 100) -> list[Path]:
    found: list[Path] = []
    for path in catalogs.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            found.append(path)
        if len(found) == limit:
            break
    return found
