"""What serves the slots of a node: processes, the journal of what they did, and whoever supervises them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from campaign.core.model import Failure, Record, Slot, Task


class Clock(Protocol):
    """Time, so that tests can hold it."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""

    def monotonic_s(self) -> float:
        """Seconds since some instant; never goes back."""


class Process(Protocol):
    """A slot server that was started."""

    pid: int

    def send(self, message: Mapping[str, Any]) -> None:
        """Hand over one message; OSError where the process is gone."""

    def receive(self, timeout_s: float) -> Mapping[str, Any] | None:
        """The next message, None if none came in time; EOFError where the process is gone."""

    def kill(self) -> None:
        """End the whole process group at once."""

    def wait(self) -> int:
        """Exit status: negative for a signal. A process that gave up its channel and goes on is ended."""

    def alive(self) -> bool:
        """Whether the process itself still runs, whatever its children do."""

    def memory_bytes(self) -> int:
        """Resident memory of the process now; 0 when it is gone, or where its ranks watch their own."""

    def said(self) -> str:
        """The last lines that it printed."""

    def last_words(self) -> Failure | None:
        """What a process that is gone left behind about its end; None where it left nothing."""


class Launcher(Protocol):
    """Starts slot servers."""

    def start(self, slot: Slot) -> Process:
        """A new slot server for one slot; its first message says that it is ready."""

    def give_up(self) -> None:
        """Let a start that is under way in another thread take no longer than it must."""

    def close(self) -> None:
        """Leave nothing behind."""


class Journal(Protocol):
    """What a worker did, on disk before anybody hears of it."""

    def started(self, tasks: Sequence[Task], at_ms: int) -> None:
        """Note that attempts begin."""

    def ended(self, records: Sequence[Record]) -> None:
        """Note how attempts ended."""

    def returned(self, tasks: Sequence[Task]) -> None:
        """Note that they were not begun after all."""

    def close(self) -> None:
        """Make everything durable and close."""


class Supervisor(Protocol):
    """The slots that one node launches: runs the jobs of a lease one after another in its slot."""

    def run(
        self,
        slot: Slot,
        tasks: Sequence[Task],
        emit: Callable[[Mapping[str, Any]], None],
        stopped: Callable[[], bool],
    ) -> list[int]:
        """Run `tasks`, reporting each start and end through `emit`; returns the jobs left over when stopped."""

    def abandon(self, numbers: Sequence[int], why: str) -> None:
        """End the servers of these slots; a job that runs in one is interrupted, unblamed. Returns when they are gone."""

    def close(self) -> None:
        """End every slot server."""
