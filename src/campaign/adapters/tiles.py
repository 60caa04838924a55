"""The mosaic of states as text: each state has a sign of its own and a colour, so that either is enough."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rich.text import Text

from campaign.core.model import Axis, Scalar, State
from campaign.core.mosaic import Mosaic, overview
from campaign.core.words import value_words

SIGNS = {
    State.PENDING: (".", "bright_black"),
    State.QUEUED: (":", "bright_black"),
    State.RUNNING: (">", "bright_cyan"),
    State.COMPLETED: ("#", "bright_blue"),
    State.FAILED: ("X", "bold yellow"),
    State.TIMEOUT: ("T", "bold magenta"),
    State.MISSING_INPUT: ("?", "yellow"),
    State.CANCELLED: ("-", "bright_black"),
}
LABEL_MAX = 16


def map_of(states: npt.NDArray[np.int8], axes: Sequence[Axis], height: int, width: int) -> Text:
    """The states over the two longest axes of a design, the longest of them across."""
    picture, down, across = overview(states, [len(axis.values) for axis in axes], height, width)
    return as_text(picture, Axis("", ("",)) if down is None else axes[down], axes[across])


def as_text(picture: Mosaic, down: Axis, across: Axis | None) -> Text:
    """Lines: the axis that runs across, a line for each row of tiles, and what the signs mean."""
    shown = picture.shown
    labels = [_label(down.values, row) for row in picture.rows]
    width = max(map(len, [*labels, down.name]))
    text = Text()
    if across is not None:
        ends = f"{_short(across.values[0])} to {_short(across.values[-1])}"
        text.append(f"{down.name:>{width}}  {across.name} from {ends}\n")
    for label, row in zip(labels, shown.tolist(), strict=True):
        text.append(f"{label:>{width}} ")
        for state, alike in itertools.groupby(row):
            sign, style = SIGNS[State(state)]
            text.append(sign * len(list(alike)), style=style)
        text.append("\n")
    there = [State(code) for code in np.unique(shown).tolist()]
    text.append("  ".join(f"{SIGNS[state][0]} {state.word}" for state in there))
    return text


def _label(values: Sequence[Scalar], row: range) -> str:
    """The values that a row holds."""
    first, last = _short(values[row.start]), _short(values[row.stop - 1])
    return first if len(row) == 1 else f"{first}..{last}"


def _short(value: Scalar) -> str:
    text = value_words(value)
    return text if len(text) <= LABEL_MAX else text[: LABEL_MAX - 1] + "~"
