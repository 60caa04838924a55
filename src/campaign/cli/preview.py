"""Run a stage that reduces an ensemble on the members that there are now, also while the campaign runs: a preview, kept apart."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

EPILOG = """Its results are in stages/<version>_preview_<stage>/results.zarr; `n_members` says how many members went into each. Typed again, what
has more members by now is made again. The stage itself, and what is applied after it, are not touched.
example: campaign preview my.yaml calibration"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("stage", help="its name")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign preview`."""
    from campaign import conduct, manifest, stages
    from campaign.core.model import STAGE
    from campaign.generators import find
    from campaign.layout import Layout
    from campaign.opening import read_config
    from campaign.outcome import closing_words

    config, _ = read_config(arguments.campaign)
    manifest.read(Layout(Path(config.directory)))
    preview = stages.refresh(config, arguments.stage)
    outcome = conduct.run_campaign(preview, find(STAGE), conduct.Options(plain=True, dashboard=None))
    print(json.dumps(outcome.to_json()) if arguments.json else closing_words(outcome))
    return outcome.exit_code
