"""Plan -> task graph, as data: one call a job, packed into leases. No Dask here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from campaign.core.model import JobCall, Lease, Task
from campaign.plan import Plan


def build_graph(plan: Plan, jobs: Sequence[int], attempt: int = 1) -> Iterator[JobCall]:
    """One call for each of `jobs`, in their order."""
    for job in jobs:
        yield JobCall(plan.task(int(job), attempt=attempt, batch=0))


def pack(tasks: Iterable[Task], size: int, first_number: int) -> list[Lease]:
    """Leases of at most `size` calls, numbered from `first_number`; jobs of different batches never share a lease."""
    leases: list[Lease] = []
    held: list[JobCall] = []
    for task in tasks:
        if held and (len(held) == size or held[0].task.batch != task.batch):
            leases.append(Lease(first_number + len(leases), tuple(held)))
            held = []
        held.append(JobCall(task))
    if held:
        leases.append(Lease(first_number + len(leases), tuple(held)))
    return leases
