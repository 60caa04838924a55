"""Calibration: rounds of a campaign, each looking closer around what the one before found best."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from campaign import durable
from campaign.analyse.calibration import Interval, Round, best_of, promising, settled
from campaign.analyse.metric import metric
from campaign.config.schema import DRAWN
from campaign.config.source import yaml_text
from campaign.core import ranges
from campaign.errors import Code, UsageError
from campaign.opening import read_config

BEST = "best_parameters.json"

RunRound = Callable[[Path], bool]
"""Runs the configuration at a path; whether it is complete."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is looked for."""

    metric: str
    target: float | None = None  # come close to it
    maximize: bool = False

    def loss(self, values: Any) -> Any:
        """How far values are from it: the lower the better."""
        if self.target is not None:
            return np.abs(values - self.target)
        return -values if self.maximize else values


@dataclass(frozen=True, slots=True)
class Search:
    """How it is looked for."""

    goal: Goal
    rounds: int
    keep: float  # part of the cases around which the next round looks
    tolerance: float  # relative to the first region, below which a parameter is known
    sampler: str = "space-filling"  # or optuna


def calibrate(path: Path, settings: Sequence[str], search: Search, run: RunRound) -> Mapping[str, Any] | None:
    """Run round after round; the content of `best_parameters.json`, None where a round is not complete yet.

    Rounds that are complete are not run again, so the same call goes on. UsageError where the design is not drawn.
    """
    config, _ = read_config(path, settings)
    root, whole = Path(config.directory), _whole(config.document)
    rounds: list[Round] = []
    tried: list[tuple[dict[str, Any], float]] = []
    region, stopped = dict(whole), ""
    while not stopped and len(rounds) < search.rounds:
        number = len(rounds) + 1
        path = root / f"iteration_{number:02d}.yaml"
        design = _design(config.document, region, tried, search, config.seed + number)
        _write(path, config.document, root, number, {"seed": config.seed + number - 1}, design)
        if not run(path):
            return None
        directory = Path(read_config(path)[0].directory)
        points, losses = _outcome(directory, search.goal, list(whole))
        best, loss = best_of(points, losses)
        rounds.append(Round(region, len(losses), best, loss))
        tried += [({name: points[name][n] for name in points}, loss) for n, loss in enumerate(losses)]
        stopped = settled(rounds, search.tolerance)
        if search.sampler != "optuna":  # which finds its own way
            region = promising(region, whole, points, losses, search.keep)
        report = _report(rounds, search, stopped or ("" if len(rounds) < search.rounds else f"{search.rounds} rounds"))
        durable.write_json(root / BEST, report)
    return dict(json.loads((root / BEST).read_text()))


def _whole(document: Mapping[str, Any]) -> dict[str, Interval]:
    """The region of the first round; UsageError where the design does not draw from intervals."""
    design = document.get("design") or {}
    if design.get("method") not in DRAWN:
        raise UsageError(
            Code.CONFIG_INVALID, "a calibration needs a design that is drawn",
            action=f"set design.method to {', '.join(DRAWN)}, and design.samples to the cases of a round",
        )  # fmt: skip
    return {name: _interval(name, given) for name, given in design["parameters"].items()}


def _interval(name: str, given: Any) -> Interval:
    values = given["values"] if isinstance(given, Mapping) else given
    found = ranges.parse(values) if isinstance(values, str) else None
    if isinstance(found, ranges.Range) and found.count is None:
        return Interval(found.start, found.stop, log=found.log)
    if isinstance(found, ranges.Integers) and found.step == 1:
        return Interval(found.start, found.stop, whole=True)
    raise UsageError(
        Code.CONFIG_INVALID, f"{name} is no interval that can be narrowed: {values!r}",
        action="give it like 0:1, log:1:100 or int:1:9",
    )  # fmt: skip


def _write(
    path: Path,
    document: Mapping[str, Any],
    root: Path,
    number: int,
    science: Mapping[str, Any],
    design: Mapping[str, Any],
) -> None:
    """The configuration of a round."""
    own = {
        **document,
        "campaign": {**document["campaign"], "name": path.stem},
        "science": {**document["science"], **science},
        "design": design,
        "outputs": {**document["outputs"], "base_path": str(root), "naming_scheme": "{parameters}"},
    }
    root.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(path, yaml_text(own, f"Round {number} of a calibration.").encode())


def _design(
    document: Mapping[str, Any],
    region: Mapping[str, Interval],
    tried: Sequence[tuple[dict[str, Any], float]],
    search: Search,
    seed: int,
) -> dict[str, Any]:
    """The design of the next round."""
    design: dict[str, Any] = document["design"]
    if search.sampler == "optuna":
        return {"method": "cases", "cases": _suggested(region, tried, int(design["samples"]), seed)}
    sections = {name: given if isinstance(given, Mapping) else {} for name, given in design["parameters"].items()}
    narrowed = {name: {**sections[name], "values": interval.rule()} for name, interval in region.items()}
    return {**design, "parameters": narrowed}


def _suggested(
    region: Mapping[str, Interval], tried: Sequence[tuple[dict[str, Any], float]], count: int, seed: int
) -> list[dict[str, Any]]:
    """Points that optuna's tree-structured Parzen estimator suggests after those that were tried."""
    if importlib.util.find_spec("optuna") is None:
        raise UsageError(
            Code.GENERATOR_UNAVAILABLE, "the sampler needs optuna", action="pip install 'campaign[optuna]'"
        )
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    where: dict[str, BaseDistribution] = {
        name: IntDistribution(int(one.low), int(one.high))
        if one.whole
        else FloatDistribution(one.low, one.high, log=one.log)
        for name, one in region.items()
    }
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True))
    for point, loss in tried:
        if np.isfinite(loss):
            study.add_trial(optuna.trial.create_trial(params=point, distributions=where, value=loss))
    return [study.ask(where).params for _ in range(count)]


def _outcome(directory: Path, goal: Goal, names: Sequence[str]) -> tuple[dict[str, list[Any]], list[float]]:
    """(parameters, losses) of the cases of a round; the mean over realizations where there are several."""
    values = metric(directory, goal.metric)
    others = [dim for dim in values.dims if dim != "case"]
    mean = values.mean(others) if others else values
    losses = goal.loss(mean.to_numpy().astype(np.float64)).tolist()
    return {name: mean.coords[name].to_numpy().tolist() for name in names}, losses


def _report(rounds: Sequence[Round], search: Search, stopped: str) -> dict[str, Any]:
    best = min(rounds, key=lambda one: one.loss)
    return {
        "metric": search.goal.metric,
        "target": search.goal.target,
        "maximize": search.goal.maximize,
        "best_parameters": dict(best.best),
        "loss": best.loss,
        "iteration": rounds.index(best) + 1,
        "stopped": stopped,
        "iterations": [
            {
                "iteration": n, "cases": one.cases, "loss": one.loss, "best_parameters": dict(one.best),
                "region": {name: asdict(interval) for name, interval in one.region.items()},
            }
            for n, one in enumerate(rounds, 1)
        ],
    }  # fmt: skip
