"""What a campaign was made from: configuration, plan and provenance, frozen on the first start and compared ever after."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from campaign import durable
from campaign.core.identity import directory_name, variable_digest
from campaign.core.model import Axis
from campaign.crashpoints import reach
from campaign.errors import Code, UsageError
from campaign.layout import ARCHIVE_HEAD, Layout

if TYPE_CHECKING:
    from campaign.plan import Plan
    from campaign.ports import Generator

logger = logging.getLogger("campaign")

TEXTS_MAX = 100
"""Values of a text parameter that a manifest lists."""

FROZEN = "Frozen when the campaign was first started; `campaign run` compares against it."


def read(layout: Layout) -> dict[str, Any]:
    """The manifest of a campaign; UsageError where there is none, or where it is an archive."""
    if (layout.root / ARCHIVE_HEAD).exists():
        raise UsageError(
            Code.CAMPAIGN_MISSING,
            f"{layout.root} is the archive of a campaign",
            action=f"lay the campaign out again: campaign restore {layout.root} campaigns",
        )
    try:
        return told(layout)
    except FileNotFoundError:
        rounds = sorted(path.parent for path in layout.root.glob("*_iteration_*/metadata"))
        if rounds:
            raise UsageError(
                Code.CAMPAIGN_MISSING,
                f"{layout.root} is a calibration: each of its rounds is a campaign",
                action=f"name one of them, such as {rounds[-1]}, or look at {layout.root}/best_parameters.json",
            ) from None
        raise UsageError(
            Code.CAMPAIGN_MISSING,
            f"there is no campaign in {layout.root}",
            action="check the path (a relative one begins where you are), or start it: campaign run CONFIG",
        ) from None


def told(layout: Layout) -> dict[str, Any]:
    """The manifest of a campaign or of an archive; FileNotFoundError where there is none."""
    manifest: dict[str, Any] = json.loads(layout.manifest.read_text())
    return manifest


def stages_of(layout: Layout) -> list[Layout]:
    """Its stages as they are declared now; what a stage was before it was declared otherwise is kept beside it under another name."""
    found = [Layout(path.parents[1]) for path in sorted(layout.root.glob("stages/*/metadata/manifest.json"))]
    known = [(place, told(place)) for place in found]
    return [place for place, head in known if place.root.name == directory_name(head["version"], head["name"])]


def freeze(plan: Plan, layout: Layout, generator: Generator) -> None:
    """Write configuration, plan and manifest on the first start, and again when the campaign has grown.

    Another science is refused, with the difference. The manifest is written last: until then nothing has changed.
    """
    from campaign.config.source import yaml_text

    known = read(layout) if layout.manifest.exists() else None
    if known is not None and not grows(plan, layout, known):
        compare(plan, layout, generator)
        if not zipfile.is_zipfile(layout.plan):
            _save_plan(plan, layout)
        _renew(plan, layout, generator, known)
        return
    _save_plan(plan, layout)
    reach("freeze.planned")
    durable.write_bytes(layout.config, yaml_text(plan.config.document, FROZEN).encode())
    from campaign.adapters import provenance

    durable.write_json(layout.manifest, _content(plan, layout, generator, known, provenance.stamp(type(generator))))


def _renew(plan: Plan, layout: Layout, generator: Generator, known: Mapping[str, Any]) -> None:
    """Write configuration and manifest again where other quantities are measured, or stages are declared otherwise."""
    from campaign.config.source import yaml_text

    measured, stages = _variables(plan, generator), dict(plan.config.stages)
    if known.get("variables") == measured and known.get("stages", {}) == stages:
        return
    durable.write_bytes(layout.config, yaml_text(plan.config.document, FROZEN).encode())
    fresh = {"configuration": plan.config.document, "configuration_sha256": durable.sha256_of(layout.config)}
    durable.write_json(layout.manifest, {**known, **fresh, "variables": measured, "stages": stages})
    if known.get("variables", measured) != measured:
        logger.warning(
            "%s measures other quantities than before; campaign measure fills in what is missing", layout.root
        )


def _content(
    plan: Plan, layout: Layout, generator: Generator, known: Mapping[str, Any] | None, stamp: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest; of a campaign that has grown, what was known keeps saying who began it, with what."""
    document = plan.config.document
    first = stamp if known is None else {key: known[key] for key in stamp if key in known}
    grown = (
        [] if known is None else [*known.get("grown", ()), {"from_jobs": known["jobs"], "to_jobs": plan.size, **stamp}]
    )
    return {
        "schema_version": 1,
        **first,
        "name": plan.config.name,
        "version": plan.config.version,
        "generator": generator.name,
        "generator_version": generator.version if known is None else known["generator_version"],
        "jobs": plan.size,
        "method": document["design"]["method"] if "design" in document else "grid",
        "axes": {axis.name: _extent(axis) for axis in plan.grid.axes},
        "parameters": {
            parameter.name: _extent(parameter) | _declared(parameter.name, document)
            for parameter in plan.grid.parameters
        },
        "naming_scheme": plan.config.naming_scheme,
        "variables": _variables(plan, generator),
        "stages": dict(plan.config.stages),
        "configuration_sha256": durable.sha256_of(layout.config),
        "plan_fingerprint": plan.fingerprint,
        "grown": grown,
        "configuration": document,
    }


