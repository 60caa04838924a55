"""What of a campaign may go: caches, old scraps, and products that are whole in an archive; and what the centre will remove by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from campaign import durable, opening
from campaign.adapters.artifacts import ArtifactStore
from campaign.analyse import audit as auditing
from campaign.archive import elsewhere, index
from campaign.archive.make import archives_of
from campaign.core.handover import DAY_S, Cleanup, Purge, purged_within
from campaign.core.model import Config, State
from campaign.errors import CampaignError
from campaign.layout import Layout
from campaign.plan import Plan
from campaign.products import files_of

KINDS = {"cache": "cache", "quarantine": "quarantine", "logs": "log"}
"""Kind of a file by the directory in which it lies."""

WARNED_DAYS = 7.0
"""How long before the centre removes a file somebody is told."""


@dataclass(frozen=True, slots=True)
class Removable:
    """A file that the policy lets go."""

    path: Path
    kind: str  # cache, orphan, quarantine, log, product
    size_bytes: int
    sha256: str = ""  # of a product
    copy: str = ""  # of a product: the file in an archive that is the same


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a campaign found."""

    removable: tuple[Removable, ...]
    kept: tuple[str, ...]  # why something is not, that the policy would let go
    purge: Purge | None  # what the centre removes within days


def look(config: Config, now_s: float | None = None) -> Look:
    """What the policy of a campaign lets go, from names, sizes and times; nothing is written."""
    now_s = time.time() if now_s is None else now_s
    layout, policy = Layout(Path(config.directory)), config.cleanup
    kept: list[str] = []
    plan, _, _ = opening.opened(layout.root)
    found = [*_scraps(layout, policy, now_s)]
    if policy.orphans:
        found += _orphans(plan, layout)
    if policy.archived_products:
        found += _archived(plan, layout, kept)
    purge = None
    if policy.purge_days is not None:
        purge = purged_within(_last_used(layout), policy.purge_days, now_s + WARNED_DAYS * DAY_S)
    return Look(tuple(found), tuple(kept), purge)


def remove(config: Config, told: Callable[[int, int], None] = lambda *_: None) -> tuple[list[Removable], list[str]]:
    """(what was removed, why other things were not); LockedError while the campaign runs.

    What is in an archive is read there once more before it goes, and that it is there is written down first.
    """
    layout = Layout(Path(config.directory))
    gone: list[Removable] = []
    size = 0
    with opening.alone(layout):
        found = look(config)
        refused = list(found.kept)
        for one in found.removable:
            if one.copy:
                if not _is_whole(one):
                    refused.append(f"{one.path}: {one.copy} is not the same; campaign archive --checksum mends it")
                    continue
                elsewhere.write_down(layout, str(one.path.relative_to(layout.root)), one.copy)
            one.path.unlink()
            gone.append(one)
            size += one.size_bytes
            told(len(gone), size)
    return gone, refused


def _is_whole(one: Removable) -> bool:
    """Whether the copy of a product is what was recorded."""
    try:
        return durable.sha256_of(Path(one.copy)) == one.sha256
    except OSError:
        return False


def _scraps(layout: Layout, policy: Cleanup, now_s: float) -> Iterator[Removable]:
    """Caches, and old files that were set aside or logged."""
    ages = {"cache": 0.0 if policy.cache else None, "quarantine": policy.quarantine_days, "logs": policy.logs_days}
    for name, days in ages.items():
        if days is None:
            continue
        for path in files_of(layout.root / name):
            status = path.stat()
            if now_s - status.st_mtime >= days * DAY_S:
                yield Removable(path, KINDS[name], status.st_size)


def _orphans(plan: Plan, layout: Layout) -> Iterator[Removable]:
    """Files among the products that no record stands for."""
    artifacts = ArtifactStore(layout.root)
    table = auditing.read_truth(plan, artifacts).table
    known = {product.path for _, product in auditing.products_of(plan, artifacts, table)}
    for path in files_of(layout.catalogs):
        if str(path.relative_to(layout.root)) not in known:
            yield Removable(path, "orphan", path.stat().st_size)


def _archived(plan: Plan, layout: Layout, kept: list[str]) -> Iterator[Removable]:
    """Products that an archive holds; none while a stage may still need them."""
    for stage in sorted(layout.root.glob("stages/*/metadata/manifest.json")):
        own, _, place = opening.opened(stage.parents[1])
        if not (auditing.read_truth(own, ArtifactStore(place.root)).table.state == State.COMPLETED).all():
            kept.append(f"products: the stage in {place.root} is not complete and may need them")
            return
    artifacts = ArtifactStore(layout.root)
    table = auditing.read_truth(plan, artifacts).table
    copies = _copies(layout, kept)
    for _, product in auditing.products_of(plan, artifacts, table):
        path = layout.inside(product.path)
        home = copies.get((product.path, product.sha256))
        if home is not None and path.exists():
            yield Removable(path, "product", product.size_bytes, product.sha256, home)


def _copies(layout: Layout, kept: list[str]) -> dict[tuple[str, str], str]:
    """(product, SHA-256) -> an archive that has it, under the name that it has there."""
    found: dict[tuple[str, str], str] = {}
    for known in archives_of(layout):
        root = Path(known["directory"])
        try:
            for entry in index.read_entries(root):
                if entry.kind == "product":
                    found[entry.source, entry.sha256] = str(root / entry.path)
        except (CampaignError, OSError) as error:
            kept.append(f"products: {error.message if isinstance(error, CampaignError) else error}")
    return found


def _last_used(layout: Layout) -> Iterator[tuple[float, int]]:
    """(when it was last used, bytes) of every file of a campaign."""
    for directory, _, names in os.walk(layout.root):
        for name in names:
            with suppress(FileNotFoundError):
                status = os.lstat(Path(directory) / name)
                yield max(status.st_atime, status.st_mtime), status.st_size
