"""What a person sees: a live view on a terminal, plain lines in a batch log."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from campaign.adapters.tiles import LABEL_MAX, SIGNS, map_of
from campaign.core.lifecycle import TERMINAL
from campaign.core.model import Axis
from campaign.core.words import duration, failure_line, size
from campaign.ports import Look, Progress, Scene

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

REFRESH_S = 0.5
LINE_INTERVAL_S, LATER_INTERVAL_S = 30.0, 300.0
BEGINNING_S = 600.0
SHARE = 0.01
"""Most of one core that the live view takes: where a redraw costs more, it happens more seldom."""

MAP_HIGH, MAP_WIDE = 12, 100
TROUBLES_SHOWN = 4


def ended(progress: Progress) -> int:
    """Jobs in a terminal state."""
    return sum(progress.counts[state] for state in TERMINAL)


@contextmanager
def counting(things: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many things, and how many bytes of them if that is known, long work has looked at, on a terminal or now and then in a log."""
    console, said = Console(stderr=True), time.monotonic()

    def words(done: int, bytes_so_far: int) -> str:
        return f"{done} {things}" + (f", {size(bytes_so_far)}" if bytes_so_far else "")

    if not console.is_terminal:

        def tell(done: int, bytes_so_far: int) -> None:
            nonlocal said
            if time.monotonic() - said > LINE_INTERVAL_S:
                said = time.monotonic()
                print(words(done, bytes_so_far), file=sys.stderr, flush=True)

        yield tell
        return
    with console.status(words(0, 0)) as status:
        yield lambda done, bytes_so_far: status.update(words(done, bytes_so_far))


def line(progress: Progress) -> str:
    """One line for a log."""
    counts = ", ".join(f"{n} {state.word}" for state, n in progress.counts.items() if n)
    rate = f"{progress.rate_per_s * 60:.1f} jobs/min" if progress.rate_per_s else "none ended in this run yet"
    left = f", about {duration(progress.remaining_s)} left" if progress.remaining_s else ""
    drains = f", {progress.held_by}" if progress.held_by else ""
    return f"{ended(progress)}/{progress.total}: {counts}; {rate}{left}{drains}"


class PlainView:
    """A line now and then, more of them at the beginning, and one for each failure: for logs."""

    def __init__(self, stream: TextIO | None = None, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._monotonic_s = stream or sys.stderr, monotonic_s
        self._next = 0.0
        self._told: deque[tuple[int, int]] = deque(maxlen=100)  # many more than one look holds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def hear(self, event: str, **facts: object) -> None:
        """Failures are seen in the progress."""

    def observe(self, progress: Progress) -> None:
        """Print if it is time, or if something failed."""
        for failure in reversed(progress.failures):
            key = (failure["job"], failure["attempt"])
            if key not in self._told:
                self._told.append(key)
                self._print(failure_line(failure))
        if self._monotonic_s() >= self._next:
            interval = LINE_INTERVAL_S if progress.elapsed_s < BEGINNING_S else LATER_INTERVAL_S
            self._next = self._monotonic_s() + interval
            self._print(line(progress))

    def _print(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=self._stream, flush=True)


class LiveView:
    """A bar, the states and a map of them, what failed and which nodes are gone, redrawn in place."""

    def __init__(self, scene: Scene, console: Console | None = None) -> None:
        self._scene, self._console = scene, console or Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)
        self._next = 0.0

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def hear(self, event: str, **facts: object) -> None:
        """Whatever happens is seen in the next picture."""

    def observe(self, progress: Progress) -> None:
        """Redraw if it is time."""
        done, now = ended(progress) == progress.total, time.monotonic()
        if now >= self._next or done:
            self._live.update(self.render(self._scene.look()), refresh=True)
            self._next = time.monotonic() + max(REFRESH_S, (time.monotonic() - now) / SHARE)

    def render(self, look: Look) -> Group:
        """The picture of one moment."""
        return picture(self._scene.title, self._scene.axes, look, self._console)


def picture(title: str, axes: Sequence[Axis], look: Look, console: Console) -> Group:
    """A look as a person sees it on a terminal."""
    progress = look.progress
    head = Text.assemble((title, "bold"), f"  {progress.held_by}")
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=max(progress.total, 1), completed=ended(progress), width=40),
        f"{ended(progress)}/{progress.total}",
        f"{progress.rate_per_s * 60:.1f} jobs/min",
        f"left {duration(progress.remaining_s)}",
        f"elapsed {duration(progress.elapsed_s)}",
    )
    states = Text("  ").join(Text(f"{n} {state.word}", SIGNS[state][1]) for state, n in progress.counts.items() if n)
    rows = [_line("[yellow]![/] ", f"{trouble.count} {trouble.words}") for trouble in look.troubles[:TROUBLES_SHOWN]]
    rows += [_line("[yellow]node[/] ", words) for words in troubled_nodes(look)[:TROUBLES_SHOWN]]
    if rows:
        rows.append(_line("[dim]", "campaign failures tells more"))
    return Group(head, bar, Text(facts(look), "dim"), states, map_fitting(look.states, axes, console), *rows)


def map_fitting(states: npt.NDArray[np.int8], axes: Sequence[Axis], console: Console) -> Text:
    """The map of the states, small enough to leave room for the rest."""
    high, wide = min(console.height - 14, MAP_HIGH), min(console.width - LABEL_MAX - 2, MAP_WIDE)
    return map_of(states, axes, max(high, 1), max(wide, 10))


def troubled_nodes(look: Look) -> list[str]:
    """Nodes that are gone, or were."""
    gone = [f"{node.name}: {node.gone}" for node in look.nodes if node.gone]
    return gone + [
        f"{node.name}: back again, lost {node.losses} x" for node in look.nodes if node.losses and not node.gone
    ]


def facts(look: Look) -> str:
    """Slots, nodes, the time that the allocation has left, the phases of a job, memory: in a line."""
    progress = look.progress
    told = [f"{progress.slots} slots on {progress.nodes} {'node' if progress.nodes == 1 else 'nodes'}"]
    if progress.allocation_left_s is not None:
        told.append(f"the allocation ends in {duration(progress.allocation_left_s)}")
    if phases := [f"{name} {seconds:.2g} s" for name, seconds in (look.phases_s or {}).items() if seconds >= 0.001]:
        told.append("a job: " + ", ".join(phases))
    if heard := [node.memory for node in look.nodes if node.memory]:
        fullest = max(used / whole for used, whole in heard)
        told.append(f"memory {fullest:.0%}{' at most' if len(heard) > 1 else ''}")
    return "; ".join(told)


def _line(mark: str, words: str) -> Text:
    """A line that is cut at the edge."""
    text = Text.from_markup(f"{mark}{escape(words)}", overflow="ellipsis")
    text.no_wrap = True
    return text


def view_for(scene: Scene, *, plain: bool = False) -> LiveView | PlainView:
    """The view that fits where standard error goes."""
    return PlainView() if plain or not sys.stderr.isatty() else LiveView(scene)
