"""Let running jobs end, then end the run, and the chain of batch jobs that it belongs to."""

from __future__ import annotations

import argparse

from campaign.cli import ordering
from campaign.core.model import Order

EPILOG = "The same command that started the campaign goes on where it stopped."
add_arguments = ordering.add_arguments


def command(arguments: argparse.Namespace) -> int:
    """`campaign stop`."""
    return ordering.command(arguments, Order.STOP)
