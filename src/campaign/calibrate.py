"""Calibration: rounds of a campaign, each looking closer around what the one before found best."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from campaign.core.model import Config
from campaign.errors import Code, UsageError
from campaign.needs import need
from campaign.opening import read_config
from campaign.ports import Generator

BEST = "best_parameters.json"
ITERATION = "iteration_"
ENVIRONMENT = "CAMPAIGN__"

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


def calibrate(
    path: Path, settings: Sequence[str], search: Search, run: RunRound, *, dry_run: bool = False
) -> Mapping[str, Any] | None:
    """Run round after round; the content of `best_parameters.json`, None where a round is not complete yet.

    Rounds that are complete are not run again, so the same call goes on. UsageError where the design is not drawn, or where
    a calibration with another goal is there. A dry run hands the first round to `run` and writes nothing.
    """
    config, generator = read_config(path, settings)
    root, whole = Path(config.directory), _whole(config.document)
    _refuse_unknown_metric(search.goal.metric, config, generator)
    _refuse_other_search(root / BEST, search)
    with _without_overrides():
        if dry_run:
            with tempfile.TemporaryDirectory() as scratch:
                first = Path(scratch) / f"{ITERATION}01.yaml"
                _write(first, _round(config, root, 1, whole, [], search))
                run(first)
            return None
        return _rounds(config, root, whole, search, run)


def _rounds(
    config: Config, root: Path, whole: Mapping[str, Interval], search: Search, run: RunRound
) -> Mapping[str, Any] | None:
    rounds: list[Round] = []
    points: dict[str, list[Any]] = {name: [] for name in whole}  # of all rounds
    losses: list[float] = []
    region, stopped = dict(whole), ""
    while not stopped and len(rounds) < search.rounds:
        number = len(rounds) + 1
        path = root / f"{ITERATION}{number:02d}.yaml"
        tried = [({name: points[name][n] for name in points}, loss) for n, loss in enumerate(losses)]
        root.mkdir(parents=True, exist_ok=True)
        _write(path, _round(config, root, number, region, tried, search))
        if not run(path):
            return None
        found, lost = _outcome(Path(read_config(path)[0].directory), search.goal, list(whole))
        rounds.append(Round(region, len(lost), *_best(path, found, lost)))
        losses += lost
        for name in points:
            points[name] += found[name]
        if search.sampler != "optuna":  # which finds its own way
            samples = int(config.document["design"]["samples"])
            region = promising(region, whole, points, losses, round(search.keep * samples))
            stopped = settled(region, whole, search.tolerance)
        if not stopped and len(rounds) == search.rounds:
            wider = (
                ""
                if search.sampler == "optuna"
                else f", and the region is wider than {search.tolerance:g} of the whole"
            )
            durable.write_json(root / BEST, _report(rounds, search, f"{search.rounds} rounds{wider}"))
        else:
            durable.write_json(root / BEST, _report(rounds, search, stopped))
    return dict(json.loads((root / BEST).read_text()))


def _best(path: Path, points: Mapping[str, Sequence[Any]], losses: Sequence[float]) -> tuple[dict[str, float], float]:
    try:
        return best_of(points, losses)
    except ValueError as error:
        raise UsageError(
            Code.CAMPAIGN_FAILING,
            f"no case of {path.stem} has a loss: all failed, or gave no number",
            action=f"see why: campaign status {path} --verbose; then mend that: campaign retry {path} --run",
        ) from error


@contextlib.contextmanager
def _without_overrides() -> Iterator[None]:
    """Variables that override the configuration have had their say: in a round they would speak again."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(ENVIRONMENT)}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _refuse_unknown_metric(name: str, config: Config, generator: Generator) -> None:
    variables = generator.variables(config.options)
    if name not in {variable.name for variable in variables}:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"nothing called {name!r} is measured",
            action=f"name one of: {', '.join(variable.name for variable in variables) or 'none is measured'}",
        )


def _refuse_other_search(path: Path, search: Search) -> None:
    """Refuse to go on with a calibration that looks for something else, or in another way."""
    try:
        known = json.loads(path.read_text())
    except FileNotFoundError:
        return
    for name, value in _identity(search).items():
        if known.get(name) != value:
            raise UsageError(
                Code.CONFIG_CHANGED,
                f"{path.parent} holds a calibration with {name} {known.get(name)}, not {value}",
                action="go on with that, or begin another one: add --set campaign.name=NAME",
            )


def _identity(search: Search) -> dict[str, Any]:
    """What may not change from one call to the next."""
    goal = search.goal
    return {
        "metric": goal.metric,
        "target": goal.target,
        "maximize": goal.maximize,
        "keep": search.keep,
        "sampler": search.sampler,
    }


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
        low, high = sorted((found.start, found.stop))
        return Interval(low, high, log=found.log)
    if isinstance(found, ranges.Integers) and found.step == 1:
        return Interval(found.start, found.stop, whole=True)
    raise UsageError(
        Code.CONFIG_INVALID, f"{name} is no interval that can be narrowed: {values!r}",
        action="give it like 0:1, log:1:100 or int:1:9",
    )  # fmt: skip


def _round(
    config: Config,
    root: Path,
    number: int,
    region: Mapping[str, Interval],
    tried: Sequence[tuple[dict[str, Any], float]],
    search: Search,
) -> dict[str, Any]:
    """The configuration of a round."""
    document = config.document
    return {
        **document,
        "campaign": {**document["campaign"], "name": f"{ITERATION}{number:02d}"},
        "science": {**document["science"], "seed": config.seed + number - 1},
        "design": _design(document, region, tried, search, config.seed + number),
        "outputs": {**document["outputs"], "base_path": str(root), "naming_scheme": "{parameters}"},
    }


def _write(path: Path, document: Mapping[str, Any]) -> None:
    durable.write_bytes(path, yaml_text(document, "One round of a calibration.").encode())


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
        cases = _suggested(region, tried, int(design["samples"]), seed)
        return {
            "method": "cases",
            "cases": [dict(case) for case in dict.fromkeys(tuple(case.items()) for case in cases)],
        }
    sections = {name: given if isinstance(given, Mapping) else {} for name, given in design["parameters"].items()}
    narrowed = {name: {**sections[name], "values": interval.rule()} for name, interval in region.items()}
    return {**design, "parameters": narrowed}


def _suggested(
    region: Mapping[str, Interval], tried: Sequence[tuple[dict[str, Any], float]], count: int, seed: int
) -> list[dict[str, Any]]:
    """Points that optuna's tree-structured Parzen estimator suggests after those that were tried."""
    need("the sampler", "optuna", extra="optuna")
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
        **_identity(search),
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
