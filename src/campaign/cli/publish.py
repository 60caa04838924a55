"""Put the dataset of a campaign where others can read it, in one commit: they see it as it was or as it is, and nothing between."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from campaign.cli.status import find_campaign
from campaign.outcome import EXIT_DONE

EPILOG = """URL is an icechunk repository, made where there is none: a directory, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, with the credentials that
AWS_* or GOOGLE_* name (AWS_ENDPOINT_URL for an S3 of your own). A URL that ends in .zip becomes one object, a zipped Zarr store.
Needs the extra `publish`.
examples:
  campaign publish campaigns/v1.0_mocks /shared/mocks.icechunk
  campaign publish campaigns/v1.0_mocks s3://desi-mocks/v1.0 --message "all 2,000 realizations"
  campaign publish campaigns/v1.0_mocks s3://desi-mocks/v1.0_mocks.zarr.zip"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("url", metavar="URL", help="where to")
    parser.add_argument("--message", default="", help="of the commit (default: how many jobs have completed)")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign publish`."""
    from campaign.publish import publish

    done = publish(find_campaign(arguments.campaign).root, arguments.url, arguments.message)
    if arguments.json:
        print(json.dumps(asdict(done)))
    elif not done.new:
        print(f"{done.url}: nothing has changed since snapshot {done.snapshot}")
    else:
        snapshot = f", snapshot {done.snapshot}" if done.snapshot else ""
        print(f"{done.url}: {done.completed} of {done.jobs} jobs{snapshot}")
    return EXIT_DONE
