"""Start no more jobs until `campaign resume`; running ones end, and a coordinator stays where it is."""

from __future__ import annotations

import argparse

from campaign.cli import ordering
from campaign.core.model import Order

EPILOG = "A paused campaign is not started either. Everything that was done is kept."
add_arguments = ordering.add_arguments


def command(arguments: argparse.Namespace) -> int:
    """`campaign pause`."""
    return ordering.command(arguments, Order.PAUSE)
