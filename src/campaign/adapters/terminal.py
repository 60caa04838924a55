"""What a person sees: a live view on a terminal, plain lines in a batch log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from campaign.core.model import State
from campaign.core.times import duration
from campaign.ports import Progress

REFRESH_S = 0.5
LINE_INTERVAL_S = 30.0
ENDED = (State.COMPLETED, State.FAILED, State.TIMEOUT, State.MISSING_INPUT, State.CANCELLED)
COLOURS = {
    State.PENDING: "dim",
    State.QUEUED: "dim",
    State.RUNNING: "cyan",
    State.COMPLETED: "blue",
    State.FAILED: "bold yellow",
    State.TIMEOUT: "bold magenta",
    State.MISSING_INPUT: "yellow",
    State.CANCELLED: "dim",
}


def ended(progress: Progress) -> int:
    """Jobs in a terminal state."""
    return sum(progress.counts[state] for state in ENDED)


def size_words(size_bytes: float) -> str:
    """Bytes as a person says them: `512 B`, `1.9 kB`, `2.3 TB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} TB"


@contextmanager
def counting(things: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many things, and how many bytes of them, long work has looked at, on a terminal or now and then in a log."""
    console, said = Console(stderr=True), time.monotonic()

    def words(done: int, size: int) -> str:
        return f"{done} {things}, {size_words(size)}"

    if not console.is_terminal:

        def tell(done: int, size: int) -> None:
            nonlocal said
            if time.monotonic() - said > LINE_INTERVAL_S:
                said = time.monotonic()
                print(words(done, size), file=sys.stderr, flush=True)

        yield tell
        return
    with console.status(words(0, 0)) as status:
        yield lambda done, size: status.update(words(done, size))


def line(progress: Progress) -> str:
    """One line for a log."""
    counts = ", ".join(f"{n} {state.word}" for state, n in progress.counts.items() if n)
    rate = f"{progress.rate_per_s * 60:.1f} jobs/min" if progress.rate_per_s else "none ended in this run yet"
    left = f", about {duration(progress.remaining_s)} left" if progress.remaining_s else ""
    drains = f", {progress.held_by}" if progress.held_by else ""
    return f"{ended(progress)}/{progress.total}: {counts}; {rate}{left}{drains}"


class PlainView:
    """A line now and then, and one for each failure: for logs."""

    def __init__(self, stream: TextIO | None = None, interval_s: float = LINE_INTERVAL_S) -> None:
        self._stream, self._interval = stream or sys.stderr, interval_s
        self._next = 0.0
        self._told: set[tuple[int, int]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def update(self, progress: Progress) -> None:
        """Print if it is time, or if something failed."""
        for failure in reversed(progress.failures):
            key = (failure["job"], failure["attempt"])
            if key not in self._told:
                self._told.add(key)
                self._print(failure_line(failure))
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._interval
            self._print(line(progress))

    def _print(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=self._stream, flush=True)


def failure_line(failure: Mapping[str, Any]) -> str:
    """One failed attempt in a line."""
    return (
        f"{failure['name']} attempt {failure['attempt']} {failure['outcome']}: [{failure['code']}] {failure['message']}"
    )


class LiveView:
    """A bar, the states and the latest failures, redrawn in place."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._title = title
        self._next = 0.0

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def update(self, progress: Progress) -> None:
        """Redraw if it is time."""
        done = ended(progress) == progress.total
        if time.monotonic() >= self._next or done:
            self._next = time.monotonic() + REFRESH_S
            self._live.update(self.render(progress), refresh=True)

    def render(self, progress: Progress) -> Group:
        """The picture of one snapshot."""
        head = Text.assemble((self._title, "bold"), f"  {progress.held_by}")
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=max(progress.total, 1), completed=ended(progress), width=40),
            f"{ended(progress)}/{progress.total}",
            f"{progress.rate_per_s * 60:.1f} jobs/min",
            f"left {duration(progress.remaining_s)}",
            f"elapsed {duration(progress.elapsed_s)}",
        )
        states = Text("  ").join(Text(f"{n} {state.word}", COLOURS[state]) for state, n in progress.counts.items() if n)
        rows = [
            Text.from_markup(f"[yellow]![/] {escape(failure_line(f))}", overflow="ellipsis") for f in progress.failures
        ]
        for row in rows:
            row.no_wrap = True
        return Group(head, bar, states, *rows)


def view_for(title: str, *, plain: bool = False) -> LiveView | PlainView:
    """The view that fits where standard error goes."""
    return PlainView() if plain or not sys.stderr.isatty() else LiveView(title)
