"""How far a run is, for whoever looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from campaign.core.model import Axis, State

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; one snapshot feeds every view."""

    counts: Mapping[State, int]
    total: int
    done_this_run: int
    elapsed_s: float
    rate_per_s: float  # jobs that ended, over the last minutes
    remaining_s: float | None  # estimate; None while nothing is known
    slots: int
    draining: bool
    failures: tuple[Mapping[str, Any], ...]  # the latest, newest first
    nodes: int = 1
    allocation_left_s: float | None = None  # None where nothing ends
    paused: bool = False  # whether a person holds it

    @property
    def held_by(self) -> str:
        """Why nothing is started: `draining`, `paused`, or empty where jobs are."""
        return "draining" if self.draining else "paused" if self.paused else ""


@dataclass(frozen=True, slots=True)
class NodeLook:
    """One node of a run."""

    name: str
    cpus: int
    busy: int  # CPUs in slots that have a job
    completed: int  # attempts in this run
    failed: int
    memory: tuple[int, int] | None = None  # (used, all) bytes; None where nothing is heard of it
    gone: str = ""  # why it takes no jobs any more; empty while it does
    losses: int = 0  # times that it, or its worker, was lost


@dataclass(frozen=True, slots=True)
class Trouble:
    """Failures that are alike."""

    count: int
    words: str
    example: str  # the name of one of the jobs
    retry: str  # what to type to give those another chance


@dataclass(frozen=True, slots=True)
class Look:
    """All that is seen of a run at one moment."""

    progress: Progress
    states: npt.NDArray[np.int8]  # of every job, (n,), of those in flight as well
    nodes: Sequence[NodeLook] = ()
    troubles: Sequence[Trouble] = ()  # of the latest failures, the most first
    phases_s: Mapping[str, float] | None = None  # mean time of each phase of the jobs that completed
    memory_bytes: int = 0  # of the coordinator


class Scene(Protocol):
    """A run to look at; what is seen is put together when somebody looks."""

    @property
    def title(self) -> str:
        """The version and the name of the campaign."""

    @property
    def axes(self) -> Sequence[Axis]:
        """The axes of its design."""

    @property
    def rates(self) -> Sequence[tuple[float, float]]:
        """(seconds since the run began, jobs a second), over all of it."""

    def look(self) -> Look:
        """What is seen now."""

    def find(self, text: str) -> int:
        """The job that a person means: its name, its number, or `axis=value,...`; UsageError where there is none."""

    def tell(self, job: int) -> Sequence[str]:
        """What is known of a job, in lines."""


class Audience(Protocol):
    """Who follows a run."""

    def observe(self, progress: Progress) -> None:
        """Hear how far it is, a few times a second."""

    def hear(self, event: str, **facts: object) -> None:
        """Hear of something that happened."""


class Nobody:
    """Implements `Audience` where nobody follows."""

    def observe(self, progress: Progress) -> None:
        """Look away."""

    def hear(self, event: str, **facts: object) -> None:
        """Do not listen."""
