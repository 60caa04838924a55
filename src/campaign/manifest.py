"""What a campaign was made from: configuration, plan and provenance, frozen on the first start and compared ever after."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from campaign import durable
from campaign.adapters import provenance
from campaign.errors import Code, UsageError
from campaign.layout import Layout
from campaign.plan import Plan
from campaign.ports import Generator

logger = logging.getLogger("campaign")


def read(layout: Layout) -> dict[str, Any]:
    """The manifest of a campaign; UsageError where there is none."""
    try:
        manifest: dict[str, Any] = json.loads(layout.manifest.read_text())
    except FileNotFoundError:
        raise UsageError(
            Code.CAMPAIGN_MISSING,
            f"there is no campaign in {layout.root}",
            action="check the path (a relative one begins where you are), or start it: campaign run CONFIG",
        ) from None
    return manifest


def freeze(plan: Plan, layout: Layout, generator: Generator) -> None:
    """Write configuration, plan and manifest on the first start; refuse another science afterwards, with the difference."""
    document = plan.config.document
    if layout.manifest.exists():
        compare(plan, layout, generator)
        return
    _save_plan(plan, layout)
    durable.write_bytes(layout.config, _yaml(document))
    durable.write_json(
        layout.manifest,
        {
            "schema_version": 1,
            **provenance.stamp(type(generator)),
            "name": plan.config.name,
            "version": plan.config.version,
            "generator": generator.name,
            "generator_version": generator.version,
            "jobs": plan.size,
            "method": "grid",
            "axes": {
                a.name: {"size": len(a.values), "min": min(a.values), "max": max(a.values)} for a in plan.grid.axes
            },
            "naming_scheme": plan.config.naming_scheme,
            "configuration_sha256": durable.sha256_of(layout.config),
            "plan_fingerprint": plan.fingerprint,
            "configuration": document,
        },
    )


def compare(plan: Plan, layout: Layout, generator: Generator) -> None:
    """Refuse a plan that computes something else than the campaign in `layout`, with the difference."""
    known = read(layout)
    if known["plan_fingerprint"] != plan.fingerprint or known["naming_scheme"] != plan.config.naming_scheme:
        raise UsageError(
            Code.CONFIG_CHANGED,
            f"{layout.root} was made from another configuration:\n{_difference(known['configuration'], plan.config.document, generator.incidental)}",
            action="restore these keys, or give the campaign a new `campaign.version`",
        )
    if known["generator_version"] != generator.version:
        logger.warning(
            "generator %s is version %s now; the campaign was begun with %s. Each record says which made it.",
            generator.name, generator.version, known["generator_version"],
        )  # fmt: skip


def _save_plan(plan: Plan, layout: Layout) -> None:
    buffer = io.BytesIO()
    np.savez(
        buffer, order=plan.order, seed=plan.seeds, task_fingerprint=plan.fingerprints, variant=plan.variant_of,
        resolved_config_hash=np.array([v.config_hash.encode() for v in plan.variants]),
    )  # fmt: skip
    durable.write_bytes(layout.plan, buffer.getvalue())


def _yaml(document: Mapping[str, Any]) -> bytes:
    from ruamel.yaml import YAML

    buffer = io.BytesIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.dump(json.loads(json.dumps(document)), buffer)
    return b"# Frozen when the campaign was first started; `campaign run` compares against it.\n" + buffer.getvalue()


def _difference(old: Mapping[str, Any], new: Mapping[str, Any], incidental: tuple[str, ...]) -> str:
    """The keys that differ, a line each; what may change on a resume is left out."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    free = ("execution.", "resources.", "slurm.", "machine", "campaign.description", "outputs.base_path")
    changed = [k for k in before.keys() | after.keys() if before.get(k) != after.get(k)]
    keys = sorted(k for k in changed if not k.startswith(free) and k.rpartition(".")[2] not in incidental)
    return "\n".join(f"  {k}: {before.get(k, 'absent')!r} -> {after.get(k, 'absent')!r}" for k in keys) or (
        "  the generator's own defaults have changed"
    )


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree
