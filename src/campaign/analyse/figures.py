"""Figures of what ladders, ensembles and calibrations tell. Needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from campaign.analyse.comparison import Comparison
    from campaign.analyse.ladders import Ladder

BARS = 20
SHOWN = 8
"""Curves in a panel; more can't be told from each other."""

FAINT: dict[str, Any] = {"color": "0.6", "linewidth": 1, "linestyle": ":"}


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the ending of the name says in which format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight")


def convergence(found: Sequence[Ladder], metric: str, along: str) -> Figure:
    """Left: the values, and what they are extrapolated to; right: how far they are from that, with the observed order."""
    figure, (left, right) = panelled(2)
    for n, (at, ladder) in enumerate(found[:SHOWN]):
        best, color = ladder.best, f"C{n}"
        sizes, values = [level.size for level in ladder.levels], [level.value for level in ladder.levels]
        left.plot(sizes, values, "o-", color=color, label=_words(at))
        if best is None or best.extrapolated is None:
            continue
        left.plot(0, best.extrapolated, "*", color=color, markersize=10)
        errors = [abs(value - best.extrapolated) for value in values]
        order = "" if best.order is None else f"order {best.order:.2f}"
        right.loglog(sizes, errors, "o-", color=color, label=order)
        if best.order is not None and errors[0] > 0:
            guide = [errors[-1] * (size / sizes[-1]) ** round(best.order) for size in sizes]
            right.loglog(sizes, guide, **FAINT)
    left.set(xlabel=f"size ({along})", ylabel=metric, title="values; stars: extrapolated to size 0")
    right.set(xlabel=f"size ({along})", ylabel=f"|{metric} - extrapolated|", title="distance; dotted: the whole order")
    return finished(figure, left, right, hidden=len(found) - SHOWN)


def ensemble(entries: Sequence[Mapping[str, Any]], metric: str, tolerance: float) -> Figure:
    """Left: the mean over more and more members, with its standard error; right: that error, relative to the mean."""
    figure, (left, right) = panelled(2)
    scalar = [entry for entry in entries if "convergence" in entry]
    for n, entry in enumerate(scalar[:SHOWN]):
        told, color = entry["convergence"], f"C{n}"
        members, mean, error = told["members"], told["mean"], told["standard_error"]
        left.plot(members, mean, color=color, label=_words(entry["at"]))
        low, high = ([m + sign * e for m, e in zip(mean, error, strict=True)] for sign in (-1, 1))
        left.fill_between(members, low, high, color=color, alpha=0.2)
        right.loglog(members, [abs(e / m) if m else math.nan for e, m in zip(error, mean, strict=True)], color=color)
    right.axhline(tolerance, label="tolerance", **FAINT)
    left.set(xlabel="members", ylabel=f"mean {metric}", title="mean and its standard error")
    right.set(xlabel="members", ylabel="relative standard error", title="how well the mean is known")
    return finished(figure, left, right, hidden=len(scalar) - SHOWN)


def calibration(report: Mapping[str, Any]) -> Figure:
    """The lowest loss of each round, and the region in which each parameter was looked for."""
    rounds = report["iterations"]
    numbers = [one["iteration"] for one in rounds]
    names = list(report["best_parameters"])[: SHOWN - 1]
    figure, panels = panelled(1 + len(names))
    panels[0].plot(numbers, [one["loss"] for one in rounds], "o-")
    positive = all(one["loss"] > 0 for one in rounds)
    panels[0].set(
        xlabel="round",
        ylabel=f"loss ({report['metric']})",
        yscale="log" if positive else "linear",
        title="best of each round",
    )
    for name, panel in zip(names, panels[1:], strict=True):
        low, high = ([one["region"][name][end] for one in rounds] for end in ("low", "high"))
        panel.fill_between(numbers, low, high, alpha=0.2, label="looked for here", step="mid")
        panel.plot(numbers, [one["best_parameters"][name] for one in rounds], "o-", label="best of the round")
        panel.set(
            xlabel="round", ylabel=name, title=name, yscale="log" if rounds[0]["region"][name]["log"] else "linear"
        )
    return finished(figure, *panels, hidden=len(report["best_parameters"]) - len(names))


def comparison(found: Comparison, names: tuple[str, str]) -> Figure:
    """Left: differences of means in standard errors; right: p-values, sorted, against what chance gives."""
    figure, (left, right) = panelled(2)
    told = [entry for entry in found.entries if entry.p_value is not None and not entry.identical]
    shown = sorted(told, key=lambda entry: entry.p_value or 0.0)[:BARS]
    errors = [
        math.hypot(*(s / math.sqrt(max(n, 1)) for s, n in zip(e.std, e.count, strict=True))) or math.inf for e in shown
    ]
    heights = [(e.mean[0] - e.mean[1]) / error for e, error in zip(shown, errors, strict=True)]
    left.barh(range(len(shown)), heights)
    left.set_yticks(
        range(len(shown)), [" ".join(filter(None, (e.name, _words(e.at)))) for e in shown], fontsize="small"
    )
    left.set(xlabel="difference of means, standard errors", title=f"{names[0]}\nminus {names[1]}")
    values = sorted(max(entry.p_value or 0.0, 1e-16) for entry in told)
    right.loglog([(n + 1) / (len(values) + 1) for n in range(len(values))], values, "o")
    right.loglog([1e-3, 1], [1e-3, 1], **FAINT)
    right.set(xlabel="p-value that chance gives", ylabel="p-value", title="all that is not identical")
    return finished(figure, left, right, hidden=len(told) - len(shown))


def panelled(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels beside each other."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(4.5 * count, 3.8), layout="constrained")
    panels = [figure.add_subplot(1, count, n + 1) for n in range(count)]
    for panel in panels:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    return figure, panels


def finished(figure: Figure, *panels: Axes, hidden: int) -> Figure:
    """With grids, legends, and a word on what is not shown."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    for panel in panels:
        if panel.get_xscale() == "log":
            panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            panel.xaxis.set_major_formatter(ScalarFormatter())
            panel.xaxis.set_minor_formatter(NullFormatter())
        panel.grid(alpha=0.3)
        if panel.get_legend_handles_labels()[1]:
            panel.legend(fontsize="small")
    if hidden > 0:
        figure.supxlabel(f"{hidden} more are not shown", fontsize="small")
    return figure


def _words(at: Mapping[str, Any]) -> str | None:
    return (
        ", ".join(
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in at.items()
        )
        or None
    )
