"""Arguments that several verbs take."""

from __future__ import annotations

import argparse


def add_settings(parser: argparse.ArgumentParser, more: str = "") -> None:
    """`--set`, as often as one likes."""
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY.KEY=VALUE",
        help=f"override a key of the YAML{more}; may be repeated",
    )  # fmt: skip


def rate(text: str) -> int:
    """`200 MB` or `200 MB/s` as bytes a second."""
    from campaign.config.sizes import bytes_of

    words = text.strip().removesuffix("/s")
    try:
        found = int(bytes_of(words))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    if found <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is nothing")
    return found
