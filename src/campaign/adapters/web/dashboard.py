"""The page of a run on Dask's dashboard: how far it is, the state of each job over two axes, what failed, which nodes; redrawn while somebody looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.adapters.web import html
from campaign.core.model import Axis, Scalar, State
from campaign.core.mosaic import Mosaic, Window, mosaic
from campaign.core.words import value_words
from campaign.errors import UsageError
from campaign.ports import Scene

REDRAWN_S, TICK_MS = 1.0, 250
SHARE = 0.02
"""Most of one core that redrawing one page takes: where a redraw costs more, it happens more seldom."""

TILES_HIGH, TILES_WIDE = 250, 1000
NODES_SHOWN = 100


class CampaignPage:
    """Draws the page for each person who looks; `monotonic_s` tells the time."""

    def __init__(self, scene: Scene, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._scene, self._monotonic_s = scene, monotonic_s

    def __call__(self, doc: Any) -> None:
        """Draw into a Bokeh document, and redraw it every second."""
        doc.title = self._scene.title
        doc.template = html.template("dashboard.html")
        drawing = _Drawing(self._scene, doc, self._monotonic_s)
        drawing.tick()
        doc.add_root(drawing.root)
        doc.add_periodic_callback(drawing.tick, TICK_MS)


class _Drawing:
    """One person's page."""

    def __init__(self, scene: Scene, doc: Any, monotonic_s: Callable[[], float]) -> None:
        from bokeh.events import DocumentReady, Tap
        from bokeh.layouts import column, row
        from bokeh.models import CustomJS, Select, TextInput

        self._scene, self._doc, self._monotonic_s = scene, doc, monotonic_s
        self._head, self._troubles, self._nodes, self._told = (
            _text(name) for name in ("head", "troubles", "nodes", "told")
        )
        names, sheet = [axis.name for axis in scene.axes], [html.render("inputs.css")]
        longest = sorted(range(len(names)), key=lambda n: -len(scene.axes[n].values))
        across = names[longest[0]]
        down = next((name for name in names if name != across), "")
        self._down = Select(title="down", value=down, options=["", *names], name="down", width=160, stylesheets=sheet)
        self._across = Select(title="across", value=across, options=names, name="across", width=160, stylesheets=sheet)
        title = "a job (name, number, or axis=value,...)"
        self._asked = TextInput(title=title, name="job", width=360, stylesheets=sheet)
        self._map = _Map(scene.axes)
        self._rates = _Rates()
        for chosen in (self._down, self._across):
            chosen.on_change("value", self._choose)
        self._asked.on_change("value", self._ask)
        self._map.plot.on_event(Tap, lambda event: self._point_at(event.x, event.y))
        self._map.choose(down, across)
        self.root = column(
            self._head, row(self._down, self._across, self._asked), self._told, self._map.plot, self._rates.plot,
            self._troubles, self._nodes, sizing_mode="stretch_width", name="campaign",
        )  # fmt: skip
        plots = [self._map.plot, self._rates.plot]
        for plot in plots:
            plot.update(
                background_fill_alpha=0, border_fill_alpha=0, background_fill_color=None, border_fill_color=None
            )
        args = {"plots": plots, "axes": [axis for plot in plots for axis in plot.axis], "grids": list(self._rates.plot.grid),
                "mapper": self._map.mapper, "palettes": [[html.PALETTE[state][n] for state in State] for n in (0, 1)]}  # fmt: skip
        doc.js_on_event(DocumentReady, CustomJS(args=args, code=PAINT))
        self._next_s = self._moved_s = monotonic_s()
        self._asking = asyncio.Lock()

    def _choose(self, attr: str, old: str, new: str) -> None:
        self._map.choose(self._down.value, self._across.value)

    def _ask(self, attr: str, old: str, new: str) -> None:
        self._doc.add_next_tick_callback(partial(self._answer, new))

    def tick(self) -> None:
        """Redraw if it is time, and at once where somebody looks elsewhere."""
        now = self._monotonic_s()
        if now >= self._next_s:
            self.redraw()
            self._next_s = now + max(REDRAWN_S, (self._monotonic_s() - now) / SHARE)
        elif self._map.moved and now >= self._moved_s:
            self._map.redraw(self._scene.look().states)
            self._moved_s = now + (self._monotonic_s() - now) / SHARE

    def redraw(self) -> None:
        """Show what is seen now."""
        look = self._scene.look()
        progress = look.progress
        total = max(progress.total, 1)
        left, ends = progress.remaining_s, progress.allocation_left_s
        _set(self._head, html.render(
            "summary.html", title=self._scene.title, progress=progress, total=total, done=progress.counts[State.COMPLETED],
            phases_s=_worth_telling(look.phases_s or {}), memory_bytes=look.memory_bytes, short=left is not None and ends is not None and left > ends,
        ))  # fmt: skip
        _set(self._troubles, html.render("troubles.html", troubles=look.troubles))
        nodes = look.nodes
        _set(self._nodes, html.render("nodes.html", nodes=nodes[:NODES_SHOWN], hidden=max(len(nodes) - NODES_SHOWN, 0)))
        self._map.redraw(look.states)
        self._rates.redraw(self._scene.rates)

    def _point_at(self, x: float, y: float) -> None:
        """Tell of the job that was clicked on; of the first one where several share the place."""
        job = self._map.job_at(x, y)
        if job is not None:
            self._tell(job)

    async def _answer(self, text: str) -> None:
        """Tell of the job that was asked for."""
        try:
            async with self._asking:
                job = await asyncio.to_thread(self._scene.find, text.strip())  # a name is looked for among all of them
        except UsageError as error:
            _set(self._told, html.render("told.html", lines=str(error).splitlines()))
        else:
            self._tell(job)

    def _tell(self, job: int) -> None:
        _set(self._told, html.render("told.html", lines=self._scene.tell(job)))


