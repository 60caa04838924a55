"""Nodes that come, go, fail and are given back, as a run sees them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from campaign.core.health import Health
from campaign.core.model import Node, Record
from campaign.core.usage import NodeTime
from campaign.dispatch import Dispatcher
from campaign.ports import Clock, Cluster, NodeLook

logger = logging.getLogger("campaign")

WORDS_MAX = 200
"""Characters of what is told of a node that is gone."""

NODES_PATIENCE_S = 60.0
"""How long a run that no node can serve waits for one."""


class Nodes:
    """Tells the dispatcher which nodes there are. `hoped_for` are those that an allocation has."""

    def __init__(
        self, dispatcher: Dispatcher, cluster: Cluster, clock: Clock, health: Health, time: NodeTime, hoped_for: int
    ) -> None:
        self._dispatcher, self._cluster, self._clock = dispatcher, cluster, clock
        self._health, self._time, self._hoped_for = health, time, hoped_for
        self._begin_s = clock.monotonic_s()
        self._put_aside: set[str] = set()
        self._gone: dict[str, tuple[Node, str]] = {}  # nodes that left -> why
        self._given_back: set[str] = set()
        self._losses: Counter[str] = Counter()
        self._unservable_since: float | None = None

    @property
    def count(self) -> int:
        """Nodes that take jobs."""
        return len(self._dispatcher.slots.nodes)

    def look(self, done: Mapping[str, tuple[int, int]]) -> list[NodeLook]:
        """Every node that there is or was; `done` counts (completed, failed) attempts of each."""
        slots, memory = self._dispatcher.slots, self._cluster.memory()
        found = [(node, slots.busy_cpus(name), "") for name, node in slots.nodes.items()]
        found += [(node, 0, why) for node, why in self._gone.values()]
        return [
            NodeLook(node.name, node.cpus, busy, *done.get(node.name, (0, 0)), memory.get(node.name), why, self._losses[node.name])
            for node, busy, why in found
        ]  # fmt: skip

    def join(self, node: Node) -> None:
        """A node is there; one that was put aside stays there."""
        if node.name in self._put_aside:
            return
        self._gone.pop(node.name, None)
        self._given_back.discard(node.name)
        self._dispatcher.join(node)
        self._time.join(node.name, self._clock.monotonic_s())
        if self.count == self._hoped_for:
            passed = self._clock.monotonic_s() - self._begin_s
            logger.info("all %d nodes are there after %.1f s", self._hoped_for, passed)

    def lose(self, name: str, why: str = "lost", *, expected: bool = False) -> None:
        """A node is gone: what ran on it, or on slots that it was part of, is ended and runs again, unblamed."""
        expected = expected or name in self._given_back
        self._time.leave(name, self._clock.monotonic_s())
        self._health.forget([name])
        node = self._dispatcher.slots.nodes.get(name)
        slots = self._dispatcher.leave(name)
        if node is not None:
            self._gone[name] = (node, "given back" if expected else why)
            self._losses[name] += not expected
        if not expected:
            logger.warning("node %s is gone; %d slots go with it", name, len(slots))
        if slots:
            self._cluster.abandon(slots, f"node {name} is gone")

    def watch(self, record: Record, nodes: Sequence[str], *, fresh: bool) -> str:
        """Put nodes aside on which things fail; why the run can't go on where there are no others, or empty."""
        self._health.note(record, nodes, fresh=fresh)
        for node in self._health.suspects():
            why = self._health.trouble_with(node)
            if not why or node in self._put_aside:
                continue
            if record.failure is not None:
                why = f"{why}: {record.failure.message}"  # all of it: what a launcher said stands in its last lines
            if set(self._dispatcher.slots.nodes) <= {node}:
                return why
            self._put_aside.add(node)
            logger.warning("node %s is put aside: %s", node, why)
            self.lose(node, f"put aside: {why.splitlines()[0][:WORDS_MAX]}")
        return ""

    def missing(self, *, busy: bool) -> str:
        """Why the run should give up waiting for nodes; empty while it may go on."""
        now = self._clock.monotonic_s()
        misfit = None if busy else self._dispatcher.unplaceable()
        if misfit is None or self._cluster.expects_nodes():
            self._unservable_since = None
            return ""
        if self._unservable_since is None:
            self._unservable_since = now
        if now - self._unservable_since <= NODES_PATIENCE_S:
            return ""
        return f"for {NODES_PATIENCE_S:g} s none of the {self.count} nodes that are left could hold a job: {misfit}"

    def give_back(self) -> None:
        """Release nodes for which no job is left, as long as some other one is."""
        idle = self._dispatcher.slots.idle_nodes()
        if idle and len(idle) < self.count:
            self._given_back.update(idle)
            self._cluster.release(idle)
