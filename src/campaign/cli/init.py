"""Start a campaign: write a commented configuration where there is none, or lay out the directory of one that exists."""

from __future__ import annotations

import argparse
import importlib.util
import keyword
import re
from importlib.resources import files
from pathlib import Path

from campaign import opening
from campaign.cli.arguments import add_settings
from campaign.errors import Code, UsageError
from campaign.layout import Layout
from campaign.outcome import EXIT_DONE

GENERATOR = "generator"
TEMPLATES = ("quickstart", "production", "spice", "ladder", "calibration")
NEXT = {
    "ladder": "campaign run {0} && campaign converge {0} --metric x --along dt",
    "calibration": "campaign calibrate {} --metric chi2",
    "spice": "campaign run {0} && campaign aggregate {0} --metric fc",
}
"""What to type after a template is written, where it is more than to run it."""

EPILOG = """templates:
  quickstart   mock galaxy catalogues in synthetic haloes, on this machine
  production   mock galaxy catalogues in AbacusSummit, at NERSC
  spice        a circuit in ngspice, over R and C
  ladder       a convergence study of a solver
  calibration  which parameters fit?
  generator    a Python package with a generator of your own and its tests: name the directory, such as my_mocks"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "config", type=Path, help="a YAML to write, or one that exists; a directory to write, with --template generator"
    )
    parser.add_argument(
        "--template",
        choices=(*TEMPLATES, GENERATOR),
        help="what a new configuration starts from (default: quickstart)",
    )
    add_settings(parser)


def command(arguments: argparse.Namespace) -> int:
    """`campaign init`."""
    if arguments.template == GENERATOR:
        return _write_package(arguments.config)
    if arguments.config.exists() and arguments.template:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"{arguments.config} exists, and would not be like the template",
            action="name another file, or leave --template out, which lays out the campaign of this one",
        )
    if not arguments.config.exists():
        name = arguments.template or TEMPLATES[0]
        arguments.config.write_text((files("campaign.config") / "templates" / f"{name}.yaml").read_text())
        print(
            f"wrote {arguments.config}; next: campaign validate {arguments.config} && {NEXT.get(name, 'campaign run {}').format(arguments.config)}"
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


def _write_package(directory: Path) -> int:
    """A Python package with a generator called like the directory."""
    name = directory.absolute().name
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) or keyword.iskeyword(name) or importlib.util.find_spec(name):
        raise UsageError(
            Code.CONFIG_INVALID,
            f"{name!r} can't be the name of a new Python package",
            action="name a directory in lower case that no installed package is called, such as my_mocks",
        )
    if directory.exists():
        raise UsageError(Code.CONFIG_INVALID, f"{directory} exists", action="name a directory that does not")
    directory.mkdir(parents=True)
    title = name.title().replace("_", "")
    for part in (files("campaign.testing") / "template").iterdir():
        if part.is_file():
            text = part.read_text().replace("Mine", title).replace("mine", name)
            (directory / part.name.replace("mine", name)).write_text(text)
    print(
        f"wrote {directory}; next: cd {directory} && pip install -e . pytest && python -m pytest && campaign run {name}.yaml"
    )
    return EXIT_DONE
