"""Lay out the directory of a campaign and nothing else, so that other programs can work at its cases."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from campaign import opening
from campaign.cli.arguments import add_settings
from campaign.layout import Layout
from campaign.outcome import EXIT_DONE

EPILOG = """With `outputs.artifacts: simorc` there are config_0000.json, metadata.csv and run_status.csv to work from.
`campaign run` makes the cases here; `campaign track --update` adopts what was made elsewhere.
An existing directory is refused. --force moves it aside, whole, and begins anew."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("config", type=Path, help="the campaign's YAML")
    parser.add_argument("--force", action="store_true", help="move a directory that exists aside, and begin anew")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
    add_settings(parser)


def command(arguments: argparse.Namespace) -> int:
    """`campaign build`."""
    config, generator = opening.read_config(arguments.config, arguments.settings)
    plan, layout = opening.lay_out(config, generator), Layout(Path(config.directory))
    aside = layout.root.with_name(f"{layout.root.name}.replaced-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    exists = layout.root.exists()
    if exists:
        opening.refuse_to_replace(layout, force=arguments.force)
    if arguments.dry_run:
        moved = f"be moved to {aside.name}, and " if exists else ""
        print(f"{layout.root} would {moved}be laid out for {plan.size} jobs")
        return EXIT_DONE
    if exists:
        opening.move_aside(layout, aside)
        print(f"what was there is in {aside}")
    with opening.committing(plan, generator, layout):
        pass
    print(
        f"{layout.root}: {plan.size} jobs; next: campaign run {arguments.config}, or campaign track {arguments.config}"
    )
    return EXIT_DONE
