"""Several allocations on one campaign: each is a shard with its own part of the jobs; whoever holds the lock commits."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from campaign.adapters.artifacts import ArtifactStore
from campaign.adapters.lock import CampaignLock, holders
from campaign.core.lifecycle import JobTable
from campaign.core.model import Record, State
from campaign.errors import Code, LockedError
from campaign.gather import Gatherer
from campaign.layout import Layout
from campaign.plan import Plan

logger = logging.getLogger("campaign")

COMMIT_WAIT_S = 600.0
"""How long a shard waits for the others to be done with committing, at its beginning and at its end."""

HASH_DIGITS = 8
LOCKS = "shard-*.lock"


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` allocations that share a campaign."""

    index: int
    count: int

    @property
    def name(self) -> str:
        """Names its lock, its journals and its progress."""
        return f"shard-{self.index:03d}-of-{self.count:03d}"

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> Shard:
        """`0/4`, or `auto/4`: the index is that of the task in a job array. ValueError where it is neither."""
        match = re.fullmatch(r"(auto|\d+)/(\d+)", text)
        if match is None:
            raise ValueError(f"{text!r} is not INDEX/COUNT")
        index = environment.get("SLURM_ARRAY_TASK_ID", "") if match[1] == "auto" else match[1]
        if not index.isdecimal():
            raise ValueError("auto needs a job array: SLURM_ARRAY_TASK_ID is not set")
        if int(index) >= int(match[2]):
            raise ValueError(f"shard {index} of {match[2]}: the first is 0")
        return cls(int(index), int(match[2]))

    def jobs(self, plan: Plan) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which jobs are ours, (n,): decided by their fingerprints, whatever the order of execution is."""
        prefix = plan.fingerprints.astype(f"S{HASH_DIGITS}")
        values = np.array([int(text, 16) for text in prefix.tolist()], dtype=np.int64)
        ours: np.ndarray[Any, np.dtype[np.bool_]] = values % self.count == self.index
        return ours


class Numbers:
    """Batch numbers of one shard: every shard, and whoever commits, has a residue of its own, so that none is given twice."""

    def __init__(self, first: int, shard: Shard) -> None:
        self._step = shard.count + 1
        self._next = first + (shard.index - first) % self._step

    def __call__(self) -> int:
        """The next one."""
        self._next += self._step
        return self._next - self._step


class ShardCommitter:
    """Seals the batches of a shard, and commits what any shard has sealed whenever nobody else is doing that."""

    def __init__(
        self,
        artifacts: ArtifactStore,
        provenance: Callable[[], Mapping[str, Any]],
        committing: Callable[[float], AbstractContextManager[Gatherer]],
    ) -> None:
        self._artifacts, self._provenance, self._committing = artifacts, provenance, committing

    def commit(self, batches: Sequence[tuple[int, Sequence[Record]]]) -> None:
        """Seal batches: from here on they are safe, whoever commits them."""
        for number, records in batches:
            self._artifacts.seal(number, records, self._provenance())

    def flush(self) -> None:
        """Commit, and bring the dataset up to it, unless another shard is just doing so."""
        with contextlib.suppress(LockedError), self._committing(0.0):
            pass


def own_part(plan: Plan, table: JobTable, shard: Shard) -> JobTable:
    """The job table as one shard sees it: what waits in the others is queued there."""
    part = table.copy()
    part.state[~shard.jobs(plan) & (part.state == State.PENDING)] = State.QUEUED
    return part


def live_shards(layout: Layout) -> dict[str, Mapping[str, Any]]:
    """The shards that run now, and who holds them."""
    return dict(holders(layout.metadata, LOCKS))


def abandoned_journals(layout: Layout) -> list[Path]:
    """Directories of journals that no living coordinator writes."""
    alive = {f"journal-{name}" for name in live_shards(layout)}
    found = sorted((layout.root / "staging").glob("journal*"))
    return [path for path in found if path.is_dir() and path.name not in alive]


@contextlib.contextmanager
def shard_held(layout: Layout, shard: Shard) -> Iterator[None]:
    """Our shard, ours alone; LockedError where it runs already, or where shards of another division do."""
    layout.create()
    lock = CampaignLock(layout.metadata, f"{shard.name}.lock")
    try:
        others = {name for name in live_shards(layout) if not name.endswith(f"-of-{shard.count:03d}")}
        if others:
            raise LockedError(
                Code.CAMPAIGN_LOCKED,
                f"{layout.root} is being run in other shards: {', '.join(sorted(others))}",
                action="wait for them, or divide the campaign as they do",
            )
        yield
    finally:
        lock.release()


def refuse_beside_shards(layout: Layout) -> None:
    """LockedError where shards of the campaign run: a coordinator of all jobs would run theirs again."""
    alive = live_shards(layout)
    if alive:
        name, who = next(iter(alive.items()))
        raise LockedError(
            Code.CAMPAIGN_LOCKED,
            f"{layout.root} is being run in {len(alive)} shard(s): {name} by process {who.get('pid', '?')} on "
            f"{who.get('host', '?')}, since {who.get('since', '?')}",
            action="wait for them, or stop them",
        )
