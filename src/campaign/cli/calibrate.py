"""Fit parameters: run a drawn design, look closer around the best cases, and again, until the parameters are known."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from functools import partial
from pathlib import Path

from campaign import run
from campaign.cli.pictures import add_plot_argument, draw
from campaign.cli.shares import share
from campaign.opening import read_config
from campaign.outcome import EXIT_DONE, EXIT_RESUMABLE

EPILOG = """The configuration has a design that is drawn: method lhs, sobol or halton, `samples` cases a round, parameters as intervals.
Each round is a campaign of its own in the campaign's directory (v1.0_iteration_01, ...); best_parameters.json beside them is
written after each. The same command goes on where it stopped.
examples:
  campaign calibrate fit.yaml --metric chi2
  campaign calibrate fit.yaml --metric yield --maximize --rounds 8 --sampler optuna
  campaign calibrate fit.yaml --metric frequency --target 440"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("config", type=Path, help="a YAML with a drawn design")
    parser.add_argument("--metric", required=True, metavar="NAME", help="the variable that is to be low")
    aim = parser.add_mutually_exclusive_group()
    aim.add_argument("--maximize", action="store_true", help="it is to be high")
    aim.add_argument("--target", type=float, metavar="VALUE", help="it is to come close to this")
    parser.add_argument("--rounds", type=_positive, default=5, help="at most (default: 5)")
    parser.add_argument(
        "--keep", type=share, default=0.2, help="part of the cases around which the next round looks (default: 0.2)"
    )
    parser.add_argument(
        "--tolerance",
        type=share,
        default=0.01,
        help="of a parameter's range, below which the region is narrow enough (default: 0.01)",
    )
    parser.add_argument("--sampler", choices=("space-filling", "optuna"), default="space-filling")
    add_plot_argument(parser)
    run.add_run_arguments(parser)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("a number from 1 on")
    return number


def command(arguments: argparse.Namespace) -> int:
    """`campaign calibrate`."""
    from campaign.analyse import figures
    from campaign.calibrate import Goal, Search, calibrate

    goal = Goal(arguments.metric, arguments.target, arguments.maximize)
    search = Search(goal, arguments.rounds, arguments.keep, arguments.tolerance, arguments.sampler)

    def run_round(path: Path) -> bool:
        print(f"{path.stem}:", file=sys.stderr)
        own = argparse.Namespace(**{**vars(arguments), "config": path, "settings": [], "json": False})
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for the result
            return run.command(own) != EXIT_RESUMABLE

    found = calibrate(arguments.config, arguments.settings, search, run_round, dry_run=arguments.dry_run)
    if found is None:
        return EXIT_DONE if arguments.dry_run else EXIT_RESUMABLE
    directory = Path(read_config(arguments.config, arguments.settings)[0].directory)
    draw(arguments.plot, directory, f"calibration_{arguments.metric}", partial(figures.calibration, found))
    if arguments.json:
        print(json.dumps(found))
        return EXIT_DONE
    words = ", ".join(f"{name}={value:.6g}" for name, value in found["best_parameters"].items())
    print(f"best: {words} (loss {found['loss']:.6g}, in round {found['iteration']}); ended after {found['stopped']}")
    return EXIT_DONE
