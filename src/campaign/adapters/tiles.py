"""The mosaic of states as text: each state has a sign of its own and a colour, so that either is enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.text import Text

from campaign.core.model import Axis, Scalar, State
from campaign.core.mosaic import Mosaic

SIGNS = {
    State.PENDING: (".", "bright_black"),
    State.QUEUED: (":", "bright_black"),
    State.RUNNING: (">", "cyan"),
    State.COMPLETED: ("#", "blue"),
    State.FAILED: ("X", "bold yellow"),
    State.TIMEOUT: ("T", "bold magenta"),
    State.MISSING_INPUT: ("?", "yellow"),
    State.CANCELLED: ("-", "bright_black"),
}
LABEL_MAX = 16


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
        for state in row:
            sign, style = SIGNS[State(state)]
            text.append(sign, style=style)
        text.append("\n")
    there = [State(code) for code in np.unique(shown).tolist()]
    text.append("  ".join(f"{SIGNS[state][0]} {state.word}" for state in there))
    return text


def _label(values: Sequence[Scalar], row: range) -> str:
    """The values that a row holds."""
    first, last = _short(values[row.start]), _short(values[row.stop - 1])
    return first if len(row) == 1 else f"{first}..{last}"


def _short(value: Scalar) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LABEL_MAX else text[: LABEL_MAX - 1] + "~"
