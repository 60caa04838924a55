"""Print what makes a shell complete the commands and options of `campaign`."""

from __future__ import annotations

import argparse
from importlib import resources

from campaign.outcome import EXIT_DONE

EPILOG = """examples:
  eval "$(campaign completion bash)"        # in ~/.bashrc
  campaign completion zsh > ~/.zfunc/_campaign"""
SHELLS = ("bash", "zsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("shell", choices=SHELLS, help="which shell")


def command(arguments: argparse.Namespace) -> int:
    """`campaign completion`."""
    print((resources.files("campaign.cli") / "shells" / arguments.shell).read_text(encoding="utf-8"), end="")
    return EXIT_DONE
