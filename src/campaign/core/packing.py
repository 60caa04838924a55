"""Which slot runs a job: the CPUs, GPUs and memory of every node, owned by the coordinator and never given out twice."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from campaign.core.model import Node, Shape, Slot


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a lease runs, and which idle slots have to go before."""

    slot: Slot
    evicted: tuple[Slot, ...] = ()
    fresh: bool = False  # whether the slot has to be made


@dataclass(frozen=True, slots=True)
class Reservation:
    """Nodes that are kept for a shape that waits; others may use them until `at_s`."""

    shape: Shape
    nodes: frozenset[str]
    at_s: float


@dataclass(slots=True)
class _Held:
    """A slot that exists."""

    slot: Slot
    leases: int = 0
    until_s: float = 0.0  # when its leases are expected to end


@dataclass(frozen=True, slots=True)
class _Room:
    """What is left of a node."""

    node: Node
    cpus: tuple[int, ...]  # ordinals
    gpus: tuple[int, ...]
    memory: float

    def holds(self, shape: Shape) -> int:
        """How many node shares of `shape` fit."""
        by_cpu = len(self.cpus) // shape.cpus_per_node
        by_gpu = len(self.gpus) // shape.gpus_per_node if shape.gpus_per_node else by_cpu
        counted = shape.memory_per_node and self.memory != inf
        by_memory = min(int(self.memory // shape.memory_per_node), by_cpu) if counted else by_cpu
        return max(0, min(by_cpu, by_gpu, by_memory))


@dataclass(slots=True)
class SlotTable:
    """The slots of a run. `limit` bounds how many are busy at once, whatever their shapes."""

    limit: int | None = None
    nodes: dict[str, Node] = field(default_factory=dict)
    _held: dict[int, _Held] = field(default_factory=dict)
    _on: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))  # node -> slots
    _rooms: dict[str, _Room] = field(default_factory=dict)  # what is left of nodes that were looked at
    _idle: dict[Shape, dict[int, Slot]] = field(default_factory=lambda: defaultdict(dict))
    _capacities: dict[Shape, int] = field(default_factory=dict)
    _made: int = 0
    _reserved: Reservation | None = None

    def join(self, node: Node) -> None:
        """A node is there."""
        self.nodes[node.name] = node
        self._rooms.pop(node.name, None)
        self._capacities.clear()

    def leave(self, name: str) -> list[Slot]:
        """A node is gone: the slots that it was part of, which are gone with it."""
        self.nodes.pop(name, None)
        self._capacities.clear()
        lost = [self._held[number].slot for number in sorted(self._on[name])]
        for slot in lost:
            self.drop(slot.number)
        if self._reserved is not None and name in self._reserved.nodes:
            self._reserved = None
        return lost

    def capacity(self, shape: Shape) -> int:
        """How many slots of `shape` the nodes hold when nothing else is there, under the limit."""
        if shape not in self._capacities:
            self._capacities[shape] = capacity(shape, self.nodes.values())
        return min(self._capacities[shape], self._capacities[shape] if self.limit is None else self.limit)

    @property
    def busy(self) -> int:
        """Slots that have a lease."""
        return len(self._held) - sum(map(len, self._idle.values()))

    def slots(self) -> list[Slot]:
        """Slots that exist, busy or idle."""
        return [held.slot for held in self._held.values()]

    def busy_cpus(self, name: str) -> int:
        """CPUs of a node in slots that have a lease."""
        return sum(self._held[n].slot.shape.cpus_per_node for n in self._on[name] if self._held[n].leases)

    def share(self, slot: Slot) -> float:
        """Nodes' worth of CPUs that a slot takes."""
        return sum(slot.shape.cpus_per_node / self.nodes[name].cpus for name in slot.nodes if name in self.nodes)

    def idle_nodes(self) -> list[str]:
        """Nodes on which no slot is busy."""
        return [name for name in self.nodes if not any(self._held[n].leases for n in self._on[name])]

    @property
    def reserved(self) -> Shape | None:
        """The shape that nodes are kept for; None where none are."""
        return None if self._reserved is None else self._reserved.shape

    def unreserve(self) -> None:
        """Keep no nodes any more."""
        self._reserved = None

    def place(
        self,
        shape: Shape,
        now_s: float,
        ends_s: float,
        *,
        depth: int = 1,
        may_make: bool = True,
        without: frozenset[str] = frozenset(),
    ) -> Placement | None:
        """A slot for a lease that is expected to end at `ends_s`; None where there is none now.

        An idle slot of the same shape is warm and comes first; then, if one may be made, room for a new one; then the
        room of idle slots of other shapes, which are evicted; then, for `depth` > 1, the place behind another lease.
        Takes what it gives, and nothing on the nodes `without`.
        """
        kept = self._kept_from(shape, ends_s) | without
        for slot in self._idle[shape].values():
            if kept.isdisjoint(slot.nodes):
                return self._taken(Placement(slot), ends_s)
        if may_make and (self.limit is None or self.busy < self.limit):
            made = self._make(shape, kept)
            if made is not None:
                return self._taken(made, ends_s)
        if depth > 1:
            behind = [
                held
                for held in self._held.values()
                if 0 < held.leases < depth and held.slot.shape == shape and kept.isdisjoint(held.slot.nodes)
            ]
            if behind:
                first = min(behind, key=lambda held: (held.leases, held.until_s))
                return self._taken(Placement(first.slot), max(first.until_s - now_s, 0.0) + ends_s)
        return None

    def release(self, number: int) -> None:
        """A lease of a slot is over; a slot that is not kept warm is gone with it."""
        held = self._held.get(number)
        if held is None:
            return
        held.leases -= 1
        if held.leases == 0:
            self._idle[held.slot.shape][number] = held.slot
            if not held.slot.shape.warm:
                self.drop(number)

    def drop(self, number: int) -> None:
        """A slot is gone."""
        held = self._held.pop(number, None)
        if held is None:
            return
        self._idle[held.slot.shape].pop(number, None)
        for name in held.slot.nodes:
            self._on[name].discard(number)
            self._rooms.pop(name, None)

    def reserve(self, shape: Shape, now_s: float) -> None:
        """Keep the nodes that will be free first for `shape`, which could not be placed for long."""
        if self._reserved is not None:
            return
        free_at = {name: at for name in self.nodes if (at := self._free_at(name, shape, now_s)) is not None}
        for group in _by_allocation(self.nodes[name] for name in free_at):
            first = sorted(group, key=lambda node: free_at[node.name])[: shape.nodes]
            if len(first) == shape.nodes:
                names = frozenset(node.name for node in first)
                self._reserved = Reservation(shape, names, max(free_at[name] for name in names))
                return

    def _free_at(self, name: str, shape: Shape, now_s: float) -> float | None:
        """When a node is expected to hold a share of `shape`; None where it never does."""
        here = sorted((self._held[number] for number in self._on[name]), key=lambda held: (held.leases, held.until_s))
        for n in range(len(here) + 1):
            if _left(self.nodes[name], [held.slot for held in here[n:]]).holds(shape):
                return max(here[n - 1].until_s, now_s) if n and here[n - 1].leases else now_s
        return None

    def _kept_from(self, shape: Shape, ends_s: float) -> frozenset[str]:
        """Nodes that a lease of `shape` which ends at `ends_s` may not use."""
        kept = self._reserved
        return frozenset() if kept is None or kept.shape == shape or ends_s <= kept.at_s else kept.nodes

    def _make(self, shape: Shape, kept: frozenset[str]) -> Placement | None:
        names = [name for name in self.nodes if name not in kept]
        chosen = _fit(shape, (self._room(name) for name in names))
        evicted: list[Slot] = []
        if chosen is None:
            idle = [
                slot for of_shape in self._idle.values() for slot in of_shape.values() if kept.isdisjoint(slot.nodes)
            ]
            gone = {slot.number for slot in idle}
            chosen = _fit(shape, (self._room_without(name, gone) for name in names)) if idle else None
            if chosen is None:
                return None
            evicted = self._least_evicted(shape, chosen, idle)
            for slot in evicted:
                self.drop(slot.number)
        rooms = [self._room(name) for name in chosen]
        cpus = tuple(room.cpus[: shape.cpus_per_node] for room in rooms)
        gpus = tuple(room.gpus[: shape.gpus_per_node] for room in rooms)
        self._made += 1
        return Placement(Slot(self._made, shape, tuple(chosen), cpus, gpus), tuple(evicted), fresh=True)

    def _least_evicted(self, shape: Shape, chosen: Sequence[str], idle: Sequence[Slot]) -> list[Slot]:
        """Idle slots on the chosen nodes, without those that could stay."""
        gone = {slot.number for slot in idle if not set(chosen).isdisjoint(slot.nodes)}
        for number in sorted(gone):
            if all(self._room_without(name, gone - {number}).holds(shape) for name in chosen):
                gone.discard(number)
        return [slot for slot in idle if slot.number in gone]

    def _room(self, name: str) -> _Room:
        if name not in self._rooms:
            self._rooms[name] = self._room_without(name, ())
        return self._rooms[name]

    def _room_without(self, name: str, gone: Collection[int]) -> _Room:
        return _left(self.nodes[name], [self._held[n].slot for n in self._on[name] if n not in gone])

    def _taken(self, placement: Placement, until_s: float) -> Placement:
        slot = placement.slot
        held = self._held.setdefault(slot.number, _Held(slot))
        held.leases += 1
        held.until_s = until_s
        self._idle[slot.shape].pop(slot.number, None)
        for name in slot.nodes:
            self._on[name].add(slot.number)
            self._rooms.pop(name, None)
        if self._reserved is not None and self._reserved.shape == slot.shape:
            self._reserved = None
        return placement


def capacity(shape: Shape, nodes: Iterable[Node]) -> int:
    """How many slots of `shape` fit side by side on empty `nodes`."""
    total = 0
    for group in _by_allocation(nodes):
        shares = [_left(node, ()).holds(shape) for node in group]
        total += _slices(shares, shape.nodes)
    return total


def _slices(shares: Sequence[int], width: int) -> int:
    """How many slots that take one share of `width` different nodes each fit: the largest k with sum(min(s, k)) >= k width."""
    low, high = 0, sum(shares) // width
    while low < high:
        k = (low + high + 1) // 2
        if sum(min(share, k) for share in shares) >= k * width:
            low = k
        else:
            high = k - 1
    return low


def _left(node: Node, slots: Iterable[Slot]) -> _Room:
    """What the slots leave of a node."""
    memory = inf if node.memory_bytes is None else float(node.memory_bytes)
    cpus, gpus = set(range(node.cpus)), set(range(node.gpus))
    for slot in slots:
        here = slot.nodes.index(node.name)
        cpus.difference_update(slot.cpus[here])
        gpus.difference_update(slot.gpus[here])
        memory -= slot.shape.memory_per_node
    return _Room(node, tuple(sorted(cpus)), tuple(sorted(gpus)), memory)


def _fit(shape: Shape, rooms: Iterable[_Room]) -> list[str] | None:
    """Nodes for one slot: the fullest that still hold it, all of one allocation, in the order of their names."""
    fitting: dict[str, list[_Room]] = defaultdict(list)
    for room in rooms:
        if room.holds(shape):
            fitting[room.node.allocation].append(room)
    for group in fitting.values():
        if len(group) >= shape.nodes:
            fullest = sorted(group, key=lambda room: (len(room.cpus), len(room.gpus), room.node.name))
            return sorted((room.node.name for room in fullest[: shape.nodes]), key=_natural)
    return None


def _natural(name: str) -> list[str | tuple[int, str]]:
    """Orders n2 before n10, as batch systems order nodes: rank 0 is on the first of them."""
    return [(int(part), "") if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _by_allocation(nodes: Iterable[Node]) -> Iterator[list[Node]]:
    groups: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        groups[node.allocation].append(node)
    yield from groups.values()


@dataclass(slots=True)
class LaunchRate:
    """At most `per_s` starts a second, after a burst of `burst`: a controller is asked gently."""

    per_s: float
    burst: int
    _at_s: float | None = field(init=False, default=None)
    _tokens: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._tokens = float(self.burst)

    def allows(self, now_s: float) -> bool:
        """Whether one more may start now."""
        passed = 0.0 if self._at_s is None else now_s - self._at_s
        self._tokens = min(float(self.burst), self._tokens + passed * self.per_s)
        self._at_s = now_s
        return self._tokens >= 1

    def take(self) -> None:
        """One has started."""
        self._tokens -= 1


def widened(node: Node, shape: Shape, slots: int) -> Node:
    """A machine of one's own on which a person asked for `slots` jobs side by side, whatever its cores say."""
    return replace(node, cpus=max(node.cpus, slots * shape.cpus_per_node))
