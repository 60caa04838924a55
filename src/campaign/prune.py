"""What of a campaign may go: caches, old scraps, and products that are whole in an archive; and what the centre will remove by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from campaign import durable, manifest, opening
from campaign.adapters.artifacts import ArtifactStore
from campaign.analyse import audit as auditing
from campaign.archive import elsewhere, index
from campaign.archive.copying import Told
from campaign.archive.make import archives_of
from campaign.core.handover import DAY_S, Cleanup, Purge, purged_within
from campaign.core.lifecycle import JobTable
from campaign.core.model import Config, State
from campaign.errors import CampaignError
from campaign.layout import Layout
from campaign.plan import Plan
from campaign.products import files_of
from campaign.stages import directory_of

KINDS = {"cache": "cache", "quarantine": "quarantine", "logs": "log"}
"""Kind of a file by the directory in which it lies."""

TOGETHER = 256
"""Files that are written down, and then removed, at a time."""

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
    plan, _, layout = opening.opened(Path(config.directory))
    removable, kept = _let_go(config, plan, layout, now_s)
    days, purge = config.cleanup.purge_days, None
    if days is not None:
        purge = purged_within(_last_used(layout), days, now_s + WARNED_DAYS * DAY_S)
    return Look(tuple(removable), tuple(kept), purge)


def _let_go(config: Config, plan: Plan, layout: Layout, now_s: float) -> tuple[list[Removable], list[str]]:
    """(what the policy lets go, why other things stay that it would)."""
    policy, kept = config.cleanup, list[str]()
    found = [*_scraps(layout, policy, now_s)]
    if policy.orphans or policy.archived_products:
        books = _books(plan, layout)
        kept += books.doubts
        found += _orphans(books, layout) if policy.orphans and not books.doubts else []
        found += _archived(config, books, layout, kept) if policy.archived_products and not books.doubts else []
    return found, kept


def remove(config: Config, told: Told = lambda *_: None) -> tuple[list[Removable], list[str]]:
    """(what was removed, why other things were not); LockedError while the campaign runs.

    What an earlier run left is settled first, so that nothing is taken for an orphan that is not. What is in an archive is read there once
    more before it goes, and that it is there is written down first.
    """
    plan, generator, layout = opening.opened(Path(config.directory))
    gone: list[Removable] = []
    size = 0
    with opening.committing(plan, generator, layout):
        removable, refused = _let_go(config, plan, layout, time.time())
        files = iter(removable)
        while some := list(islice(files, TOGETHER)):
            sure = [one for one in some if not one.copy or _is_whole(one)]
            refused += [
                f"{one.path}: {one.copy} is not the same; campaign archive --checksum mends it"
                for one in some
                if one not in sure
            ]
            elsewhere.write_down(
                layout,
                [
                    elsewhere.Copy(str(one.path.relative_to(layout.root)), one.sha256, one.copy)
                    for one in sure
                    if one.copy
                ],
            )
            for one in sure:
                one.path.unlink()
                gone.append(one)
                size += one.size_bytes
            told(len(gone), size)
    return gone, refused


@dataclass(frozen=True, slots=True)
class _Books:
    """What the committed records of a campaign say, and why they can't be relied on."""

    plan: Plan
    artifacts: ArtifactStore
    table: JobTable
    doubts: tuple[str, ...]


def _books(plan: Plan, layout: Layout) -> _Books:
    artifacts = ArtifactStore(layout.root)
    truth = auditing.read_truth(plan, artifacts)
    doubts = [f"products: {finding.where}: {finding.what}" for finding in truth.findings]
    if manifest.read(layout)["plan_fingerprint"] != plan.fingerprint:
        doubts.append("products: the campaign was made from another configuration than this program reads from it")
    if artifacts.staged() or any(path.stat().st_size for path in layout.root.glob("staging/journal*/*.jsonl")):
        doubts.append(
            "products: a run was broken off, or goes on; what it left is settled by --remove, or by campaign consolidate"
        )
    return _Books(plan, artifacts, truth.table, tuple(doubts))


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
        for path in () if (layout.root / name).is_symlink() else files_of(layout.root / name):
            status = path.stat()
            if now_s - status.st_mtime >= days * DAY_S:
                yield Removable(path, KINDS[name], status.st_size)


def _orphans(books: _Books, layout: Layout) -> Iterator[Removable]:
    """Files among the products that no record stands for."""
    known = {product.path for _, product in auditing.products_of(books.plan, books.artifacts, books.table)}
    for path in files_of(layout.catalogs):
        if str(path.relative_to(layout.root)) not in known:
            yield Removable(path, "orphan", path.stat().st_size)


def _archived(config: Config, books: _Books, layout: Layout, kept: list[str]) -> Iterator[Removable]:
    """Products that an archive holds; none while a stage may still need them."""
    why = _needed(config, layout)
    if why:
        kept.append(f"products: {why}")
        return
    copies = _copies(layout, kept)
    if not copies:
        kept.append("products: no archive that holds them is known; campaign archive makes one")
    for _, product in auditing.products_of(books.plan, books.artifacts, books.table):
        path = layout.inside(product.path)
        home = copies.get((product.path, product.sha256))
        if home is not None and path.exists():
            yield Removable(path, "product", product.size_bytes, product.sha256, home)


def _needed(config: Config, layout: Layout) -> str:
    """Why products are still needed; empty where they are not."""
    if dict(config.stages) != manifest.read(layout).get("stages", {}):
        return "its stages are declared otherwise than in the latest run, and may need them"
    for name in config.stages:
        place = Path(directory_of(config, name))
        if not Layout(place).manifest.exists():
            return f"the stage {name} has not begun, and may need them"
        own, _, _ = opening.opened(place)
        if not (auditing.read_truth(own, ArtifactStore(place)).table.state == State.COMPLETED).all():
            return f"the stage {name} is not complete, and may need them"
    return ""


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
            kept.append(
                f"products: an archive is not there now: {error.message if isinstance(error, CampaignError) else error}"
            )
    return found


def _last_used(layout: Layout) -> Iterator[tuple[float, int]]:
    """(when it was last used, bytes) of every file of a campaign."""
    for directory, _, names in os.walk(layout.root):
        for name in names:
            with suppress(FileNotFoundError):
                status = os.lstat(Path(directory) / name)
                yield max(status.st_atime, status.st_mtime), status.st_size
