"""Compare two catalogues or two campaigns: bit for bit, then statistically, with a p-value for each column or measurement."""

from __future__ import annotations

import argparse
import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign.cli.pictures import add_plot_argument, draw
from campaign.core.words import shown
from campaign.errors import Code, UsageError
from campaign.outcome import EXIT_DONE, EXIT_FOUND

if TYPE_CHECKING:
    from campaign.analyse.comparison import Compared, Comparison

EPILOG = """A difference counts where chance explains it with a probability below 0.001, shared among all that is compared.
Campaigns are compared by their datasets: products by checksum, measurements by the means of their ensembles.
exit codes: 0 identical, or different by chance only; 6 different
examples:
  campaign compare campaigns/v1.0_mocks campaigns/v1.1_mocks --plot
  campaign compare old/mock_z1.000.hdf5 new/mock_z1.000.hdf5"""
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("one", type=Path, help="an HDF5 catalogue, or the directory of a campaign")
    parser.add_argument("other", type=Path, help="another one")
    parser.add_argument(
        "--over", default="realization", metavar="AXIS", help="the axis of members (default: realization)"
    )
    add_plot_argument(parser)
    parser.add_argument("--json", action="store_true", help="report as JSON")


def command(arguments: argparse.Namespace) -> int:
    """`campaign compare`."""
    one, other = arguments.one, arguments.other
    for path in (one, other):
        if not path.exists():
            raise UsageError(Code.CAMPAIGN_MISSING, f"there is no {path}", action="check the path")
    if one.is_dir() != other.is_dir():
        raise UsageError(
            Code.CONFIG_INVALID, "a catalogue can't be compared with a campaign", action="name two of a kind"
        )
    found, about = _campaigns(one, other, arguments.over) if one.is_dir() else _catalogues(one, other)
    same = found.identical and not about.get("different") and not about.get("in_one_only")
    if arguments.json:
        entries = [entry.to_json() for entry in found.entries]
        verdict = {"identical": same, "compatible": found.compatible}
        print(json.dumps({**verdict, "products": about, "only_in_one": found.only_in_one, "entries": entries}))
    else:
        print("\n".join(_words(found, about, same=same)))
    if arguments.plot is not None:
        from campaign.analyse.figures import comparison

        where = one if one.is_dir() else Path.cwd()
        draw(
            arguments.plot,
            where,
            f"compare_{one.stem}_{other.stem}",
            partial(comparison, found, (str(one), str(other))),
        )
    return EXIT_DONE if same or found.compatible else EXIT_FOUND


def _catalogues(one: Path, other: Path) -> tuple[Comparison, dict[str, int]]:
    from campaign.analyse.comparison import columns
    from campaign.generators import hdf5

    return columns(hdf5.columns(one), hdf5.columns(other)), {}


def _campaigns(one: Path, other: Path, over: str) -> tuple[Comparison, dict[str, int]]:
    from campaign.analyse.comparison import campaigns, products
    from campaign.analyse.results import open_results

    pair = [open_results(path, completed_only=False) for path in (one, other)]
    for path, dataset in zip((one, other), pair, strict=True):
        if over not in dataset.campaign.design:
            raise UsageError(
                Code.CONFIG_INVALID,
                f"{path} has no axis {over!r}",
                action=f"name one of: {', '.join(dataset.campaign.design)}",
            )
    return campaigns(pair[0], pair[1], over), products(pair[0], pair[1])


def _words(found: Comparison, about: dict[str, int], *, same: bool) -> list[str]:
    told = []
    if about:
        told.append(
            f"products of the jobs that both have: {about['identical']} identical, {about['different']} different, {about['in_one_only']} in one only"
        )
    if same:
        return [*told, f"identical, bit for bit: {len(found.entries)} compared"]
    differ = [entry for entry in found.entries if not entry.identical]
    told.append(
        f"{len(found.entries)} compared, {len(differ)} not identical, {len(found.significant)} by more than chance"
    )
    told += [f"  in one only: {name}" for name in found.only_in_one[:SHOWN]]
    ordered = sorted(differ, key=lambda entry: 2.0 if entry.p_value is None else entry.p_value)
    return told + shown([_line(entry) for entry in ordered], SHOWN)


def _line(entry: Compared) -> str:
    from campaign.analyse.labels import words

    at = f", {words(entry.at)}" if entry.at else ""
    p_value = "no p-value" if entry.p_value is None else f"p = {entry.p_value:.2g}"
    parts: list[Any] = [f"{entry.name}{at}: {p_value}"]
    if not math.isnan(entry.mean[0]):
        parts.append(f"mean {entry.mean[0]:.6g} and {entry.mean[1]:.6g}, std {entry.std[0]:.4g} and {entry.std[1]:.4g}")
    if entry.count[0] != entry.count[1]:
        parts.append(f"{entry.count[0]} and {entry.count[1]} of them")
    if entry.largest_difference is not None:
        parts.append(f"up to {entry.largest_difference:.3g} apart")
    return "; ".join(parts)
