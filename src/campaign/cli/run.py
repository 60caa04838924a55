"""Run a campaign, or go on with it: plan what is left, run it, commit results, and stop with a code that says how it ended."""

from __future__ import annotations

from campaign.outcome import EXIT_CODES as EPILOG
from campaign.run import add_arguments, command

__all__ = ["EPILOG", "add_arguments", "command"]