class _Map:
    """The states over two axes; what is looked at closely is drawn job by job."""

    def __init__(self, axes: Sequence[Axis]) -> None:
        from bokeh.models import ColumnDataSource, CustomJSHover, HoverTool, Image, LinearColorMapper, Range1d
        from bokeh.plotting import figure

        self._axes, self._shape = tuple(axes), tuple(len(axis.values) for axis in axes)
        self._down: int | None = None
        self._across = 0
        self.moved = True
        self._states: npt.NDArray[np.int8] | None = None
        self.plot = figure(
            height=430, sizing_mode="stretch_width", tools="pan,wheel_zoom,box_zoom,reset,save", active_scroll=None,
            x_range=Range1d(0, 1), y_range=Range1d(0, 1), name="map", toolbar_location="above",
        )  # fmt: skip
        self.plot.toolbar.logo = None
        self.plot.grid.visible = False
        self._tiles = ColumnDataSource({name: [] for name in ("state", "done", "x", "y", "dw", "dh")}, name="tiles")
        palette = [html.PALETTE[state][0] for state in State]
        self.mapper = LinearColorMapper(palette=palette, low=-0.5, high=len(palette) - 0.5)
        glyph = Image(image="state", x="x", y="y", dw="dw", dh="dh", color_mapper=self.mapper)
        image = self.plot.add_glyph(self._tiles, glyph)
        self._hovers: dict[str, Any] = {
            name: CustomJSHover(args={"labels": [""], "first": 0, "each": 1}, code=code)
            for name, code in HOVERS.items()
        }
        self._hovers["@state"].args = {"words": [state.word for state in State]}
        self._hover = HoverTool(renderers=[image], name="hover", formatters=self._hovers)
        self.plot.add_tools(self._hover)
        for bounds in (self.plot.x_range, self.plot.y_range):
            for edge in ("start", "end"):
                bounds.on_change(edge, self._move)

    def _move(self, attr: str, old: float, new: float) -> None:
        self.moved = True

    def choose(self, down: str, across: str) -> None:
        """Draw over these axes, all of them; `down` may be empty."""
        names = [axis.name for axis in self._axes]
        self._across = names.index(across)
        self._down = names.index(down) if down and down != across else None
        columns = self._axes[self._across]
        rows = self._axes[self._down] if self._down is not None else None
        plot, wide, high = self.plot, len(columns.values), len(rows.values) if rows is not None else 1
        plot.x_range.update(start=0, end=wide, reset_start=0, reset_end=wide, bounds=(0, wide))
        plot.y_range.update(start=0, end=high, reset_start=0, reset_end=high, bounds=(0, high))
        plot.xaxis.axis_label, plot.yaxis.axis_label = columns.name, rows.name if rows is not None else ""
        self._hover.tooltips = [
            (columns.name, "$x{custom}"), *([(rows.name, "$y{custom}")] if rows is not None else []),
            ("state", "@state{custom}"), ("completed", "@done"),
        ]  # fmt: skip
        self.moved = True

    def redraw(self, states: npt.NDArray[np.int8]) -> None:
        """Draw what changed."""
        if not self.moved and self._states is not None and np.array_equal(states, self._states):
            return
        self.moved, self._states = False, states
        window = self._window()
        axes = (self._down, self._across) if self._down is not None else (self._across, None)
        if self._down is None:  # one row: the axis runs across
            picture = mosaic(states, self._shape, axes, TILES_WIDE, 1, (window[1], range(1)))
            picture = Mosaic(picture.counts.swapaxes(1, 2), picture.columns, picture.rows)
        else:
            picture = mosaic(states, self._shape, axes, TILES_HIGH, TILES_WIDE, window)
        rows, columns = picture.rows, picture.columns
        drawn_high = len(rows) * len(rows[0])  # the first row is at the top; what the last one lacks is out of sight
        self._tiles.data = {
            "state": [picture.shown[::-1]], "done": [picture.counts[State.COMPLETED].astype(np.int32)[::-1]],
            "x": [columns[0].start], "y": [self._high - rows[0].start - drawn_high],
            "dw": [len(columns) * len(columns[0])], "dh": [drawn_high],
        }  # fmt: skip
        self._hovers["$x"].args = _tiles_named(self._axes[self._across].values, columns)
        if self._down is not None:
            named = _tiles_named(self._axes[self._down].values, rows)
            self._hovers["$y"].args = {
                **named,
                "labels": named["labels"][::-1],
                "first": self._high - rows[0].start - drawn_high,
            }
        _tick(self.plot.xaxis, window[1], lambda place: place + 0.5, self._axes[self._across].values)
        down = self._axes[self._down].values if self._down is not None else [""]
        _tick(self.plot.yaxis, window[0], lambda place: self._high - place - 0.5, down)

    def _window(self) -> Window:
        """The places that are looked at."""
        from_below = _places(self.plot.y_range, self._high)
        down = range(self._high - from_below.stop, self._high - from_below.start)
        return down, _places(self.plot.x_range, self._shape[self._across])

    @property
    def _high(self) -> int:
        return self._shape[self._down] if self._down is not None else 1

    def job_at(self, x: float, y: float) -> int | None:
        """The first job at a place of the picture."""
        if not (0 <= x < self._shape[self._across] and 0 <= y < self._high):
            return None
        place = [0] * len(self._shape)
        place[self._across] = int(x)
        if self._down is not None:
            place[self._down] = self._high - 1 - int(y)
        return int(np.ravel_multi_index(place, self._shape))


