"""Several projections of a campaign as one: what is told to the first is told to all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from campaign.core.model import Record, State
from campaign.ports import ResultStore


class Projections:
    """Implements `ports.ResultStore` by others."""

    def __init__(self, *stores: ResultStore) -> None:
        self._stores = stores

    @property
    def ready(self) -> bool:
        """Whether all of them are there."""
        found = [store.ready for store in self._stores]  # each of them looks, and knows then
        return all(found)

    def create(self) -> None:
        """Lay all of them out anew."""
        for store in self._stores:
            store.create()

    def publish(self) -> None:
        """Let readers see all of them."""
        for store in self._stores:
            store.publish()

    def write(self, records: Sequence[Record], states: Mapping[int, State]) -> None:
        """Put records and states into all of them."""
        for store in self._stores:
            store.write(records, states)
