"""Design x settings -> plan: resolved, fingerprinted, ordered, batched. Pure: the same input gives the same plan."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from campaign import soundness
from campaign.core import identity
from campaign.core.design import Grid, Indices, is_meant, order, together
from campaign.core.lifecycle import BATCH_JOBS_MAX
from campaign.core.model import Config, Point, Record, Shape, State, Task
from campaign.errors import Code, UsageError
from campaign.ports import Filing, Generator, Staged

States = npt.NDArray[np.int8]

HASH_DIGITS = 16
"""Digits of a fingerprint in a name: enough for millions of jobs."""

DURATION_GROUPS_MAX = 256
"""Values of an axis along which run times are learned one by one."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One resolved task configuration, and the time-out that goes with it; most campaigns have one or two."""

    config: Mapping[str, Any]
    config_hash: str
    timeout_s: float
    shape: Shape


@dataclass(frozen=True, slots=True)
class MissingInput:
    """A job whose input is not there, or that is left out because a job of its realization lacks one."""

    job: int
    path: str
    skipped_with: int | None = None  # the job whose input is missing, where it is not this one


class Jobs(Protocol):
    """What is executed: the jobs of a plan, or of several one after another."""

    @property
    def config(self) -> Config: ...

    @property
    def order(self) -> Indices: ...

    @property
    def staged(self) -> bool: ...

    @property
    def size(self) -> int: ...

    @property
    def shapes(self) -> tuple[Shape, ...]: ...

    @property
    def shape_of(self) -> npt.NDArray[np.int64]: ...

    @property
    def duration_group_of(self) -> npt.NDArray[np.int64]: ...

    @property
    def duration_groups(self) -> int: ...

    def task(self, job: int, attempt: int, batch: int) -> Task: ...


