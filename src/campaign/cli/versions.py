"""Show the versions of campaigns side by side, and what changed from one to the next."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from campaign.outcome import EXIT_DONE

if TYPE_CHECKING:
    from campaign.versions import Version

EPILOG = """Archives are versions like any other. campaign compare tells whether what two campaigns hold differs.
examples:
  campaign versions campaigns
  campaign versions /archive/desi --name mocks"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "base", type=Path, nargs="?", default=Path("campaigns"), help="where campaigns lie (default: campaigns)"
    )
    parser.add_argument("--name", default="", help="of this name alone")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign versions`."""
    from campaign.versions import versions

    found = versions(arguments.base, arguments.name)
    if arguments.json:
        print(json.dumps([one.to_json() for one in found]))
        return EXIT_DONE
    for one in found:
        print("\n".join(_words(one)))
    return EXIT_DONE


def _words(one: Version) -> list[str]:
    counts = ", ".join(f"{n} {word}" for word, n in one.counts.items()) or "not indexed: campaign consolidate"
    commit = f", commit {one.commit[:12]}" if one.commit else ""
    kind = "archive, " if one.archived else ""
    told = [f"{one.version} {one.name}  {one.directory}"]
    told.append(f"  {kind}begun {one.created}, {one.generator}{commit}; {one.jobs} jobs: {counts}")
    return told + [f"  changed: {line}" for line in one.changes]
