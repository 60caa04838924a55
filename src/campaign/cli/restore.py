"""Lay out a campaign again from its archive, ready to be looked at and to go on; every file is checked on its way."""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict
from pathlib import Path

from campaign.adapters.terminal import counting
from campaign.cli.arguments import rate
from campaign.core.words import size
from campaign.errors import UsageError
from campaign.layout import Layout
from campaign.outcome import EXIT_DONE

EPILOG = """The campaign is BASE/<version>_<name>. Killed and started again, the same command goes on.
examples:
  campaign restore /archive/desi/v1.0_mocks campaigns
  campaign restore /archive/desi/v1.0_mocks campaigns --without-products   # records and dataset: enough to extend it"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("archive", type=Path, help="the directory of an archive")
    parser.add_argument("base", type=Path, metavar="BASE", help="directory in which the campaign will lie")
    parser.add_argument("--without-products", action="store_true", help="leave the products where they are")
    parser.add_argument("--limit", type=rate, metavar="SIZE", help="bytes a second at most, such as '200 MB'")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign restore`."""
    from campaign.archive import restore

    with counting("files") as told:
        done = restore(
            arguments.archive,
            arguments.base,
            products=not arguments.without_products,
            bytes_per_s=arguments.limit,
            told=told,
        )
    logging.getLogger("campaign").setLevel(logging.WARNING)  # that it finds batches is no news
    refused = _index(Path(done.directory))
    if arguments.json:
        print(json.dumps({**asdict(done), "not_indexed": refused}))
        return EXIT_DONE
    print(f"{done.directory}: {done.files} files brought, {size(done.size_bytes)}; {done.kept} were there")
    for words in refused:
        print(f"  not indexed: {words}")
    print(f"next: campaign run {done.directory} goes on with it")
    return EXIT_DONE


def _index(directory: Path) -> list[str]:
    """Make ledger and dataset of a campaign and of its stages from what is committed; why that could not be."""
    from campaign.examine import consolidate
    from campaign.manifest import stages_of

    refused = []
    for place in [Layout(directory), *stages_of(Layout(directory))]:
        try:
            consolidate(place.root)
        except UsageError as error:  # such as a generator that is not installed here
            refused.append(f"{place.root}: {error.message}")
    return refused
