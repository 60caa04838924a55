"""Tells trouble that is not a job's own: a node on which things fail, a campaign in which everything does."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from campaign.core.model import FailureClass, Outcome, Record
from campaign.core.policy import class_of

UNREADY_ALLOWED = 3
"""Slots that can't be warmed up on a node, one after another, before it is put aside."""

CONVICTIONS_ALLOWED = 3
"""Jobs that failed on a node since one completed there, and then completed elsewhere, before it is put aside."""

LATEST_JOBS, FEWEST_JOBS = 50, 20
"""Of how many jobs that were tried last the failing share is looked at, and how many there must be at least."""

SUSPICIONS_KEPT = 10_000
"""Jobs of which it is remembered where they failed."""

INNOCENT = (FailureClass.WORKER_LOST, FailureClass.INFRASTRUCTURE, FailureClass.MISSING_INPUT)
"""Classes that say nothing about the node or the campaign."""


@dataclass(slots=True)
class _Ward:
    """What is held against one node since a job completed there."""

    unready: int = 0  # slots in a row that did not come up
    convictions: int = 0  # jobs that failed here and completed elsewhere


@dataclass(slots=True)
class Health:
    """Watches how attempts end, on each node and altogether. A failure speaks against a node only if another one does better."""

    max_failure_rate: float
    _wards: dict[str, _Ward] = field(default_factory=dict)
    _suspected: OrderedDict[int, frozenset[str]] = field(default_factory=OrderedDict)  # job -> nodes where it failed
    _latest: OrderedDict[int, bool] = field(default_factory=OrderedDict)  # job -> whether its last attempt failed
    _failing: int = 0  # of the latest

    def note(self, record: Record, nodes: Sequence[str], *, fresh: bool) -> None:
        """An attempt has ended on `nodes`; `fresh` where the job had not failed before."""
        known = None if record.failure is None else class_of(record.failure)
        if known is FailureClass.NODE:
            for name in nodes:
                self._ward(name).unready += 1
            return
        if record.outcome is Outcome.COMPLETED:
            for name in nodes:
                self._wards.pop(name, None)
            for name in self._suspected.pop(record.job, frozenset()) - frozenset(nodes):
                self._ward(name).convictions += 1
        elif known in INNOCENT:
            return
        else:
            self._suspected[record.job] = self._suspected.get(record.job, frozenset()) | frozenset(nodes)
            if len(self._suspected) > SUSPICIONS_KEPT:
                self._suspected.popitem(last=False)
        if known is not FailureClass.KILLED:
            self._note_latest(record.job, failed=record.outcome is not Outcome.COMPLETED, fresh=fresh)

    def _ward(self, name: str) -> _Ward:
        return self._wards.setdefault(name, _Ward())

    def _note_latest(self, job: int, *, failed: bool, fresh: bool) -> None:
        """Each job counts once, from its first end on; what its retries give changes only its own entry."""
        if not fresh and job not in self._latest:
            return
        self._failing += failed - self._latest.get(job, False)
        self._latest[job] = failed
        if len(self._latest) > LATEST_JOBS:
            self._failing -= self._latest.popitem(last=False)[1]

    def trouble_with(self, node: str) -> str:
        """Why a node should take no more jobs; empty where it may."""
        ward = self._wards.get(node, _Ward())
        if ward.unready >= UNREADY_ALLOWED:
            return f"{UNREADY_ALLOWED} slots in a row could not be started"
        if ward.convictions >= CONVICTIONS_ALLOWED:
            return f"{CONVICTIONS_ALLOWED} jobs failed there and completed elsewhere, and none completed there"
        return ""

    def suspects(self) -> list[str]:
        """Nodes against which anything is held."""
        return list(self._wards)

    def forget(self, nodes: Collection[str]) -> None:
        """Nodes are gone."""
        for node in nodes:
            self._wards.pop(node, None)

    def trouble_everywhere(self) -> str:
        """Why the run should stop; empty where it may go on."""
        jobs = len(self._latest)
        if jobs < FEWEST_JOBS or self._failing <= self.max_failure_rate * jobs:
            return ""
        limit = f"execution.max_failure_rate = {self.max_failure_rate:g}"
        return f"{self._failing} of the latest {jobs} jobs failed, more than {limit}"
