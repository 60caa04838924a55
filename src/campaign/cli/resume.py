"""Let a paused campaign go on."""

from __future__ import annotations

import argparse

from campaign.cli import ordering
from campaign.core.model import Order

EPILOG = "A coordinator that was paused starts jobs again at once; without one, start the campaign as usual."
add_arguments = ordering.add_arguments


def command(arguments: argparse.Namespace) -> int:
    """`campaign resume`."""
    return ordering.command(arguments, Order.RESUME)