class _Rates:
    """Jobs a minute over the whole run."""

    def __init__(self) -> None:
        from bokeh.models import ColumnDataSource
        from bokeh.plotting import figure

        self._source = ColumnDataSource({"elapsed_s": [], "rate": []}, name="rates")
        self.plot = figure(
            height=150, sizing_mode="stretch_width", x_axis_label="seconds since the run began", y_axis_label="jobs/min",
            tools="", toolbar_location=None, name="rate",
        )  # fmt: skip
        self.plot.line("elapsed_s", "rate", source=self._source, line_width=2, color=html.PALETTE[State.COMPLETED][0])

    def redraw(self, moments: Sequence[tuple[float, float]]) -> None:
        """Add what is new, or draw all of it anew where every second one was forgotten."""
        drawn = self._source.data["elapsed_s"]
        if len(moments) > len(drawn) and (not drawn or moments[len(drawn) - 1][0] == drawn[-1]):
            new = moments[len(drawn) :]
            self._source.stream({"elapsed_s": [at for at, _ in new], "rate": [rate * 60 for _, rate in new]})
        elif moments and (len(moments) < len(drawn) or moments[len(drawn) - 1][0] != drawn[-1]):
            self._source.data = {"elapsed_s": [at for at, _ in moments], "rate": [rate * 60 for _, rate in moments]}


