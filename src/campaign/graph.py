"""Plan -> task graph, as data: one call a job, packed into leases of slots. No Dask here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from campaign.core.model import JobCall, Lease, Slot
from campaign.plan import Jobs


def build_graph(plan: Jobs, attempts: Iterable[tuple[int, int, int]]) -> Iterator[JobCall]:
    """One call for each (job, attempt, batch), in their order."""
    for job, attempt, batch in attempts:
        yield JobCall(plan.task(job, attempt, batch))


def pack(
    calls: Iterable[JobCall],
    number: int,
    slot: Slot,
    evicted: Sequence[Slot] = (),
    starts_until_ms: int | None = None,
) -> Lease:
    """The calls as one lease of a slot; ValueError where they are of several batches."""
    held = tuple(calls)
    if len({call.task.batch for call in held}) != 1:
        raise ValueError("a lease holds jobs of one batch")
    return Lease(number, held, slot, tuple(evicted), starts_until_ms)
