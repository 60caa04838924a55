"""Watch a campaign from another shell or node, read-only, until it ends or you press Ctrl-C, which stops only the watching."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from campaign.cli.status import find_campaign, words
from campaign.errors import Code, UsageError
from campaign.examine import DirectoryStates
from campaign.layout import Layout
from campaign.outcome import EXIT_DONE
from campaign.status import Status, read_status

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SHORTEST_S, INTERVAL_S, LONGEST_S = 0.2, 2.0, 86_400.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument(
        "--interval", type=float, default=INTERVAL_S, metavar="S", help="seconds between looks (default 2)"
    )


def command(arguments: argparse.Namespace) -> int:
    """`campaign monitor`."""
    if not SHORTEST_S <= arguments.interval <= LONGEST_S:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"--interval {arguments.interval:g}: not {SHORTEST_S:g} to {LONGEST_S:g} s",
            action="give seconds",
        )
    return watch(find_campaign(arguments.campaign), arguments.interval)


def watch(layout: Layout, interval: float) -> int:
    """Show how far a campaign is, every so many seconds, until no coordinator is at work on it."""
    with contextlib.suppress(KeyboardInterrupt):
        _watch_live(layout, interval) if sys.stdout.isatty() else _watch_plain(layout, interval)
    return EXIT_DONE


def _watch_live(layout: Layout, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    states = DirectoryStates(layout.root)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            status = read_status(layout)
            live.update(_picture(status, states, console), refresh=True)
            if not status.runs:
                return
            time.sleep(interval)


def _picture(status: Status, states: DirectoryStates, console: Console) -> RenderableType:
    """The live view of the coordinator itself where it tells enough, or else what stands in the directory."""
    from rich.console import Group
    from rich.text import Text

    from campaign.adapters.terminal import map_fitting, picture

    if status.live is None:
        return Group(Text(words(status)), map_fitting(states.read(), states.axes, console))
    at_work = [status.holder] if status.holder else list(status.shards.values())
    held = ", ".join(f"process {who.get('pid')} on {who.get('host')}" for who in at_work)
    return picture(f"{status.version} {status.name}  {status.directory}  {held}", states.axes, status.live, console)


def _watch_plain(layout: Layout, interval: float) -> None:
    while True:
        status = read_status(layout)
        print(words(status), flush=True)
        if not status.runs:
            return
        time.sleep(interval)
