"""Where leases run, and what is heard of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from campaign.core.model import Lease, Node, Record, Slot


@dataclass(frozen=True, slots=True)
class JobStarted:
    """An attempt has begun in a slot; of one that has ended as soon as it was heard of, only its end is told."""

    job: int
    attempt: int
    worker: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class JobEnded:
    """An attempt has ended; its record is in the worker's journal."""

    record: Record


@dataclass(frozen=True, slots=True)
class LeaseReturned:
    """A lease came back: everything in it ended, except the jobs that were not begun."""

    lease: int
    unstarted: tuple[int, ...] | None  # None: nothing in it was begun


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The worker that held a lease is gone or could not go on; its journal tells what was begun and what ended."""

    lease: int
    worker: str
    error: str = ""  # why it could not go on, where it could still say so


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """A node is there, and its worker takes leases."""

    node: Node


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A node, or the worker on it, is gone; its leases were reported lost before."""

    name: str


Event = JobStarted | JobEnded | LeaseReturned | LeaseLost | NodeJoined | NodeLost


class Cluster(Protocol):
    """Where leases run: nodes that come and go, each with a worker that supervises the slots it launches."""

    def submit(self, leases: Iterable[Lease]) -> None:
        """Put leases into flight, each on the first node of its slot, once the slots that it evicts are gone."""

    async def next_event(self, timeout_s: float) -> Event | None:
        """The next thing that happened, in order; None if nothing did in time."""

    def drain(self) -> None:
        """Let running jobs end and give everything else back."""

    def abandon(self, slots: Sequence[Slot], why: str) -> None:
        """End what runs in these slots, wherever it is left; their leases come back, and no job is blamed."""

    def expects_nodes(self) -> bool:
        """Whether nodes may still come without anybody's help."""

    def demand(self, slots: int) -> None:
        """Say how many slots could be busy now, so that nodes can be brought."""

    def release(self, nodes: Sequence[str]) -> None:
        """Give nodes back to whoever lent them, where that is possible."""

    def memory(self) -> Mapping[str, tuple[int, int]]:
        """(used, all) bytes of the memory of each node that tells."""
