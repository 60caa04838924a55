"""Layers -> validated document -> frozen Config."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from campaign.config import source
from campaign.config.diagnose import nearest, problems_of, shown
from campaign.config.schema import MAX_JOBS, Document, JobSection, Machine, RealizationRange, ScienceSection
from campaign.config.source import Layer, Path_
from campaign.core import identity
from campaign.core.model import Axis, Config, Execution, JobOverride, Resources, Scalar
from campaign.errors import CampaignError, ConfigError, Problem

MACHINES = Path(__file__).parent / "machines"
BORROWED = (("science", "galaxy_model"), ("science", "simulation_suite"), ("outputs", "compression"))
"""Keys outside `strategy` that are handed to a generator which has an option of that name."""

FindOptions = Callable[[str], type[BaseModel]]


def load_config(
    path: Path,
    *,
    settings: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    find_options: FindOptions,
    cores: int = 1,
) -> Config:
    """The campaign that `path` declares, under `settings` (`KEY.KEY=VALUE`) and `CAMPAIGN__*` variables.

    `find_options` gives the options model of a generator by its name; `cores` is what `slots: auto` divides. Raises
    ConfigError with every mistake at once.
    """
    env = os.environ if environment is None else environment
    file = source.read_yaml(path, env)
    upper = file.overlay(source.environment_layer(env)).overlay(source.option_layer(settings))
    machine, lower = _machine(upper, path)
    layer = lower.overlay(upper)
    problems = list(layer.problems)
    document = _validate(Document, layer.values, layer, problems)
    if document is None:
        raise ConfigError(tuple(problems))
    return _Freezer(document, machine, layer, problems).freeze(find_options, cores)


def _validate(model: type[Any], values: Any, layer: Layer, problems: list[Problem], prefix: Path_ = ()) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems += problems_of(error, model, layer, prefix)
        return None


def _machine(layer: Layer, path: Path) -> tuple[Machine, Layer]:
    """The machine file that the campaign names, and the defaults in it."""
    name = str(layer.values.get("machine", "local"))
    known = sorted(p.stem for p in MACHINES.glob("*.yaml"))
    file = path.parent / name if name.endswith((".yaml", ".yml")) else MACHINES / f"{name}.yaml"
    if not name.endswith((".yaml", ".yml")) and name not in known:
        problem = Problem(
            layer.where(("machine",)), "machine", shown(name), f"{', '.join(known)}, or a path", nearest(name, known)
        )
        raise ConfigError((problem,))
    raw = source.read_yaml(file, os.environ)
    problems: list[Problem] = list(raw.problems)
    machine = _validate(Machine, raw.values, raw, problems)
    if problems:
        raise ConfigError(tuple(problems))
    defaults = Layer(
        dict(machine.defaults),
        {key[1:]: place for key, place in raw.keys.items() if key[0] == "defaults"},
        {key[1:]: place for key, place in raw.places.items() if key[:1] == ("defaults",)},
    )
    return machine, defaults


class _Freezer:
    """Checks what no single key shows, then freezes."""

    def __init__(self, document: Document, machine: Machine, layer: Layer, problems: list[Problem]) -> None:
        self._document, self._machine, self._layer, self._problems = document, machine, layer, problems

    def freeze(self, find_options: FindOptions, cores: int) -> Config:
        document = self._document
        axes = self._axes(document.science)
        self._check_order(axes)
        resources = self._resources(cores)
        options, overrides = self._options(find_options, axes)
        if self._problems:
            raise ConfigError(tuple(self._problems))
        execution = document.execution
        base = Path(document.outputs.base_path).expanduser().absolute()
        return Config(
            name=document.campaign.name,
            version=document.campaign.version,
            description=document.campaign.description,
            axes=axes,
            seed=document.science.seed,
            generator=document.generator,
            options=options,
            overrides=overrides,
            execution=Execution(
                batch_size=execution.batch_size,
                max_retries=execution.max_retries,
                retry_backoff=execution.retry_backoff,
                retry_delay_s=execution.retry_delay_s,
                retry_delay_max_s=execution.retry_delay_max_s,
                timeout_s=execution.timeout_hours * 3600,
                order=execution.order,
                missing_input=execution.missing_input,
                flush_interval_s=execution.flush_interval_s,
            ),
            resources=resources,
            directory=str(base / f"{document.campaign.version}_{identity.slug(document.campaign.name)}"),
            naming_scheme=document.outputs.naming_scheme,
            document=document.model_dump(mode="json", exclude_none=True),
        )

    def _complain(self, path: Path_, found: str, allowed: str, suggestion: str = "") -> None:
        dotted = ".".join(str(part) for part in path)
        self._problems.append(Problem(self._layer.where(path), dotted, found, allowed, suggestion))

    def _axes(self, science: ScienceSection) -> tuple[Axis, ...]:
        numbers: Sequence[float]
        match science.realizations:
            case int() as count:
                numbers = list(range(count))
            case RealizationRange() as selection:
                numbers = selection.numbers()
            case list() as values:
                numbers = values
        for key, values in {"realizations": numbers, "redshifts": science.redshifts}.items():
            twice = [value for value, times in Counter(values).items() if times > 1]
            if twice:
                self._complain(("science", key), f"{twice[0]} twice", "each value once")
        if science.snapshots is not None and science.snapshots != len(science.redshifts):
            found = f"{science.snapshots}, but there are {len(science.redshifts)} redshifts"
            self._complain(("science", "snapshots"), found, f"{len(science.redshifts)}, or leave it out")
        rounded = {round(z, 3) for z in science.redshifts}
        if len(rounded) < len(set(science.redshifts)):
            self._complain(
                ("science", "redshifts"), "two that agree in three decimals", "redshifts at least 0.001 apart"
            )
        if len(numbers) * len(science.redshifts) > MAX_JOBS:
            self._complain(
                ("science", "realizations"), f"{len(numbers) * len(science.redshifts)} jobs", f"at most {MAX_JOBS}"
            )
        return (
            Axis("realization", tuple(numbers), "1", "realization of the initial conditions"),
            Axis("redshift", tuple(science.redshifts), "1", "redshift of the snapshot"),
        )

    def _check_order(self, axes: tuple[Axis, ...]) -> None:
        allowed = ["shuffled", "block", *(f"{axis.name}_major" for axis in axes)]
        order = self._document.execution.order
        if order not in allowed:
            self._complain(("execution", "order"), shown(order), ", ".join(allowed), nearest(order, allowed))

    def _resources(self, cores: int) -> Resources:
        asked, machine = self._document.resources, self._machine
        if asked.job_type not in machine.job_types:
            known = sorted(machine.job_types)
            self._complain(
                ("resources", "job_type"), shown(asked.job_type), ", ".join(known), nearest(asked.job_type, known)
            )
        need = asked.memory_requirement
        if need is not None and need not in machine.memory_requirements:
            known = list(machine.memory_requirements)
            self._complain(("resources", "memory_requirement"), shown(need), ", ".join(known), nearest(need, known))
        kind = machine.job_types.get(asked.job_type)
        threads = asked.threads_per_slot or (kind.threads_per_slot if kind else 1)
        if asked.slots != "auto" and asked.slots < 1:
            self._complain(("resources", "slots"), shown(asked.slots), "auto, or a number >= 1")
        return Resources(
            slots=max(1, cores // threads) if asked.slots == "auto" else asked.slots,
            threads_per_slot=threads,
            memory_per_slot_bytes=asked.memory_per_slot or (machine.memory_requirements.get(need) if need else None),
            job_type=asked.job_type,
            memory_requirement=need or "",
            account=asked.account,
            machine=self._document.machine,
        )

    def _options(
        self, find_options: FindOptions, axes: tuple[Axis, ...]
    ) -> tuple[dict[str, Any], tuple[JobOverride, ...]]:
        """Resolve the strategy map: borrowed keys <- defaults <- overrides of the generator."""
        name = self._document.generator
        try:
            model = find_options(name)
        except CampaignError as error:
            self._complain(("generator",), shown(name), error.message)
            return {}, ()
        merged = self._strategy(model, name)
        options = _validate(model, merged.values, merged, self._problems)
        if options is None:
            return {}, ()
        resolved = options.model_dump(mode="json")
        overrides = tuple(
            override
            for n, job in enumerate(self._document.jobs)
            if (override := self._override(n, job, model, merged.values, resolved, axes)) is not None
        )
        return resolved, overrides

    def _strategy(self, model: type[BaseModel], name: str) -> Layer:
        """Options as one layer whose places point into the document."""
        sources: list[Path_] = [("strategy", "defaults"), ("strategy", "overrides", name)]
        merged = Layer(places={(): self._layer.where(("strategy",))})
        for section, key in BORROWED:
            value = getattr(getattr(self._document, section), key)
            if value is not None and key in model.model_fields:
                merged = merged.overlay(self._part((section, key), {key: value}, (key,)))
        for path in sources:
            values: Any = self._document.strategy.defaults
            if path[1] == "overrides":
                values = self._document.strategy.overrides.get(name, {})
            merged = merged.overlay(self._part(path, values, ()))
        return merged

    def _part(self, path: Path_, values: dict[str, Any], under: Path_) -> Layer:
        n = len(path)
        keys = {(*under, *k[n:]): place for k, place in self._layer.keys.items() if k[:n] == path}
        places = {(*under, *k[n:]): place for k, place in self._layer.places.items() if k[:n] == path}
        keys.pop((), None)
        places.pop((), None)
        return Layer(values, keys, places)

    def _override(
        self,
        n: int,
        job: JobSection,
        model: type[BaseModel],
        base: dict[str, Any],
        resolved: dict[str, Any],
        axes: tuple[Axis, ...],
    ) -> JobOverride | None:
        where: dict[str, tuple[Scalar, ...]] = {}
        known = {axis.name: axis for axis in axes}
        before = len(self._problems)
        for name, value in job.where.items():
            values = value if isinstance(value, list) else [value]
            place: Path_ = ("jobs", n, "where", name)
            if name not in known:
                self._complain(place, f"unknown axis {name!r}", ", ".join(known), nearest(name, list(known)))
                continue
            matched = tuple(v for v in known[name].values if any(_same(v, wanted) for wanted in values))
            if len(matched) < len(values):
                self._complain(place, shown(value), f"values of the axis {name}")
            where[name] = matched
        part = Layer({**base}).overlay(self._part(("jobs", n, "options"), job.options, ()))
        options = _validate(model, part.values, part, self._problems)
        if len(self._problems) > before or options is None:
            return None
        changed = {k: v for k, v in options.model_dump(mode="json").items() if resolved[k] != v}
        return JobOverride(where, changed, None if job.timeout_hours is None else job.timeout_hours * 3600)


def _same(a: Scalar, b: Any) -> bool:
    if isinstance(a, float) or isinstance(b, float):
        return isinstance(b, int | float) and not isinstance(b, bool) and math.isclose(float(a), float(b), rel_tol=1e-9)
    return bool(a == b)
