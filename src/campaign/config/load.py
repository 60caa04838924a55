"""Layers -> validated document -> frozen Config."""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from campaign.config import source
from campaign.config.designs import designed
from campaign.config.diagnose import complaint, nearest, validated
from campaign.config.registration import registration
from campaign.config.schema import (
    MAX_JOBS,
    Document,
    EnoughSection,
    ExecutionSection,
    JobType,
    Machine,
    Policed,
    RealizationRange,
    RuleSection,
)
from campaign.config.source import Layer, Path_, shown
from campaign.config.stages import misfits
from campaign.config.strategy import BORROWED, FindOptions, Strategy
from campaign.core import identity
from campaign.core.model import (
    Axis,
    Config,
    Enough,
    Execution,
    FailureClass,
    JobOverride,
    Resources,
    Rule,
    Shape,
    Slurm,
)
from campaign.core.policy import RULES
from campaign.errors import ConfigError, Problem

CASES_MAX = 100_000
"""Cases for each of which there are files."""

CASE_COLUMNS = frozenset({"case_id", "timestamp_iso", "simulation_duration", "result_file", "error_message"})
"""Columns of the tables of cases beside the parameters and the status."""

MACHINES = Path(__file__).parent / "machines"


@dataclass(frozen=True, slots=True)
class _MachineFile:
    """What a machine's file says, and where it lies."""

    content: Machine
    path: Path


def load_config(
    path: Path,
    *,
    settings: Sequence[str] = (),
    base_path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    find_options: FindOptions,
) -> Config:
    """The campaign that `path` declares, under `settings` (`KEY.KEY=VALUE`) and `CAMPAIGN__*` variables.

    `base_path` replaces `outputs.base_path`. `find_options` gives the options model of a generator by its name.
    Raises ConfigError with every mistake at once.
    """
    env = os.environ if environment is None else environment
    file = source.read_yaml(path, env)
    upper = file.overlay(source.environment_layer(env)).overlay(source.option_layer(settings, env))
    if base_path is not None:
        upper = upper.overlay(source.value_layer(("outputs", "base_path"), str(base_path), "the campaign's directory"))
    machine, lower = _machine(upper, path, env)
    layer = lower.overlay(upper)
    problems = list(layer.problems)
    document = validated(Document, layer.values, layer, problems)
    if document is None:
        _look_further(layer, machine, problems, find_options)
        raise ConfigError(tuple(problems))
    return _Freezer(document, machine, layer, problems).freeze(find_options)


def _look_further(layer: Layer, machine: _MachineFile, problems: list[Problem], find_options: FindOptions) -> None:
    """Where some sections are wrong, still say what is wrong with the meaning of the others."""
    sound = dict(layer.values)
    wrong = {problem.key.partition(".")[0] for problem in problems}
    for section in wrong:
        sound.pop(section, None)
    if "science" in wrong:
        sound.pop("jobs", None)  # they name values of its axes
    sound = {"campaign": {"name": "x"}, "science": {"realizations": 1, "redshifts": [0.0]}, **sound}
    document = validated(Document, sound, layer, [])
    if document is None:
        return
    more: list[Problem] = []
    with contextlib.suppress(ConfigError):
        _Freezer(document, machine, layer, more).freeze(find_options)
    problems += more


def _machine(layer: Layer, path: Path, environment: Mapping[str, str]) -> tuple[_MachineFile, Layer]:
    """The machine file that the campaign names, and the defaults in it."""
    name = str(layer.values.get("machine", "local"))
    known = sorted(p.stem for p in MACHINES.glob("*.yaml"))
    file = path.parent / name if _is_path(name) else MACHINES / f"{name}.yaml"
    if not _is_path(name) and name not in known:
        problem = Problem(
            layer.where(("machine",)), "machine", shown(name), f"{', '.join(known)}, or a path", nearest(name, known)
        )
        raise ConfigError((problem,))
    raw = source.read_yaml(file, environment)
    problems: list[Problem] = list(raw.problems)
    machine = validated(Machine, raw.values, raw, problems)
    if problems or machine is None:
        raise ConfigError(tuple(problems))
    defaults = Layer(
        dict(machine.defaults),
        {key[1:]: place for key, place in raw.keys.items() if key[0] == "defaults"},
        {key[1:]: place for key, place in raw.places.items() if key[:1] == ("defaults",)},
    )
    return _MachineFile(machine, file.absolute()), defaults


