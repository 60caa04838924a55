"""A campaign out of its archive: laid out as it was, ready to be looked at, and to go on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from campaign import durable
from campaign.archive import index, zipped
from campaign.archive.check import TOGETHER
from campaign.archive.copying import Access, Pace, copy
from campaign.archive.index import Entry
from campaign.archive.make import Told, threads
from campaign.errors import Code, FormatError, ProductError, UsageError
from campaign.layout import Layout
from campaign.manifest import read as read_manifest


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done."""

    directory: str
    files: int
    size_bytes: int
    kept: int  # files that were there whole


def restore(
    root: Path, base: Path, *, products: bool = True, bytes_per_s: float | None = None, told: Told = lambda *_: None
) -> Restored:
    """Lay out a campaign again below `base`; without `products`, only what is needed to look at it and to extend it.

    Killed and started again, it goes on. Of a campaign that stands there, products that it lacks are brought back, and nothing else.
    UsageError where that is another one, FormatError where a file of the archive is damaged.
    """
    head = index.read_head(root)
    layout = Layout(base.absolute() / head["campaign"])
    exists = layout.manifest.exists()
    if exists and read_manifest(layout)["created"] != head["begun"]:
        raise UsageError(
            Code.CAMPAIGN_EXISTS, f"there is another campaign in {layout.root}", action="restore into another directory"
        )
    pace = Pace(bytes_per_s)
    entries = (entry for entry in index.read_entries(root) if entry.source and (products or entry.kind != "product"))
    if exists:
        return _filled(root, layout, entries, pace, told)
    return _laid_out(root, layout, entries, pace, told)


def _filled(root: Path, layout: Layout, entries: Iterator[Entry], pace: Pace, told: Told) -> Restored:
    """Bring products back that a campaign lacks; everything else is newer there than here."""
    files = size = 0
    lacking = (entry for entry in entries if entry.kind == "product" and not layout.inside(entry.source).exists())
    for entry, _ in _brought(root, layout, lacking, pace):
        files, size = files + 1, size + entry.size_bytes
        told(files, size)
    return Restored(str(layout.root), files, size, kept=0)


def _laid_out(root: Path, layout: Layout, entries: Iterator[Entry], pace: Pace, told: Told) -> Restored:
    """A campaign where there was none."""
    manifest = None
    files = size = kept = 0
    for entry, copied in _brought(root, layout, entries, pace):
        files, size, kept = files + 1, size + entry.size_bytes, kept + (not copied)
        told(files, size)
        if _is_manifest(layout, entry):
            manifest = entry
    if manifest is None:
        raise FormatError(
            Code.FORMAT_DAMAGED, f"{root} holds no manifest of a campaign", action="check it: campaign archive --verify"
        )
    layout.create()
    _bring(root, layout, manifest, pace)  # last: without it there is no campaign
    return Restored(str(layout.root), files, size, kept)


def _is_manifest(layout: Layout, entry: Entry) -> bool:
    return layout.root / entry.source == layout.manifest


def _brought(root: Path, layout: Layout, entries: Iterator[Entry], pace: Pace) -> Iterator[tuple[Entry, bool]]:
    """(entry, whether it had to be copied) of everything; the manifest is left for later."""
    with ThreadPoolExecutor(threads()) as pool:
        while some := list(islice(entries, TOGETHER)):
            later = [_is_manifest(layout, entry) for entry in some]
            copied = pool.map(
                lambda pair: pair[1] or _bring(root, layout, pair[0], pace), zip(some, later, strict=True)
            )
            yield from zip(some, copied, strict=True)


def _bring(root: Path, layout: Layout, entry: Entry, pace: Pace) -> bool:
    """Put one file where the campaign has it; False where it was there."""
    source, target = root / entry.path, layout.inside(entry.source)
    if entry.kind == "dataset":
        return _unpack(source, target, entry)
    if target.exists() and target.stat().st_size == entry.size_bytes and durable.sha256_of(target) == entry.sha256:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        copy(source, target, entry.sha256, pace, Access())
    except (FileNotFoundError, ProductError) as error:
        raise _damaged(source) from error
    return True


def _unpack(source: Path, target: Path, entry: Entry) -> bool:
    """A dataset as a directory again; it takes its name when it is whole."""
    if not source.exists() or durable.sha256_of(source) != entry.sha256:
        raise _damaged(source)
    scratch = target.with_name(f".{target.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.parent.mkdir(parents=True, exist_ok=True)
    zipped.extract(source, scratch)
    durable.replace_directory(scratch, target)
    return True


def _damaged(source: Path) -> FormatError:
    return FormatError(
        Code.FORMAT_DAMAGED, f"{source} is not what was written",
        action="campaign archive --verify tells what else; campaign archive CAMPAIGN DEST --checksum mends it where the campaign is still there",
    )  # fmt: skip
