"""Plan -> task graph, as data: one call a job, packed into leases. No Dask here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from campaign.core.model import JobCall, Lease
from campaign.plan import Plan


def build_graph(plan: Plan, attempts: Iterable[tuple[int, int, int]]) -> Iterator[JobCall]:
    """One call for each (job, attempt, batch), in their order."""
    for job, attempt, batch in attempts:
        yield JobCall(plan.task(job, attempt, batch))


def pack(calls: Iterable[JobCall], size: int, first_number: int) -> list[Lease]:
    """Leases of at most `size` calls, numbered from `first_number`; jobs of different batches never share a lease."""
    leases: list[Lease] = []
    held: list[JobCall] = []
    for call in calls:
        if held and (len(held) == size or held[0].task.batch != call.task.batch):
            leases.append(Lease(first_number + len(leases), tuple(held)))
            held = []
        held.append(call)
    if held:
        leases.append(Lease(first_number + len(leases), tuple(held)))
    return leases