@dataclass(frozen=True)
class Plan:
    """Every job of a campaign, as columns over the design's index."""

    config: Config
    grid: Grid
    variants: tuple[Variant, ...]
    variant_of: npt.NDArray[np.int32]  # (n,), index into variants
    seeds: npt.NDArray[np.int64]  # (n,)
    fingerprints: npt.NDArray[np.bytes_]  # (n,), 64 hexadecimal digits
    order: Indices  # (n,), jobs in the order of execution
    missing: tuple[MissingInput, ...]
    suffixes: tuple[str, ...]  # of the products of each variant
    main_files: tuple[str, ...]  # of those that are directories: the file that readers look for first
    staged: bool  # whether a slot works at several jobs at once, each in another stage
    words_of: Callable[[int, Point], Mapping[str, str]]

    @property
    def size(self) -> int:
        """Number of jobs."""
        return self.grid.size

    @property
    def row(self) -> int:
        """Jobs of each value of the first axis, which is that of realizations where there are any."""
        return self.size // self.grid.shape[0]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all task fingerprints in design order: what the campaign computes, however it is executed."""
        return hashlib.sha256(self.fingerprints.tobytes()).hexdigest()

    @cached_property
    def _by_fingerprint(self) -> Indices:
        return np.argsort(self.fingerprints)

    def find(self, fingerprint: str) -> int | None:
        """The job with a task fingerprint; None where there is none."""
        wanted = np.bytes_(fingerprint.encode())
        place = int(np.searchsorted(self.fingerprints, wanted, sorter=self._by_fingerprint))
        job = int(self._by_fingerprint[place]) if place < self.size else -1
        return job if job >= 0 and self.fingerprints[job] == wanted else None

    def own(self, records: Iterable[Record]) -> list[Record]:
        """The records that are of this plan, each under the number that its job has in it.

        A campaign that has grown numbers its jobs anew; what a record is of is told by its fingerprint.
        """
        found = []
        for record in records:
            if record.job < self.size and self.fingerprints[record.job].decode() == record.task_fingerprint:
                found.append(record)
            elif (job := self.find(record.task_fingerprint)) is not None:
                found.append(replace(record, job=job))
        return found

    def named(self, text: str) -> int:
        """The job that a person means: its name, its number, or `axis=value,...` for every axis; UsageError otherwise."""
        if text.isdecimal() and int(text) < self.size:
            return int(text)
        if "=" in text:
            pairs = dict(part.partition("=")[::2] for part in text.split(","))
            wanted = {
                p.name: [v for v in p.values if is_meant(v, pairs[p.name])]
                for p in self.grid.parameters
                if p.name in pairs
            }
            whole = set(pairs) == {parameter.name for parameter in self.grid.parameters}
            jobs: list[int] = self.grid.where(dict(wanted)).tolist() if whole else []
        else:
            jobs = [job for job in range(self.size) if self.name(job) == text]
        if len(jobs) != 1:
            axes = ",".join(f"{parameter.name}={parameter.values[0]}" for parameter in self.grid.parameters)
            raise UsageError(
                Code.JOB_UNKNOWN,
                f"there is no job {text!r}",
                action=f"name it like {self.name(0)}, by its number (0 to {self.size - 1}), or like {axes}",
            )
        return int(jobs[0])

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes that jobs have; those of most jobs first."""
        jobs: Counter[Shape] = Counter()
        for number, count in enumerate(np.bincount(self.variant_of, minlength=len(self.variants)).tolist()):
            jobs[self.variants[number].shape] += count
        return tuple(shape for shape, _ in jobs.most_common())

    @cached_property
    def shape_of(self) -> npt.NDArray[np.int64]:
        """Number of each job's shape in `shapes`, (n,)."""
        of_variant = np.array([self.shapes.index(variant.shape) for variant in self.variants])
        return of_variant[self.variant_of]

    @cached_property
    def duration_group_of(self) -> npt.NDArray[np.int64]:
        """Which jobs are expected to take equally long: the place of each on the duration axis, (n,).

        An axis of more than a few hundred values teaches nothing about any of them: all jobs are one group then.
        """
        names = [axis.name for axis in self.grid.axes]
        n = names.index(self.config.execution.duration_axis)
        length = self.grid.shape[n]
        if length > DURATION_GROUPS_MAX:
            return np.zeros(self.size, dtype=np.int64)
        along = np.arange(length).reshape([-1 if m == n else 1 for m in range(len(names))])
        return np.broadcast_to(along, self.grid.shape).reshape(-1).astype(np.int64)

    @cached_property
    def duration_groups(self) -> int:
        """Number of duration groups."""
        return int(self.duration_group_of.max(initial=0)) + 1

    def point(self, job: int) -> Point:
        """Parameters of a job."""
        return self.grid.point(job)

    def options(self, job: int) -> Mapping[str, Any]:
        """The resolved configuration of a job."""
        return self.variants[int(self.variant_of[job])].config

    def name(self, job: int) -> str:
        """Name of a job: its product's path without `catalogs/` and suffix."""
        return self.name_at(job, self.grid.point(job))

    def name_at(self, job: int, point: Point) -> str:
        """Name of a job whose point is known."""
        return identity.product_stem(self.config.naming_scheme, point, self.words_of(job, point))

    def product(self, job: int) -> str:
        """Path of a job's product, relative to the campaign's directory; empty where jobs make none."""
        return self._product(job, self.name(job))

    def _product(self, job: int, name: str) -> str:
        suffix = self.suffixes[self.variant_of[job]]
        return f"catalogs/{name}{suffix}" if suffix else ""

    def result(self, job: int) -> str:
        """Path of the file, or of the directory, that readers look for first; empty where jobs make no product."""
        product = self.product(job)
        return product + self.main_files[self.variant_of[job]] if product else ""

    def task(self, job: int, attempt: int, batch: int) -> Task:
        """The task of one attempt."""
        variant = self.variants[self.variant_of[job]]
        point = self.grid.point(job)
        name = self.name_at(job, point)
        return Task(
            job=job,
            name=name,
            attempt=attempt,
            batch=batch,
            point=point,
            seed=int(self.seeds[job]),
            campaign_seed=self.config.seed,
            generator=self.config.generator,
            config=variant.config,
            resolved_config_hash=variant.config_hash,
            task_fingerprint=self.fingerprints[job].decode(),
            product=self._product(job, name),
            timeout_s=variant.timeout_s,
        )

    def batches(self, states: States | None = None, first_batch: int = 0) -> Iterator[tuple[int, Indices]]:
        """Numbered batches of the jobs that are still to do, in the order of execution.

        Where their size is measured these are the largest that there may be. Numbers start at `first_batch`: a batch is named once in the life of a campaign, and what an earlier run left
        over comes under new numbers.
        """
        todo = self.order if states is None else self.order[states[self.order] == State.PENDING]
        size = self.config.execution.batch_size or BATCH_JOBS_MAX
        for n, start in enumerate(range(0, len(todo), size)):
            yield first_batch + n, todo[start : start + size]


