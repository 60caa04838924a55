"""Runs a command so that errors end as messages and exit codes."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable

from campaign.errors import CampaignError, Code
from campaign.outcome import EXIT_FAILURE, EXIT_RESUMABLE

logger = logging.getLogger("campaign")


def guarded(action: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Run a command; an error of ours becomes its message and its exit code."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logger.setLevel(logging.INFO)
    try:
        return action(arguments)
    except CampaignError as error:
        if getattr(arguments, "json", False):
            print(json.dumps({"error": str(error.code), "message": error.message, "action": error.action}))
        print(f"campaign: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            sys.stderr.close()
            return EXIT_FAILURE
        hint = "make room or permission, then try again"
        if getattr(arguments, "json", False):
            print(json.dumps({"error": str(Code.STORAGE_UNWRITABLE), "message": str(error), "action": hint}))
        print(f"campaign: {error}\n  -> {hint}", file=sys.stderr)
        return EXIT_RESUMABLE
    except BaseException as error:
        if not _is_a_stop(error):
            raise
        print("campaign: stopped; the same command goes on", file=sys.stderr)
        return EXIT_RESUMABLE


def _is_a_stop(error: BaseException) -> bool:
    """Whether a person pressed Ctrl-C; asyncio is imported by those who use it."""
    loop = sys.modules.get("asyncio")
    return isinstance(error, KeyboardInterrupt) or (loop is not None and isinstance(error, loop.CancelledError))
