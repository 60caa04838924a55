"""Tell how a measured quantity converges along a ladder: observed order, Richardson extrapolation, grid convergence index."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign import durable
from campaign.cli.pictures import add_plot_argument, draw
from campaign.cli.status import find_campaign
from campaign.errors import Code, UsageError
from campaign.outcome import EXIT_DONE

if TYPE_CHECKING:
    from campaign.analyse.convergence import Convergence

EPILOG = """A ladder is a parameter of the design, such as `h: ladder:0.1:0.5:4` (sizes) or `n: ladder:10:2:4` (cells: --cells).
The result is also in convergence_analysis.json in the campaign's directory.
examples:
  campaign converge campaigns/v1.0_mesh --metric drag --along h
  campaign converge campaigns/v1.0_mesh --metric drag --along n --cells --at reynolds=100"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("campaign", type=Path, help="the directory of a campaign, or its YAML")
    parser.add_argument("--metric", required=True, metavar="NAME", help="a variable of the dataset")
    parser.add_argument("--along", required=True, metavar="PARAMETER", help="the parameter that is refined")
    parser.add_argument("--cells", action="store_true", help="its values are numbers of cells: a larger one is finer")
    parser.add_argument(
        "--at", action="append", default=[], metavar="AXIS=VALUE", help="of the other axes (default: each)"
    )
    add_plot_argument(parser)
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign converge`."""
    from campaign.analyse.figures import convergence
    from campaign.analyse.ladders import ladders

    directory = find_campaign(arguments.campaign).root
    try:
        found = ladders(directory, arguments.metric, arguments.along, cells=arguments.cells, at=_chosen(arguments.at))
    except ValueError as error:
        raise UsageError(
            Code.CONFIG_INVALID,
            str(error),
            action="name a ladder by --along PARAMETER, and values of other axes by --at AXIS=VALUE",
        ) from error
    report = {
        "metric": arguments.metric,
        "along": arguments.along,
        "ladders": [{"at": at, **_told(ladder)} for at, ladder in found],
    }
    _keep(directory / "convergence_analysis.json", report)
    if arguments.json:
        print(json.dumps(report))
    else:
        for at, ladder in found:
            _print(at, ladder)
        print(f"written: {directory / 'convergence_analysis.json'}")
    draw(
        arguments.plot,
        directory,
        f"convergence_{arguments.metric}",
        lambda: convergence(found, arguments.metric, arguments.along),
    )
    return EXIT_DONE


def _keep(path: Path, report: Mapping[str, Any]) -> None:
    """Write the analysis beside those of other metrics and other ladders."""
    try:
        known = json.loads(path.read_text())["analyses"]
    except (OSError, ValueError, KeyError):
        known = []
    others = [one for one in known if (one["metric"], one["along"]) != (report["metric"], report["along"])]
    durable.write_json(path, {"analyses": [*others, report]})


def _chosen(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise UsageError(
                Code.CONFIG_INVALID, f"--at {pair}: not AXIS=VALUE", action="write it like --at redshift=0.5"
            )
    return dict(pair.partition("=")[::2] for pair in pairs)


def _told(ladder: Convergence) -> dict[str, Any]:
    best = ladder.best
    return {
        "levels": [asdict(level) for level in ladder.levels],
        "triplets": [asdict(triplet) for triplet in ladder.triplets],
        "observed_order": best.order if best else None,
        "extrapolated": best.extrapolated if best else None,
        "gci_fine": best.gci_fine if best else None,
        "behaviour": best.behaviour if best else "too few levels",
    }


def _print(at: Mapping[str, Any], ladder: Convergence) -> None:
    if at:
        print(", ".join(f"{name}={value}" for name, value in at.items()))
    for level in ladder.levels:
        print(f"  size {level.size:<12.6g} {level.value:.8g}")
    best = ladder.best
    if best is None:
        print("  an order needs three levels")
        return
    order = "none" if best.order is None else f"{best.order:.3f}"
    print(f"  {best.behaviour}; observed order {order}")
    if best.behaviour == "divergent":
        print("  (where values count cells, so that a larger one is finer: --cells)")
    if best.extrapolated is not None:
        print(f"  extrapolated to size 0: {best.extrapolated:.8g}")
    if best.gci_fine is not None:
        print(f"  grid convergence index of the finest level: {100 * best.gci_fine:.3g} %")
