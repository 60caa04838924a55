"""A part of a whole, as an argument."""

from __future__ import annotations

import argparse


def share(text: str) -> float:
    """A number between 0 and 1, both excluded."""
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError("a number between 0 and 1")
    return number
