"""The strategy map: options of the generator resolved before anything runs, and overrides for single jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from campaign.config.diagnose import complaint, nearest, validated
from campaign.config.schema import Document, JobSection, ShapeSection
from campaign.config.source import Layer, Path_, shown
from campaign.core.design import is_meant
from campaign.core.model import Axis, JobOverride, Scalar
from campaign.errors import CampaignError, Problem

BORROWED = (("science", "galaxy_model"), ("science", "simulation_suite"), ("outputs", "compression"))
"""Keys outside `strategy` that are handed to a generator which has an option of that name."""

FindOptions = Callable[[str], type[BaseModel]]
Options = dict[str, Any]


class Strategy:
    """Options of one document's generator: borrowed keys <- defaults <- overrides of the generator <- jobs."""

    def __init__(self, document: Document, layer: Layer, problems: list[Problem]) -> None:
        self._document, self._layer, self._problems = document, layer, problems

    def resolve(self, find_options: FindOptions, axes: tuple[Axis, ...]) -> tuple[Options, tuple[JobOverride, ...]]:
        """Resolved options, and the job overrides; mistakes are added to the problems."""
        selections = [self._where(n, job, axes) for n, job in enumerate(self._document.jobs)]
        name = self._document.generator
        try:
            model = find_options(name)
        except CampaignError as error:
            self._problems.append(complaint(self._layer, ("generator",), shown(name), error.message))
            return {}, ()
        self._refuse_unknown(find_options)
        merged = self._merged(model, name)
        options = validated(model, merged.values, merged, self._problems)
        if options is None:
            return {}, ()
        base = options.model_dump(mode="json")
        return base, tuple(
            self._override(n, job, where, model, merged.values, base)
            for n, (job, where) in enumerate(zip(self._document.jobs, selections, strict=True))
        )

    def _refuse_unknown(self, find_options: FindOptions) -> None:
        """Overrides of a generator that is not installed would be a spelling mistake without effect."""
        for name in self._document.strategy.overrides:
            try:
                find_options(name)
            except CampaignError as error:
                near = nearest(name, [self._document.generator])
                place = ("strategy", "overrides", name)
                self._problems.append(complaint(self._layer, place, f"unknown generator {name!r}", error.message, near))

    def _merged(self, model: type[BaseModel], name: str) -> Layer:
        """Options as one layer whose places point into the document."""
        merged = Layer(places={(): self._layer.where(("strategy",))})
        for section, key in BORROWED:
            value = getattr(getattr(self._document, section), key)
            if value is not None and key in model.model_fields:
                merged = merged.overlay(self._part((section, key), {key: value}, (key,)))
        strategy = self._document.strategy
        merged = merged.overlay(self._part(("strategy", "defaults"), strategy.defaults))
        return merged.overlay(self._part(("strategy", "overrides", name), strategy.overrides.get(name, {})))

    def _part(self, path: Path_, values: Options, under: Path_ = ()) -> Layer:
        """`values`, which stand at `path` of the document, as a layer below `under`."""

        def moved(table: dict[Path_, str]) -> dict[Path_, str]:
            inside = {(*under, *key[len(path) :]): place for key, place in table.items() if key[: len(path)] == path}
            return {key: place for key, place in inside.items() if key}

        return Layer(values, moved(self._layer.keys), moved(self._layer.places))

    def _where(self, n: int, job: JobSection, axes: tuple[Axis, ...]) -> dict[str, tuple[Scalar, ...]]:
        """The values that a job section selects on each axis it names."""
        known = {parameter.name: parameter for axis in axes for parameter in (axis, *axis.varies)}
        where: dict[str, tuple[Scalar, ...]] = {}
        for name, value in job.where.items():
            values = value if isinstance(value, list) else [value]
            place: Path_ = ("jobs", n, "where", name)
            if name not in known:
                near = nearest(name, list(known))
                self._problems.append(complaint(self._layer, place, f"unknown axis {name!r}", ", ".join(known), near))
                continue
            where[name] = tuple(v for v in known[name].values if any(is_meant(v, wanted) for wanted in values))
            if len(where[name]) < len(values):
                self._problems.append(complaint(self._layer, place, shown(value), f"values of the axis {name}"))
        return where

    def _override(
        self,
        n: int,
        job: JobSection,
        where: dict[str, tuple[Scalar, ...]],
        model: type[BaseModel],
        written: Options,
        base: Options,
    ) -> JobOverride:
        """What a job section changes against the campaign's own options."""
        layer = Layer(dict(written)).overlay(self._part(("jobs", n, "options"), job.options))
        options = validated(model, layer.values, layer, self._problems)
        dumped = base if options is None else options.model_dump(mode="json")
        timeout_s = None if job.timeout_hours is None else job.timeout_hours * 3600
        return JobOverride(where, _picked(job.options, dumped), timeout_s, _reshaped(job.resources))


_SHAPE_FIELDS = {
    "nodes_per_job": "nodes",
    "ranks_per_job": "ranks",
    "threads_per_rank": "threads",
    "memory_per_slot": "memory_bytes",
}


def _reshaped(section: ShapeSection) -> Options:
    """What a job section changes of the shape."""
    written = section.model_dump(exclude_none=True)
    return {_SHAPE_FIELDS.get(key, key): value for key, value in written.items()}


def _picked(written: Options, resolved: Options) -> Options:
    """The resolved values of what is written, and of nothing else."""
    return {
        key: _picked(value, resolved[key])
        if isinstance(value, dict) and isinstance(resolved.get(key), dict)
        else resolved[key]
        for key, value in written.items()
        if key in resolved
    }
