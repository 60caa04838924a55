"""Tells trouble that is not a job's own: a node on which things fail, a campaign in which everything does."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

from campaign.core.model import FailureClass, Outcome, Record
from campaign.core.policy import class_of

UNREADY_ALLOWED = 3
"""Slots that can't be warmed up on a node, one after another, before it is put aside."""

FAILING_ALLOWED = 5
"""Jobs that fail on a node, one after another, while others complete elsewhere, before it is put aside."""

LATEST_JOBS, FEWEST_JOBS = 50, 20
"""Of how many jobs that ended last the failing share is looked at, and how many there must be at least."""

INNOCENT = (FailureClass.WORKER_LOST, FailureClass.INFRASTRUCTURE, FailureClass.MISSING_INPUT)
"""Classes that say nothing about the node or the campaign."""


@dataclass(slots=True)
class _Ward:
    """What is known of one node."""

    unready: int = 0  # slots in a row that did not come up
    failing: set[int] = field(default_factory=set)  # jobs that failed since one completed
    completed_elsewhere: bool = False  # since the first of them failed


@dataclass(slots=True)
class Health:
    """Watches how attempts end, on each node and altogether."""

    max_failure_rate: float
    _wards: dict[str, _Ward] = field(default_factory=dict)
    _latest: OrderedDict[int, bool] = field(default_factory=OrderedDict)  # job -> whether its last attempt failed

    def note(self, record: Record, node: str) -> None:
        """An attempt has ended in a slot that `node` launched."""
        ward = self._wards.setdefault(node, _Ward())
        known = None if record.failure is None else class_of(record.failure)
        if known is FailureClass.NODE:
            ward.unready += 1
            return
        ward.unready = 0
        if record.outcome is Outcome.COMPLETED:
            ward.failing.clear()
            ward.completed_elsewhere = False
            for name, other in self._wards.items():
                other.completed_elsewhere |= name != node and bool(other.failing)
        elif known in INNOCENT:
            return
        else:
            ward.failing.add(record.job)
        if known is not FailureClass.KILLED:
            self._note_latest(record)

    def _note_latest(self, record: Record) -> None:
        self._latest[record.job] = record.outcome is not Outcome.COMPLETED
        self._latest.move_to_end(record.job)
        if len(self._latest) > LATEST_JOBS:
            self._latest.popitem(last=False)

    def trouble_with(self, node: str) -> str:
        """Why a node should take no more jobs; empty where it may."""
        ward = self._wards.get(node, _Ward())
        if ward.unready >= UNREADY_ALLOWED:
            return f"{UNREADY_ALLOWED} slots in a row could not be started"
        if ward.completed_elsewhere and len(ward.failing) >= FAILING_ALLOWED:
            return f"{FAILING_ALLOWED} jobs in a row failed there, while others completed elsewhere"
        return ""

    def forget(self, nodes: Collection[str]) -> None:
        """Nodes are gone."""
        for node in nodes:
            self._wards.pop(node, None)

    def trouble_everywhere(self) -> str:
        """Why the run should stop; empty where it may go on."""
        jobs, failing = len(self._latest), sum(self._latest.values())
        if jobs < FEWEST_JOBS or failing <= self.max_failure_rate * jobs:
            return ""
        return f"{failing} of the latest {jobs} jobs failed, more than execution.max_failure_rate = {self.max_failure_rate:g}"
