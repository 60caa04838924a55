"""What measured values mean: whether those of an artifact are what has their name now, and which are missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from campaign.core.identity import variable_digest
from campaign.core.lifecycle import JobTable
from campaign.core.model import Outcome, Record, Variable
from campaign.plan import Plan
from campaign.ports import Artifacts, Batch

VARIABLES = "variables"
"""What an artifact tells of the values in it: name -> `identity.variable_digest`."""


class Meanings:
    """Of the variables that a campaign measures now."""

    def __init__(self, variables: Sequence[Variable]) -> None:
        self._digests = {variable.name: variable_digest(variable) for variable in variables}

    @property
    def stamp(self) -> Mapping[str, Any]:
        """What artifacts that are made now tell."""
        return {VARIABLES: self._digests}

    def understood(self, batch: Batch) -> Sequence[Record]:
        """Its records, without values that were measured in other bins, or units, than what has their name now."""
        theirs = batch.meta.get(VARIABLES)
        if theirs is None:  # made before artifacts told
            return batch.records
        strange = {name for name, digest in self._digests.items() if theirs.get(name) != digest}
        if not strange:
            return batch.records
        return [
            replace(record, measurements={n: v for n, v in record.measurements.items() if n not in strange})
            for record in batch.records
        ]

    def declared(self, record: Record) -> Record:
        """A record with values of what is measured now alone, as an artifact of today may tell them."""
        known = {name: value for name, value in record.measurements.items() if name in self._digests}
        return record if len(known) == len(record.measurements) else replace(record, measurements=known)

    def unmeasured(self, plan: Plan, artifacts: Artifacts, table: JobTable) -> Iterator[tuple[Record, tuple[str, ...]]]:
        """Completed jobs that lack values: (its record, with what can still be used; names of the others)."""
        for number in artifacts.numbers():
            for record in plan.own(self.understood(artifacts.read(number))):
                lacking = tuple(name for name in self._digests if name not in record.measurements)
                if not lacking or record.outcome is not Outcome.COMPLETED:
                    continue
                if table.stands_by(record):
                    yield self.declared(record), lacking
