"""python -m campaign.run config.yaml: parse the command line, conduct the run, exit with what came of it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from campaign.assemble import follow, follows
from campaign.cli.arguments import add_settings
from campaign.conduct import DEFAULT_DASHBOARD, Options, run_campaign
from campaign.guard import guarded
from campaign.opening import read_config
from campaign.outcome import EXIT_CODES, EXIT_DONE, Outcome, closing_words
from campaign.shards import Shard


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `campaign run` and `python -m campaign.run`."""
    parser.add_argument("config", type=Path, help="the campaign's YAML, or the directory of a campaign that exists")
    add_run_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """What may be said of a run, whatever is run."""
    add_settings(parser, ", such as execution.batch_size=50")
    parser.add_argument("--dry-run", action="store_true", help="print exactly what would be run, and stop")
    parser.add_argument("--json", action="store_true", help="report as JSON on standard output")
    parser.add_argument(
        "--chain", type=int, default=0, metavar="N",
        help="in a batch job: let a successor go on, and N - 1 after it, until the campaign is complete",
    )  # fmt: skip
    parser.add_argument(
        "--shard", type=_shard, metavar="INDEX/COUNT",
        help="run one part of the jobs, beside other allocations that run the others; auto/COUNT in a job array",
    )  # fmt: skip
    parser.add_argument(
        "--even-if-held", action="store_true", help="run although the campaign's lead holds it (registry)"
    )
    parser.add_argument("--plain", action="store_true", help="plain lines instead of a live view, as in a batch log")
    parser.add_argument(
        "--dashboard", type=_address, default=DEFAULT_DASHBOARD, metavar="HOST:PORT|off",
        help=f"address of the Dask dashboard (default {DEFAULT_DASHBOARD}; it has no password: keep it on the loopback)",
    )  # fmt: skip


def _shard(text: str) -> Shard:
    try:
        return Shard.parse(text, os.environ)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if text != "off" and not (host and colon and port.isdecimal() and int(port) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, and not off")
    return text


def command(arguments: argparse.Namespace) -> int:
    """`campaign run`."""
    from campaign.cli.plan import print_dry_run

    config, generator = read_config(arguments.config, arguments.settings)
    if follows(os.environ):
        follow(config)
        return EXIT_DONE
    if arguments.dry_run:
        return print_dry_run(config, generator, as_json=arguments.json)
    dashboard = None if arguments.dashboard == "off" else arguments.dashboard
    outcome = run_campaign(
        config, generator, Options(arguments.plain, dashboard, arguments.chain, arguments.shard, arguments.even_if_held)
    )
    print(json.dumps(outcome.to_json()) if arguments.json else closing_words(outcome))
    return outcome.exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m campaign.run`."""
    parser = argparse.ArgumentParser(
        prog="python -m campaign.run",
        description="Run a campaign, or go on with it: the same command does both.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    return guarded(command, parser.parse_args(argv))


__all__ = ["Options", "Outcome", "main", "run_campaign"]

if __name__ == "__main__":
    # What travels to workers must be importable there by its own name, not as __main__.
    from campaign.run import main as imported_main

    sys.exit(imported_main())
