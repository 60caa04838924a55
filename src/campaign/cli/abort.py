"""End running jobs now, then the run, and the chain of batch jobs that it belongs to."""

from __future__ import annotations

import argparse

from campaign.cli import ordering
from campaign.core.model import Order

EPILOG = "The jobs that were ended are not blamed and run again; the same command that started the campaign goes on."
add_arguments = ordering.add_arguments


def command(arguments: argparse.Namespace) -> int:
    """`campaign abort`."""
    return ordering.command(arguments, Order.ABORT)
