"""Stages of a campaign: each is a campaign of its own below it, and their jobs are executed among those whose results they need.

A stage has its own plan, artifacts, ledger and dataset in `stages/`, so that everything that is true of a campaign is true of it. While a run goes on, the
jobs of the campaign and of its stages are numbered one after another; what is committed is sorted out again. A job of a stage may start when everything
that it needs is in the dataset.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from campaign import manifest
from campaign.adapters.journal import JournalDirectory
from campaign.adapters.local import SystemClock
from campaign.config.stages import PREVIEW, PRODUCTS
from campaign.core import identity
from campaign.core.model import STAGE, Config, Record, State, Variable
from campaign.errors import Code, UsageError
from campaign.generators import find
from campaign.layout import Layout
from campaign.opening import lay_out, move_aside, recover, writing
from campaign.parts import Part, Parts, below, needs_of
from campaign.plan import Plan
from campaign.ports import Begun, Journals
from campaign.shards import abandoned_journals

if TYPE_CHECKING:
    from campaign.gather import Gatherer
    from campaign.ports import Generator


logger = logging.getLogger("campaign")

ALL = "all"
"""The only axis of a stage that reduces over the only axis there is."""


def names(config: Config) -> list[str]:
    """Names of the stages, in order."""
    return list(config.stages)


def stage_config(config: Config, name: str, *, preview: bool = False) -> Config:
    """The configuration of a stage, as that of a campaign below `stages/`; of a preview, with whatever members there are."""
    if name not in config.stages:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"there is no stage {name!r}",
            action=f"name one of: {', '.join(config.stages) or 'there is none'}",
        )
    declared = config.stages[name]
    own = f"{PREVIEW}{name}" if preview else name
    base = str(Path(config.directory) / "stages")
    over, before = declared["reduce"], declared["apply"]
    options = find(STAGE).options(
        kind="reduce" if over else "apply", call=declared["call"], needs=declared["needs"], over=over or "realization",
        at_least=1e-9 if preview else declared["at_least"], arguments=declared["arguments"], returns=declared["returns"],
        suffix=declared["suffix"], code_version=declared["code_version"], of=config.directory, here=declared["here"],
        after=directory_of(config, before) if before not in (None, PRODUCTS) else "",
    ).model_dump(mode="json")  # fmt: skip
    document = _document(config, own, over, options, base)
    axes = tuple(axis for axis in config.axes if axis.name != over) or (_only(),)
    scheme = identity.naming_scheme(None, [parameter.name for axis in axes for parameter in axis.parameters])
    document["outputs"]["naming_scheme"] = scheme
    resources = replace(
        config.resources, shape=replace(config.resources.shape, ranks=1, nodes=1, gpus_per_rank=0, warm=True)
    )
    return replace(
        config, name=own, description=document["campaign"]["description"], axes=axes, generator=STAGE, options=options, overrides=(),
        execution=replace(config.execution, duration_axis=axes[-1].name, order="shuffled", enough=None, missing_input="skip_job"),
        resources=resources, directory=directory_of(config, own), naming_scheme=scheme, document=document,
        registration=None, notify=None, has_case_files=False, stages={},
    )  # fmt: skip


def directory_of(config: Config, name: str) -> str:
    """Where a stage lies."""
    return str(Path(config.directory) / "stages" / identity.directory_name(config.version, name))


def _only() -> Any:
    from campaign.core.model import Axis

    return Axis(ALL, (0,))


def _document(config: Config, own: str, over: str | None, options: Mapping[str, Any], base: str) -> dict[str, Any]:
    """The YAML of a stage, from which it can be opened again."""
    known = config.document
    science = {key: value for key, value in known["science"].items() if key in ("realizations", "redshifts", "seed")}
    science.pop({"realization": "realizations", "redshift": "redshifts"}.get(over or "", ""), None)
    document: dict[str, Any] = {
        "campaign": {"name": own, "version": config.version, "description": f"stage {own} of {config.name}"},
        "science": science, "generator": STAGE, "strategy": {"overrides": {STAGE: dict(options)}},
        "execution": {**known["execution"], "order": "shuffled", "missing_input": "skip_job"},
        "resources": {**known["resources"], "ranks_per_job": 1, "nodes_per_job": 1, "gpus_per_rank": 0}, "outputs": {"base_path": base},
        "machine": known["machine"],
    }  # fmt: skip
    document["execution"].pop("enough", None)
    document["execution"].pop("duration_axis", None)
    if "design" in known and (design := _without(known["design"], config, over)):
        document["design"] = design
    if not (set(science) - {"seed"} or "design" in document):
        document["design"] = {"method": "grid", "parameters": {ALL: [0]}}
    return document


def _without(design: Mapping[str, Any], config: Config, over: str | None) -> dict[str, Any]:
    """The section `design` without an axis, which may be of several parameters; empty where nothing is left."""
    own = {*design["parameters"], *(name for case in design.get("cases", ()) for name in case)}
    gone = own & {parameter.name for axis in config.axes if axis.name == over for parameter in axis.parameters}
    left = {name: given for name, given in design["parameters"].items() if name not in gone}
    if gone and design["method"] != "grid":
        left = {}  # its cases are one axis
    if not left and not (design.get("cases") and not gone):
        return {}
    groups = [group for group in design.get("together", []) if not set(group) & gone]
    return {**design, "parameters": left, **({"together": groups} if "together" in design else {})}


@contextlib.contextmanager
def opened(plan: Plan, generator: Generator, gatherer: Gatherer, layout: Layout) -> Iterator[Parts]:
    """A campaign, held by us, with its stages: all are recovered, the campaign last, since what is recovered is removed from the journals."""
    parts = [Part("", plan, gatherer, 0)]
    journals = JournalDirectory(layout.journals, *abandoned_journals(layout))
    with contextlib.ExitStack() as stack:
        for name in names(plan.config):
            config, maker = stage_config(plan.config, name), find(STAGE)
            _refuse_unknown(name, config, generator.variables(plan.config.options))
            own = lay_out(config, maker)
            _put_aside_what_is_another(own, Layout(Path(config.directory)))
            writer = stack.enter_context(writing(own, maker, Layout(Path(config.directory))))
            offset = parts[-1].offset + parts[-1].plan.size
            writer.recover(_PartOfJournals(journals, own, offset, below(plan.config, config)))
            parts.append(Part(name, own, writer, offset))
        recover(gatherer, layout, stages=False)
        gatherer.mark_missing(plan.missing, SystemClock().now_ms())
        gatherer.flush()
        for part in parts[1:]:
            part.gatherer.mark_missing((), SystemClock().now_ms())  # what lacked an input looks again
        whole = Parts(parts)
        for part in parts[1:]:
            _send_back(part, {**_unfinished(whole, part), **_changed(plan.config, part)})
        yield whole
        for part in parts:
            part.gatherer.flush()


def _refuse_unknown(name: str, config: Config, measured: Sequence[Variable]) -> None:
    """UsageError where a stage needs what nobody measures."""
    known = [variable.name for variable in measured]
    unknown = [need for need in config.options["needs"] if need not in known]
    if unknown:
        raise UsageError(
            Code.CONFIG_INVALID, f"stage {name!r} needs {unknown[0]!r}, which is not measured",
            action=f"name some of: {', '.join(known)}",
        )  # fmt: skip


def _put_aside_what_is_another(plan: Plan, layout: Layout) -> None:
    """Keep what a stage has made under an earlier declaration, and begin anew."""
    if not layout.manifest.exists() or manifest.grows(plan, layout):
        return
    if manifest.read(layout)["plan_fingerprint"] == plan.fingerprint:
        return
    number = 1
    while (aside := layout.root.with_name(f"{layout.root.name}.was_{number}")).exists():
        number += 1
    move_aside(layout, aside)
    logger.warning(
        "stage %s is declared otherwise now: it begins anew; what it has made is kept in %s", plan.config.name, aside
    )


def refresh(config: Config, name: str) -> Config:
    """The configuration of a preview of a stage, whose results of earlier looks are sent back where more has come in since."""
    preview, generator = stage_config(config, name, preview=True), find(STAGE)
    if preview.options["kind"] != "reduce":
        raise UsageError(
            Code.CONFIG_INVALID, f"stage {name!r} is applied to products one by one", action="name a stage that reduces"
        )
    plan, layout = lay_out(preview, generator), Layout(Path(preview.directory))
    _put_aside_what_is_another(plan, layout)
    with writing(plan, generator, layout) as writer:
        recover(writer, layout)
        part = Part(preview.name, plan, writer, 0)
        _send_back(part, _changed(config, part))
    return preview


class _PartOfJournals(Journals):
    """The lines of journals that are about the jobs of one stage, as it numbers them; nothing is removed."""

    def __init__(self, journals: Journals, plan: Plan, offset: int, directory: str) -> None:
        self._journals, self._plan, self._offset, self._directory = journals, plan, offset, directory

    def read(self, worker: str | None = None) -> Iterator[Begun | Record]:
        """Its lines."""
        for entry in self._journals.read(worker):
            if isinstance(entry, Record):
                job = self._plan.find(entry.task_fingerprint)
                if job is not None:
                    yield replace(entry, job=job)
            elif entry.directory == self._directory and 0 <= entry.job - self._offset < self._plan.size:
                yield replace(entry, job=entry.job - self._offset, directory="")

    def clear(self) -> None:
        """Others may need them."""


def _done(part: Part) -> list[int]:
    return np.flatnonzero(part.gatherer.table.state == State.COMPLETED).tolist()


def _unfinished(parts: Parts, part: Part) -> dict[int, str]:
    """Completed jobs of a stage some of whose inputs will be made in this run, with the reason to make them again."""
    done = _done(part)
    states, needs = np.concatenate([one.gatherer.table.state for one in parts.parts]), needs_of(parts, part)
    again = (states[needs[done]] == State.PENDING).any(axis=1).tolist()
    return {job: "what it is made of is not complete any more" for job, make in zip(done, again, strict=True) if make}


def _changed(config: Config, part: Part) -> dict[int, str]:
    """Completed jobs of a stage whose inputs are not what they were, with the reason to make them again."""
    done = _done(part)
    if not done:
        return {}
    from campaign.generators import stage

    part.gatherer.flush()
    options, campaign = part.plan.config.options, stage.opened(config.directory)
    recorded = stage.opened(part.plan.config.directory)[stage.FINGERPRINT].to_numpy().reshape(-1).tolist()
    if options["kind"] == "reduce":
        needs = options["needs"] or stage.measured(campaign)
        loaded = campaign[[*stage.INGREDIENTS, "status", *needs]].load()
        now = {
            job: stage.ingredients(
                stage.there(stage.at_point(loaded, part.plan.point(job)), options["over"], needs), needs
            )
            for job in done
        }
    else:
        columns = [campaign[name].to_numpy().reshape(-1).tolist() for name in stage.INGREDIENTS]
        before = _fingerprints_before(config, part)
        now = {job: [str(column[job]) for column in columns] + before[job : job + 1] for job in done}
    return {job: "what it was made of has changed" for job in done if stage.fingerprint(now[job]) != str(recorded[job])}


def _fingerprints_before(config: Config, part: Part) -> list[str]:
    """Of what is applied to products: the fingerprint of the result that went in for each job; empty where there is none."""
    from campaign.generators import stage

    after = part.plan.config.options["after"]
    if not after:
        return []
    before = stage.opened(after)
    axes = [axis.name for axis in config.axes]
    over = next(axis for axis, name in enumerate(axes) if name not in before["status"].dims)
    shape = [len(axis.values) for axis in config.axes]
    found = before[stage.FINGERPRINT].to_numpy().astype(object)
    lengths = [length for axis, length in enumerate(shape) if axis != over]
    spread = np.broadcast_to(np.expand_dims(found.reshape(lengths), over), shape)
    return [str(text) for text in spread.reshape(-1).tolist()]


def _send_back(part: Part, why: Mapping[int, str]) -> None:
    """Have results of a stage made again."""
    for job in why:
        if product := part.plan.product(job):
            (Path(part.plan.config.directory) / product).unlink(missing_ok=True)
    if why:
        logger.warning(
            "stage %s: %d results are made again, since what they are made of has changed", part.name, len(why)
        )
        part.gatherer.revoke(list(why), SystemClock().now_ms(), why)
