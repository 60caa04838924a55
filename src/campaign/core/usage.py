"""What became of the time of the nodes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Usage:
    """Node-hours of a run."""

    total: float
    useful: float  # in attempts that completed
    lost: float  # in attempts that did not

    @property
    def idle(self) -> float:
        """Between jobs: start-up, waiting, and the rest before the end."""
        return max(self.total - self.useful - self.lost, 0.0)


@dataclass(slots=True)
class NodeTime:
    """Adds up node-seconds as nodes come and go, and as attempts end."""

    _since: dict[str, float] = field(default_factory=dict)
    _closed: float = 0.0
    _useful: float = 0.0
    _lost: float = 0.0

    def join(self, node: str, now_s: float) -> None:
        """A node is ours from now on."""
        self._since.setdefault(node, now_s)

    def leave(self, node: str, now_s: float) -> None:
        """A node is ours no more."""
        self._closed += now_s - self._since.pop(node, now_s)

    def spent(self, seconds: float, nodes: float, *, completed: bool) -> None:
        """An attempt took so long on so many nodes, counted by its share of their CPUs."""
        if completed:
            self._useful += seconds * nodes
        else:
            self._lost += seconds * nodes

    def usage(self, now_s: float) -> Usage:
        """Node-hours until now."""
        total = self._closed + sum(now_s - since for since in self._since.values())
        return Usage(total / 3600, self._useful / 3600, self._lost / 3600)