def measures_otherwise(plan: Plan, layout: Layout, generator: Generator) -> bool:
    """Whether values that jobs have measured so far mean something else than what has their names now."""
    known = read(layout).get("variables", {})
    return any(known.get(name, digest) != digest for name, digest in _variables(plan, generator).items())


def _variables(plan: Plan, generator: Generator) -> dict[str, str]:
    """What each measured variable means."""
    return {variable.name: variable_digest(variable) for variable in generator.variables(plan.config.options)}


def _extent(axis: Axis) -> dict[str, Any]:
    """How far an axis or a parameter reaches; of texts, the first of them."""
    extent: dict[str, Any] = {"size": len(axis.values), "units": axis.units}
    if any(isinstance(value, str) for value in axis.values):
        return {**extent, "values": list(dict.fromkeys(str(value) for value in axis.values))[:TEXTS_MAX]}
    return {**extent, "min": min(axis.values), "max": max(axis.values)}


def _declared(name: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """The rule by which the values of a parameter were chosen, where there is one."""
    given = document.get("design", {}).get("parameters", {}).get(name)
    values = given["values"] if isinstance(given, Mapping) else given
    return {"declared": values} if isinstance(values, str) else {}


def grows(plan: Plan, layout: Layout, known: Mapping[str, Any] | None = None) -> bool:
    """Whether a plan holds every job of the campaign in `layout`, and more; at the end, where names are numbers."""
    known = read(layout) if known is None else known
    if known["naming_scheme"] != plan.config.naming_scheme or plan.size <= known["jobs"]:
        return False
    there = fingerprints(layout)
    if "{job}" in plan.config.naming_scheme:
        return bool(np.array_equal(there, plan.fingerprints[: len(there)]))
    return bool(np.isin(there, plan.fingerprints).all())


def fingerprints(layout: Layout) -> npt.NDArray[np.bytes_]:
    """Task fingerprints of the frozen plan, (n,), in design order."""
    try:
        with np.load(layout.plan, allow_pickle=False) as columns:
            found: npt.NDArray[np.bytes_] = columns["task_fingerprint"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError(
            Code.FORMAT_DAMAGED,
            f"{layout.plan} can't be read: {error}",
            action=f"start the campaign as it is, which writes it again: campaign run {layout.root}; then let it grow",
        ) from error
    return found


def compare(plan: Plan, layout: Layout, generator: Generator) -> None:
    """Refuse a plan that computes something else than the campaign in `layout`, with the difference."""
    known = read(layout)
    if known["plan_fingerprint"] != plan.fingerprint or known["naming_scheme"] != plan.config.naming_scheme:
        raise UsageError(
            Code.CONFIG_CHANGED,
            f"{layout.root} was made from another configuration:\n{_difference(known['configuration'], plan.config.document, generator.incidental)}",
            action=f"restore these keys, or make a new version of it: add --set campaign.version={next_version(known['version'])}"
            "; where nothing in it is worth keeping, campaign build CONFIG --force puts it aside"
            + ("; campaign run lets it grow, if that is what you want" if grows(plan, layout, known) else ""),
        )
    if known["generator_version"] != generator.version:
        logger.warning(
            "generator %s is version %s now; the campaign was begun with %s. Each record says which made it.",
            generator.name, generator.version, known["generator_version"],
        )  # fmt: skip


def next_version(version: str) -> str:
    """The version after `v1.3`: `v1.4`; after `v2`: `v3`."""
    head, dot, last = version.rpartition(".")
    return f"{head}.{int(last) + 1}" if dot else f"v{int(version[1:]) + 1}"


def _save_plan(plan: Plan, layout: Layout) -> None:
    buffer = io.BytesIO()
    np.savez(
        buffer, order=plan.order, seed=plan.seeds, task_fingerprint=plan.fingerprints, variant=plan.variant_of,
        resolved_config_hash=np.array([v.config_hash.encode() for v in plan.variants]),
    )  # fmt: skip
    durable.write_bytes(layout.plan, buffer.getvalue())


def _difference(old: Mapping[str, Any], new: Mapping[str, Any], incidental: tuple[str, ...]) -> str:
    """The keys that differ, a line each; what may change on a resume is left out."""
    lines = [f"  {line}" for line in differences(old, new, but=("campaign.description", *incidental))]
    return "\n".join(lines) or "  the generator's own defaults have changed"


FREE = (
    "execution.",
    "resources.",
    "slurm.",
    "registry.",
    "notify.",
    "archive.",
    "cleanup.",
    "machine",
    "outputs.base_path",
)
"""Beginnings of keys that may change from one start to the next."""


def differences(old: Mapping[str, Any], new: Mapping[str, Any], but: Sequence[str] = ()) -> list[str]:
    """The keys in which two configurations differ, a line each, without those that are free, and those named by `but` or below one of its names."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    changed = [k for k in before.keys() | after.keys() if before.get(k) != after.get(k)]
    keys = sorted(k for k in changed if not k.startswith(FREE) and k not in but and not set(k.split(".")) & set(but))
    return [f"{k}: {before.get(k, 'absent')!r} -> {after.get(k, 'absent')!r}" for k in keys]


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree
