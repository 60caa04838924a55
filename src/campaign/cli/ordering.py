"""What the verbs pause, resume, stop and abort share: leave an order, and say who will obey it."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

from campaign import manifest
from campaign.adapters import orders
from campaign.adapters.lock import holder
from campaign.cli.status import find_campaign
from campaign.core.model import Order
from campaign.errors import Code, StorageError
from campaign.layout import Layout
from campaign.outcome import EXIT_DONE, EXIT_RESUMABLE
from campaign.shards import live_shards
from campaign.status import queued_jobs

WAIT_POLL_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verbs."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("--reason", default="", help="why, for whoever looks at the campaign later")
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="wait so long at most until the run has ended"
    )
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace, order: Order) -> int:
    """Leave the order; 3 where the run did not end in the time that was given."""
    layout = find_campaign(arguments.campaign)
    manifest.read(layout)
    at_work = _coordinators(layout)
    if not at_work and order in (Order.STOP, Order.ABORT):
        waiting = [job["job"] for job in queued_jobs(layout)]
        more = f"; in the queue: scancel {' '.join(waiting)}" if waiting else ""
        words = f"no coordinator runs {layout.root}: nothing to {order}{more}"
        _tell(arguments, words, {"order": order, "obeyed_by": [], "queued": waiting})
        return EXIT_DONE
    try:
        standing = orders.give(layout.metadata, order, arguments.reason)
    except OSError as error:
        raise StorageError(
            Code.STORAGE_UNWRITABLE,
            f"the order can't be left in {layout.metadata}: {error.strerror or error}",
            action="ask whoever owns the campaign, or signal its coordinator: `campaign status` names it",
        ) from error
    whom = ", ".join(at_work) or "whoever starts it next"
    _tell(arguments, f"{layout.root}: {standing}; obeyed by {whom}", {**asdict(standing), "obeyed_by": at_work})
    return _wait(layout, arguments.wait) if arguments.wait and order in (Order.STOP, Order.ABORT) else EXIT_DONE


def _coordinators(layout: Layout) -> list[str]:
    """Who runs the campaign now."""
    found = [holder(layout.metadata), *live_shards(layout).values()]
    return [f"process {who.get('pid', '?')} on {who.get('host', '?')}" for who in found if who is not None]


def _wait(layout: Layout, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while _coordinators(layout):
        if time.monotonic() > deadline:
            return EXIT_RESUMABLE
        time.sleep(WAIT_POLL_S)
    return EXIT_DONE


def _tell(arguments: argparse.Namespace, words: str, data: dict[str, object]) -> None:
    print(json.dumps(data) if arguments.json else words)