def _execution(execution: ExecutionSection, axes: tuple[Axis, ...]) -> Execution:
    """How jobs are run, as a value."""
    return Execution(
        batch_size=None if execution.batch_size == "auto" else execution.batch_size,
        max_retries=execution.max_retries,
        retry_backoff=execution.retry_backoff,
        retry_delay_s=execution.retry_delay_s,
        retry_delay_max_s=execution.retry_delay_max_s,
        timeout_s=execution.timeout_hours * 3600,
        order=execution.order,
        missing_input=execution.missing_input,
        flush_interval_s=execution.flush_interval_s,
        duration_axis=execution.duration_axis or axes[-1].name,
        walltime_quantile=execution.walltime_quantile,
        max_failure_rate=execution.max_failure_rate,
        rules=_rules(execution.policy),
        enough=_enough(execution.enough),
    )


def _is_path(machine: str) -> bool:
    """Whether a machine is named by the path of its file."""
    return machine.endswith((".yaml", ".yml"))


class _Freezer:
    """Checks what no single key shows, then freezes."""

    def __init__(self, document: Document, machine: _MachineFile, layer: Layer, problems: list[Problem]) -> None:
        self._document, self._layer, self._problems = document, layer, problems
        self._machine, self._machine_file = machine.content, machine.path

    def freeze(self, find_options: FindOptions) -> Config:
        document = self._document
        axes = self._axes(document)
        self._check_order(axes)
        self._check_archive(axes)
        self._check_realizations(axes)
        self._check_case_files(axes)
        if document.stages and document.execution.enough is not None:
            self._complain(("execution", "enough"), "a rule, beside stages", "one of both: stages need every member")
        for name, key, found, allowed in misfits(document.stages, axes):
            self._complain(("stages", name, key) if key else ("stages", name), found, allowed)
        resources = self._resources()
        options, overrides = Strategy(document, self._layer, self._problems).resolve(find_options, axes)
        self._check_shapes(overrides, resources.shape)
        base = self._base_path()
        if self._problems:
            raise ConfigError(tuple(self._problems))
        execution = document.execution
        scheme = identity.naming_scheme(
            document.outputs.naming_scheme, [parameter.name for axis in axes for parameter in axis.parameters]
        )
        return Config(
            name=document.campaign.name,
            version=document.campaign.version,
            description=document.campaign.description,
            axes=axes,
            seed=document.science.seed,
            generator=document.generator,
            options=options,
            overrides=overrides,
            execution=_execution(execution, axes),
            resources=resources,
            slurm=self._slurm(),
            directory=str(base / identity.directory_name(document.campaign.version, document.campaign.name)),
            naming_scheme=scheme,
            has_case_files=document.outputs.artifacts == "simorc",
            stages={name: stage.model_dump(mode="json") for name, stage in document.stages.items()},
            registration=registration(document.registry, document.campaign),
            archiving=document.archive.frozen(),
            cleanup=document.cleanup.frozen(),
            notify=None if document.notify is None else document.notify.frozen(execution.timeout_hours * 3600),
            document=self._resolved(options, base, scheme),
        )

    def _resolved(self, options: Mapping[str, Any], base: Path, scheme: str) -> dict[str, Any]:
        """The document as it is frozen: nothing in it depends on the current directory or on a later default."""
        document = self._document.model_dump(mode="json", exclude_none=True)
        borrowed = {key for section, key in BORROWED if key in document[section]}
        own = {key: value for key, value in options.items() if key not in borrowed and value is not None}
        document["strategy"] = {"overrides": {self._document.generator: own}}
        document["outputs"] |= {"base_path": str(base), "naming_scheme": scheme}
        if _is_path(document["machine"]):
            document["machine"] = str(self._machine_file)
        return document

    def _base_path(self) -> Path:
        try:
            return Path(self._document.outputs.base_path).expanduser().absolute()
        except RuntimeError as error:  # ~name of nobody
            self._complain(("outputs", "base_path"), shown(self._document.outputs.base_path), f"a path: {error}")
            return Path()

    def _complain(self, path: Path_, found: str, allowed: str, suggestion: str = "") -> None:
        self._problems.append(complaint(self._layer, path, found, allowed, suggestion))

    def _axes(self, document: Document) -> tuple[Axis, ...]:
        """The axes of the design: realizations, redshifts, then the parameters that are varied."""
        science = document.science
        axes: list[Axis] = []
        if science.realizations is not None:
            numbers = self._once("realizations", _numbers(science.realizations))
            axes.append(Axis("realization", numbers, "1", "realization of the initial conditions"))
        if science.redshifts is not None:
            axes.append(Axis("redshift", self._redshifts(science.redshifts), "1", "redshift of the snapshot"))
        if science.snapshots is not None and science.snapshots != len(science.redshifts or ()):
            count = len(science.redshifts or ())
            found = f"{science.snapshots}, but there are {count} redshifts"
            self._complain(("science", "snapshots"), found, f"{count}, or leave it out")
        if document.design is not None:
            axes += designed(document.design, science.seed, self._complain)
        names = Counter(parameter.name for axis in axes for parameter in axis.parameters)
        for name in [name for name, times in names.items() if times > 1]:
            self._complain(("design", "parameters", name), "an axis that is there already", "another name")
        if not axes and document.design is None:
            self._complain(("science", "realizations"), "nothing", "realizations, redshifts or a `design`")
        if (size := math.prod(len(axis.values) for axis in axes)) > MAX_JOBS:
            self._complain(("science", "realizations"), f"{size} jobs", f"at most {MAX_JOBS}")
        return tuple(axes)

    def _once(self, key: str, values: Sequence[float]) -> tuple[float, ...]:
        """`values` of a science axis; a complaint where one is there twice."""
        twice = [value for value, times in Counter(values).items() if times > 1]
        if twice:
            self._complain(("science", key), f"{twice[0]} twice", "each value once")
        return tuple(values)

    def _redshifts(self, redshifts: Sequence[float]) -> tuple[float, ...]:
        if len({round(z, 3) for z in redshifts}) < len(set(redshifts)):
            self._complain(
                ("science", "redshifts"), "two that agree in three decimals", "redshifts at least 0.001 apart"
            )
        return self._once("redshifts", redshifts)

    def _check_order(self, axes: tuple[Axis, ...]) -> None:
        allowed = ["shuffled", "block", *(f"{axis.name}_major" for axis in axes)]
        order = self._document.execution.order
        if order not in allowed:
            self._complain(("execution", "order"), shown(order), ", ".join(allowed), nearest(order, allowed))
        names, learned = [axis.name for axis in axes], self._document.execution.duration_axis
        if learned is not None and learned not in names:
            self._complain(("execution", "duration_axis"), shown(learned), ", ".join(names), nearest(learned, names))

    def _check_archive(self, axes: tuple[Axis, ...]) -> None:
        by, names = self._document.archive.by, [parameter.name for axis in axes for parameter in axis.parameters]
        if by is not None and by not in names:
            self._complain(("archive", "by"), shown(by), ", ".join(names), nearest(by, names))

    def _check_realizations(self, axes: tuple[Axis, ...]) -> None:
        """Refuse what needs realizations where there are none, or not so many."""
        rule, count = self._document.execution.enough, {axis.name: len(axis.values) for axis in axes}.get("realization")
        if count is not None:
            if rule is not None and rule.realizations > count:
                place = ("execution", "enough", "realizations")
                self._complain(place, shown(rule.realizations), f"at most {count}: there are no more")
            return
        if self._document.execution.missing_input == "skip_realization":
            self._complain(("execution", "missing_input"), "skip_realization, and no realizations", "skip_job, refuse")
        if rule is not None:
            self._complain(("execution", "enough"), "a rule about realizations", "nothing, or set science.realizations")

    def _check_case_files(self, axes: tuple[Axis, ...]) -> None:
        """Refuse files for each case where there are too many cases, or where a parameter is called like a column."""
        if self._document.outputs.artifacts is None:
            return
        if (size := math.prod(len(axis.values) for axis in axes)) > CASES_MAX:
            self._complain(
                ("outputs", "artifacts"), f"{size} cases", f"at most {CASES_MAX}: the dataset holds any number"
            )
        for parameter in (parameter for axis in axes for parameter in axis.parameters):
            if parameter.name in CASE_COLUMNS:
                place = ("design", "parameters", parameter.name)
                self._complain(place, "a column of run_status.csv", "another name, or no outputs.artifacts")

    def _resources(self) -> Resources:
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
        kind = machine.job_types.get(asked.job_type) or JobType()
        if asked.slots != "auto" and asked.slots < 1:
            self._complain(("resources", "slots"), shown(asked.slots), "auto, or a number >= 1")
        memory = asked.memory_per_slot or (machine.memory_requirements.get(need) if need else None)
        shape = Shape(
            ranks=asked.ranks_per_job,
            nodes=asked.nodes_per_job,
            threads=asked.threads_per_rank or kind.threads_per_rank,
            gpus_per_rank=kind.gpus_per_rank if asked.gpus_per_rank is None else asked.gpus_per_rank,
            memory_bytes=memory,
            warm=asked.warm,
        )
        self._check_shape(shape, ("resources", "ranks_per_job"))
        self._check_slurm()
        return Resources(
            cluster=asked.cluster,
            slots=None if asked.slots == "auto" else asked.slots,
            shape=shape,
            job_type=asked.job_type,
            memory_requirement=need or "",
            account=asked.account,
            machine=self._document.machine,
        )

    def _check_shape(self, shape: Shape, place: Path_) -> None:
        if shape.ranks % shape.nodes:
            self._complain(place, f"{shape.ranks} ranks on {shape.nodes} nodes", f"a multiple of {shape.nodes}")

    def _check_slurm(self) -> None:
        slurm, cluster = self._document.slurm, self._document.resources.cluster
        if slurm.nodes_min > slurm.nodes:
            self._complain(("slurm", "nodes_min"), shown(slurm.nodes_min), f"at most slurm.nodes ({slurm.nodes})")
        if cluster == "provisioned" and slurm.cpus_per_node is None:
            self._complain(
                ("slurm", "cpus_per_node"), "nothing", "the CPUs of a one-node job, for cluster: provisioned"
            )

    def _slurm(self) -> Slurm:
        asked = self._document.slurm
        return Slurm(
            nodes=asked.nodes,
            nodes_min=asked.nodes_min,
            walltime=asked.walltime,
            cpus_per_node=asked.cpus_per_node,
            memory_per_node_bytes=asked.memory_per_node,
            partition=asked.partition,
            qos=asked.qos,
            constraint=asked.constraint,
            options=tuple(asked.options),
            prologue=tuple(asked.prologue),
            mpi=asked.mpi,
            launches_per_s=asked.launches_per_s,
            give_back=asked.give_back,
        )

    def _check_shapes(self, overrides: tuple[JobOverride, ...], shape: Shape) -> None:
        """Refuse jobs whose ranks don't spread evenly."""
        for n, override in enumerate(overrides):
            self._check_shape(replace(shape, **override.shape), ("jobs", n, "resources", "ranks_per_job"))


def _numbers(realizations: int | list[int] | RealizationRange) -> list[int]:
    """The realizations that are meant."""
    match realizations:
        case int() as count:
            return list(range(count))
        case RealizationRange() as selection:
            return selection.numbers()
        case values:
            return values


def _enough(section: EnoughSection | None) -> Enough | None:
    return None if section is None else Enough(section.realizations, section.metric or "", section.tolerance)


def _rules(policy: Mapping[Policed, RuleSection]) -> dict[FailureClass, Rule]:
    """The rule of each class: that of the house, with what the configuration says otherwise."""
    own = {FailureClass(word): section.model_dump(exclude_none=True) for word, section in policy.items()}
    return {known: replace(rule, **own.get(known, {})) for known, rule in RULES.items()}
