"""Pictures beside a report: an option of several verbs."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from campaign.errors import Code, UsageError
from campaign.needs import need

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def add_plot_argument(parser: argparse.ArgumentParser) -> None:
    """The option that asks for a picture."""
    parser.add_argument(
        "--plot", nargs="?", const=Path(), type=Path, metavar="FILE",
        help="draw it as well: .png, .pdf or .svg (default: in qa/summary_plots of the campaign)",
    )  # fmt: skip


def draw(asked: Path | None, directory: Path, name: str, make: Callable[[], Figure]) -> None:
    """Draw what `make` gives, if it was asked for, and say where; UsageError where there is no matplotlib."""
    if asked is None:
        return
    need("a picture", "matplotlib", extra="plots")
    from campaign.analyse.figures import save

    usual = directory / "qa" / "summary_plots" / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.png"
    path = usual if asked == Path() else asked
    try:
        save(make(), path)
    except ValueError as error:  # a format that is not known
        raise UsageError(
            Code.CONFIG_INVALID, f"{path} can't be drawn: {error}", action="name a .png, .pdf or .svg"
        ) from error
    print(f"drawn: {path}", file=sys.stderr)