HOVERS = {
    "$x": "return labels[Math.max(0, Math.min(labels.length - 1, Math.floor((special_vars.x - first) / each)))]",
    "$y": "return labels[Math.max(0, Math.min(labels.length - 1, Math.floor((special_vars.y - first) / each)))]",
    "@state": "return words[Math.round(value)]",
}
PAINT = """
const dark = window.matchMedia("(prefers-color-scheme: dark)")
const paint = () => {
  const ink = dark.matches ? "#e9eaec" : "#1b1d21"
  for (const plot of plots) plot.outline_line_color = dark.matches ? "#3a3f47" : "#d4d7db"
  for (const grid of grids) grid.grid_line_color = dark.matches ? "#3a3f47" : "#d4d7db"
  for (const axis of axes) {
    axis.major_label_text_color = ink
    axis.axis_label_text_color = ink
    axis.axis_line_color = ink
    axis.major_tick_line_color = ink
    axis.minor_tick_line_color = null
  }
  mapper.palette = palettes[dark.matches ? 1 : 0]
}
dark.addEventListener("change", paint)
paint()
"""
"""Colours of what is drawn on a canvas, where style sheets do not reach."""


def _worth_telling(phases_s: Mapping[str, float]) -> dict[str, float]:
    """Phases that take a thousandth of the time or more."""
    return {name: seconds for name, seconds in phases_s.items() if seconds >= sum(phases_s.values()) / 1000}


def _text(name: str) -> Any:
    from bokeh.models.widgets import Div

    return Div(name=name, sizing_mode="stretch_width", stylesheets=[html.render("parts.css")])


def _set(text: Any, words: str) -> None:
    """Send only what changed."""
    if text.text != words:
        text.text = words


def _places(bounds: Any, length: int) -> range:
    """The places of an axis that a range shows, one at least."""
    low, high = sorted((bounds.start, bounds.end))
    first = min(max(int(np.floor(low)), 0), length - 1)
    return range(first, max(min(int(np.ceil(high)), length), first + 1))


def _tick(axis: Any, places: range, at: Callable[[int], float], values: Sequence[Scalar]) -> None:
    """Label some of the places; `at` gives their coordinates."""
    numbers = np.unique(np.linspace(0, len(places) - 1, min(len(places), 10)).round().astype(int)).tolist()
    some = sorted({at(places[n]): value_words(values[places[n]]) for n in numbers}.items())
    axis.ticker = [coordinate for coordinate, _ in some]
    axis.major_label_overrides = dict(some)


def _tiles_named(values: Sequence[Scalar], tiles: Sequence[range]) -> dict[str, Any]:
    """What hovering over a tile tells of one axis: `labels`, of which the first is at `first`, and `each` tile is so wide."""
    ends = [(value_words(values[tile.start]), value_words(values[tile.stop - 1])) for tile in tiles]
    labels = [low if low == high else f"{low} to {high}" for low, high in ends]
    return {"labels": labels, "first": tiles[0].start, "each": len(tiles[0])}