def make_plan(config: Config, generator: Generator, exists: Callable[[str], bool]) -> Plan:
    """Lay out the whole campaign.

    `exists` tells whether an input path is there; it is asked once a path. Raises UsageError where inputs are missing
    and the configuration refuses that, or where the naming scheme gives two jobs one product.
    """
    grid = Grid(config.axes)
    variants, variant_of = _resolve(config, grid, generator.incidental)
    seeds = np.empty(grid.size, dtype=np.int64)
    fingerprints = np.empty(grid.size, dtype="S64")
    hashes = [variants[number].config_hash for number in variant_of.tolist()]
    for job, (point, config_hash) in enumerate(zip(identity.canonical_points(grid.axes), hashes, strict=True)):
        seeds[job] = seed = identity.seed_of(config.seed, point)
        fingerprints[job] = identity.fingerprint_of(config.generator, point, seed, config_hash).encode()

    for number, variant in enumerate(variants):
        soundness.refuse_ranks(generator, variant.shape)
        generator.check(variant.config, grid.point(int(np.argmax(variant_of == number))))
    input_of, missing = _survey(config, generator, grid, variants, variant_of, exists)
    own = {"name": identity.slug(config.name), "version": config.version}
    digits = max(4, len(str(grid.size - 1)))

    def words_of(job: int, point: Point) -> Mapping[str, str]:
        words = generator.words(variants[variant_of[job]].config, point)
        return {**own, **words, "job": f"{job:0{digits}d}", "hash": fingerprints[job].decode()[:HASH_DIGITS]}

    variables = generator.variables(variants[0].config)
    soundness.refuse_unknown_metric(config, variables)
    soundness.refuse_clashes(grid, variables)
    plan = Plan(
        config=config,
        grid=grid,
        variants=variants,
        variant_of=variant_of,
        seeds=seeds,
        fingerprints=fingerprints,
        order=together(order(grid, config.execution.order, config.seed), input_of),
        missing=missing,
        suffixes=tuple(generator.suffix(variant.config) for variant in variants),
        main_files=tuple(
            generator.main_file(variant.config) if isinstance(generator, Filing) else "" for variant in variants
        ),
        staged=isinstance(generator, Staged),
        words_of=words_of,
    )
    soundness.refuse_bad_names(config, grid, plan.name_at)
    if len({generator.variables(v.config) for v in variants}) > 1:
        raise UsageError(
            Code.CONFIG_INVALID,
            "the options in `jobs` change which variables are measured, or their shapes",
            action="make campaigns of their own of them: one dataset has one set of variables",
        )
    return plan


def _resolve(
    config: Config, grid: Grid, incidental: tuple[str, ...]
) -> tuple[tuple[Variant, ...], npt.NDArray[np.int32]]:
    """Resolve the configuration of each job before anything runs: options <- job overrides, in their order."""
    kinds: list[tuple[int, ...]] = [()]  # which overrides apply, for each kind of job
    kind_of = np.zeros(grid.size, dtype=np.int64)
    for n, override in enumerate(config.overrides):
        matches = np.zeros(grid.size, dtype=np.int64)
        matches[grid.where({axis: list(values) for axis, values in override.where.items()})] = 1
        codes, kind_of = np.unique(kind_of * 2 + matches, return_inverse=True)
        kinds = [(*kinds[code // 2], n) if code % 2 else kinds[code // 2] for code in codes.tolist()]
    return tuple(_variant(config, kind, incidental) for kind in kinds), kind_of.astype(np.int32)


def _variant(config: Config, kind: tuple[int, ...], incidental: tuple[str, ...]) -> Variant:
    options: dict[str, Any] = dict(config.options)
    timeout_s, shape = config.execution.timeout_s, config.resources.shape
    for override in (config.overrides[n] for n in kind):
        options = _merged(options, override.config)
        timeout_s = override.timeout_s or timeout_s
        shape = replace(shape, **override.shape)
    deciding = {key: value for key, value in options.items() if key not in incidental}
    return Variant(options, identity.resolved_config_hash(deciding), timeout_s, shape)


def _merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Both, key by key, the upper one winning; mappings inside are merged likewise."""
    both = {
        key: _merged(lower[key], value) if isinstance(value, Mapping) and isinstance(lower.get(key), Mapping) else value
        for key, value in upper.items()
    }
    return {**lower, **both}


def _survey(
    config: Config,
    generator: Generator,
    grid: Grid,
    variants: tuple[Variant, ...],
    variant_of: npt.NDArray[np.int32],
    exists: Callable[[str], bool],
) -> tuple[npt.NDArray[np.int32], tuple[MissingInput, ...]]:
    """(number of the first input of each job, -1 where it has none, (n,); the jobs whose inputs are not all there)."""
    known: dict[str, tuple[int, bool]] = {}  # path -> (its number, whether it is there)
    found: dict[int, MissingInput] = {}
    input_of = np.full(grid.size, -1, dtype=np.int32)
    for job in range(grid.size):
        for path in generator.inputs(variants[variant_of[job]].config, grid.point(job)):
            if path not in known:
                known[path] = len(known), exists(path)
            number, there = known[path]
            if input_of[job] < 0:
                input_of[job] = number
            if not there:
                found[job] = MissingInput(job, path)
                break
    if found and config.execution.missing_input == "refuse":
        listed = "\n".join(f"  {m.path}" for m in list(found.values())[:10])
        raise UsageError(
            Code.INPUT_MISSING,
            f"the input of {len(found)} of {grid.size} jobs is missing:\n{listed}",
            action="bring it, or set `execution.missing_input: skip_job` or `skip_realization`",
        )
    if config.execution.missing_input == "skip_realization":
        row = grid.size // grid.shape[0]
        for job, cause in list(found.items()):
            start = job // row * row
            for mate in range(start, start + row):
                found.setdefault(mate, MissingInput(mate, cause.path, skipped_with=job))
    return input_of, tuple(found[job] for job in sorted(found))
