"""The `campaign` command: one thin file a verb, imported only when it is typed."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Collection, Sequence

from campaign import __version__

VERBS = {
    "init": "write a configuration to start from, or lay out the campaign of one that exists",
    "build": "lay out a campaign for other programs to work at",
    "validate": "check a configuration: every mistake at once, with file, line and column",
    "plan": "show the jobs of a campaign, in the order of execution",
    "estimate": "estimate time, storage and core hours",
    "run": "run a campaign, or go on with it",
    "sweep": "run a program or a function over parameters",
    "submit": "run a campaign in batch jobs of SLURM",
    "status": "show how far a campaign is, and what failed",
    "monitor": "watch a campaign from another shell",
    "failures": "group what failed by what is alike",
    "logs": "show everything about one job",
    "explain": "say why a job is not running",
    "report": "write everything about a campaign into one HTML page",
    "retry": "send failed jobs back to pending",
    "pause": "start no more jobs until `resume`",
    "resume": "let a paused campaign go on",
    "stop": "let running jobs end, then end the run",
    "abort": "end running jobs, then end the run",
    "audit": "account for every job, artifact and product",
    "verify": "hash products again and compare",
    "tidy": "write one row for each attempt: Parquet or CSV",
    "track": "adopt results that other programs have made",
    "measure": "measure products that exist already",
    "qa": "check a campaign, and write its statistics and pictures",
    "compare": "compare two catalogues or two campaigns",
    "archive": "copy a campaign out, checked; or check an archive",
    "restore": "lay out a campaign again from its archive",
    "prune": "remove what the clean-up policy lets go",
    "versions": "show the versions of campaigns side by side, and what changed",
    "publish": "put the dataset into an icechunk repository or an object store",
    "preview": "run a stage on the members that there are now",
    "aggregate": "summarise a measured quantity over all jobs",
    "calibrate": "fit parameters, round after round",
    "converge": "observed order and extrapolation along a ladder",
    "ensemble": "statistics over realizations, and whether there are enough",
    "consolidate": "index what is committed, or rebuild ledger and dataset",
    "registry": "ask the registry of campaigns",
    "serve": "serve the registry: REST and MCP",
    "token": "give and revoke tokens of the registry",
    "reproduce": "run one job again elsewhere and compare bit for bit",
    "completion": "print what makes a shell complete commands and options",
}
TAKE_THE_REST = frozenset({"submit", "sweep"})
"""Verbs that take what stands behind --: options of sbatch, a program and its arguments."""

EPILOG = """a first campaign:
  campaign init my.yaml          write a small configuration
  campaign validate my.yaml      check it
  campaign run my.yaml           run it; the same command resumes it
  campaign status my.yaml        look at it

`campaign VERB --help` tells more about a verb."""


def parser_of(verbs: Collection[str]) -> argparse.ArgumentParser:
    """The parser of the command line, complete for these verbs; of the others it knows the names."""
    parser = argparse.ArgumentParser(
        prog="campaign",
        description="Large simulation campaigns on Dask: one YAML in, one xarray dataset out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"campaign {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, help_text in VERBS.items():
        room = importlib.import_module(f"campaign.cli.{name}") if name in verbs else None
        sub = subparsers.add_parser(
            name,
            help=help_text,
            description=(room.__doc__ if room else help_text),
            epilog=getattr(room, "EPILOG", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if room is not None:
            room.add_arguments(sub)
            sub.set_defaults(action=room.command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = next((a for a in arguments if not a.startswith("-")), "")
    parser = parser_of({verb})
    # The tail of a command line after -- is for others, and argparse would mix it with positional arguments.
    verbatim = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    parsed = parser.parse_args(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    if verbatim and verb not in TAKE_THE_REST:
        parser.error(f"campaign {verb} takes nothing after --")
    parsed.options = tuple(verbatim)
    from campaign.guard import guarded

    return guarded(parsed.action, parsed)
