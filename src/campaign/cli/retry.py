"""Send jobs that failed, timed out or lacked their input back to pending, with fresh budgets; `--run` starts them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from campaign import conduct, opening, retries
from campaign.core.model import FailureClass, State
from campaign.errors import Code, UsageError
from campaign.outcome import EXIT_DONE, closing_words

RETRIED = ("failed", "timeout", "missing_input", "cancelled")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("--state", action="append", choices=RETRIED, help="only jobs in this state; may be repeated")
    parser.add_argument(
        "--where", action="append", default=[], metavar="PARAMETER=VALUE[,VALUE]",
        help="only jobs at these values; may be repeated for other parameters: all must match",
    )  # fmt: skip
    parser.add_argument(
        "--class", dest="classes", action="append", default=[], choices=[str(word) for word in FailureClass], metavar="CLASS",
        help=f"only jobs whose failure is of this class: {', '.join(FailureClass)}",
    )  # fmt: skip
    parser.add_argument(
        "--like",
        default="",
        metavar="JOB",
        help="only jobs that failed as this one did: its group in `campaign failures`",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the jobs, change nothing")
    parser.add_argument("--run", "--submit", dest="run", action="store_true", help="run them at once")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign retry`."""
    config, generator = opening.read_config(arguments.campaign)
    states = [State[word.upper()] for word in arguments.state or RETRIED]
    pairs = [_pair(text) for text in arguments.where]
    where = dict(pairs)
    if len(where) < len(pairs):
        raise UsageError(
            Code.CONFIG_INVALID,
            "--where names a parameter twice",
            action="write its values as --where redshift=0.5,1.0",
        )
    classes = frozenset(FailureClass(word) for word in arguments.classes)
    chosen = retries.Chosen(states, where, classes, arguments.like)
    names = retries.requeue(config, generator, chosen, dry_run=arguments.dry_run)
    _report(arguments, names)
    if arguments.run and names and not arguments.dry_run:
        outcome = conduct.run_campaign(config, generator)
        print(closing_words(outcome))
        return outcome.exit_code
    return EXIT_DONE


def _pair(text: str) -> tuple[str, str]:
    name, equals, values = text.partition("=")
    if not (name and equals and values):
        raise UsageError(
            Code.CONFIG_INVALID, f"--where {text}: not PARAMETER=VALUE", action="write it like --where redshift=0.5"
        )
    return name, values


def _report(arguments: argparse.Namespace, names: list[str]) -> None:
    if arguments.json:
        print(json.dumps({"retried": names, "dry_run": arguments.dry_run}))
        return
    if not names:
        print(f"no job to retry: none is {' or '.join(arguments.state or RETRIED)}")
        return
    verb = "would go" if arguments.dry_run else "went"
    print(f"{len(names)} jobs {verb} back to pending" + (": " + ", ".join(names[:10]) if names else ""))
    if names and not arguments.run and not arguments.dry_run:
        print(f"next: campaign run {arguments.campaign}")
