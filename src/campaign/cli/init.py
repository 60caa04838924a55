"""Start a campaign: write a commented configuration where there is none, or lay out the directory of one that exists."""

from __future__ import annotations

import argparse
from importlib.resources import files
from pathlib import Path

from campaign import opening
from campaign.layout import Layout
from campaign.outcome import EXIT_DONE

TEMPLATES = ("quickstart", "production", "spice", "ladder", "calibration")
EPILOG = """templates:
  quickstart   mock galaxy catalogues in synthetic haloes, on this machine
  production   mock galaxy catalogues in AbacusSummit, at NERSC
  spice        a circuit in ngspice, over R and C
  ladder       a convergence study of a solver
  calibration  which parameters fit?"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("config", type=Path, help="a YAML to write, or one that exists")
    parser.add_argument(
        "--template",
        choices=TEMPLATES,
        default="quickstart",
        help="what a new configuration starts from (default: quickstart)",
    )
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY.KEY=VALUE", help="override a key"
    )


def command(arguments: argparse.Namespace) -> int:
    """`campaign init`."""
    if not arguments.config.exists():
        template = files("campaign.config") / "templates" / f"{arguments.template}.yaml"
        arguments.config.write_text(template.read_text())
        print(
            f"wrote {arguments.config}; next: campaign validate {arguments.config} && campaign run {arguments.config}"
        )
        return EXIT_DONE
    config, generator = opening.read_config(arguments.config, arguments.settings)
    plan, layout = opening.lay_out(config, generator), Layout(Path(config.directory))
    with opening.held(plan, generator, layout):
        pass
    print(
        f"{layout.root}: {plan.size} jobs, {len(plan.missing)} of them without input; next: campaign run {arguments.config}"
    )
    return EXIT_DONE
