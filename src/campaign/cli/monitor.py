"""Watch a campaign from another shell or node, read-only, until it ends or you press Ctrl-C."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from campaign.cli.status import find_campaign, words
from campaign.run import EXIT_DONE
from campaign.status import read_status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("--interval", type=float, default=2.0, metavar="S", help="seconds between looks (default 2)")


def command(arguments: argparse.Namespace) -> int:
    """`campaign monitor`."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    layout = find_campaign(arguments.campaign)
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            status = read_status(layout)
            live.update(Text(words(status)), refresh=True)
            if status.holder is None:
                return EXIT_DONE
            time.sleep(arguments.interval)
