"""A campaign out of its archive: laid out as it was, ready to be looked at, and to go on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path, PurePath

from campaign import durable, manifest
from campaign.archive import elsewhere, index, zipped
from campaign.archive.check import TOGETHER
from campaign.archive.copying import Access, Pace, Told, copy, threads
from campaign.archive.elsewhere import Copy
from campaign.archive.index import Entry
from campaign.errors import Code, FormatError, ProductError, UsageError
from campaign.layout import Layout

BEGUN = ".restoring"
"""Stands in a directory that is being laid out, so that nobody takes another one for it."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done."""

    directory: str
    files: int
    size_bytes: int
    kept: int  # files that were there whole


def restore(
    root: str | Path,
    base: str | Path,
    *,
    products: bool = True,
    bytes_per_s: float | None = None,
    told: Told = lambda *_: None,
) -> Restored:
    """Lay out a campaign again below `base`; without `products`, only what is needed to look at it and to extend it.

    Killed and started again, it goes on. Of a campaign that stands there, products and records that it lacks are brought back, and nothing
    else. UsageError where that is another one, or has gone another way, FormatError where a file of the archive is damaged.
    """
    root = Path(root).absolute()
    head = index.read_head(root)
    layout = Layout(Path(base).absolute() / _component(root, head["campaign"]))
    if root.resolve() in (layout.root.resolve(), *layout.root.resolve().parents):
        raise UsageError(Code.CONFIG_INVALID, f"{base} lies in the archive", action="name a directory elsewhere")
    if Layout(Path(base)).manifest.exists():
        raise UsageError(
            Code.CONFIG_INVALID,
            f"{base} is a campaign",
            action=f"name the directory that it lies in: {Path(base).absolute().parent}",
        )
    everything = index.read_entries(root)
    entries = (
        entry for entry in chain([next(everything)], everything) if entry.source
    )  # nothing is made where it can't be read
    pace = Pace(bytes_per_s)
    if layout.manifest.exists():
        if manifest.read(layout)["created"] != head["begun"]:
            raise UsageError(
                Code.CAMPAIGN_EXISTS,
                f"there is another campaign in {layout.root}",
                action="restore into another directory",
            )
        return _filled(root, layout, (entry for entry in entries if products or entry.kind != "product"), pace, told)
    return _laid_out(root, layout, entries, pace, told, products=products)


def _component(root: Path, name: object) -> str:
    """The name of a directory, as an archive tells it; FormatError for anything else."""
    if not isinstance(name, str) or PurePath(name).name != name or name in ("", ".", ".."):
        raise FormatError(
            Code.FORMAT_DAMAGED, f"{name!r} in {root / index.HEAD} leaves the directory", action="don't trust it"
        )
    return name


def _filled(root: Path, layout: Layout, entries: Iterator[Entry], pace: Pace, told: Told) -> Restored:
    """Bring products and records back that a campaign lacks; everything else is newer there than here."""
    files = size = kept = 0

    def lacking() -> Iterator[Entry]:
        nonlocal kept
        for entry in entries:
            if _is_lacking(layout, entry):
                yield entry
            else:
                kept += 1

    for entry, _ in _brought(root, layout, lacking(), pace):
        files, size = files + 1, size + entry.size_bytes
        told(files, size)
    return Restored(str(layout.root), files, size, kept)


def _is_lacking(layout: Layout, entry: Entry) -> bool:
    target = layout.inside(entry.source)
    if entry.kind == "record" and target.exists() and durable.sha256_of(target) != entry.sha256:
        raise UsageError(
            Code.CAMPAIGN_EXISTS, f"{target} holds other records than the archive: the campaign has gone another way",
            action="restore into another directory",
        )  # fmt: skip
    return entry.kind in ("product", "record") and not target.exists()


def _laid_out(
    root: Path, layout: Layout, entries: Iterator[Entry], pace: Pace, told: Told, *, products: bool
) -> Restored:
    """A campaign where there was none."""
    marker = layout.root / BEGUN
    if layout.root.exists() and any(layout.root.iterdir()) and not marker.exists():
        raise UsageError(
            Code.CAMPAIGN_EXISTS,
            f"{layout.root} exists and holds no campaign",
            action="restore into another directory, or move it away",
        )
    layout.root.mkdir(parents=True, exist_ok=True)
    marker.touch()
    left: list[Copy] = []
    last = None
    files = size = kept = 0
    for entry, copied in _brought(root, layout, _wanted(root, entries, left, products=products), pace):
        files, size, kept = files + 1, size + entry.size_bytes, kept + (not copied)
        told(files, size)
        if _is_manifest(layout, entry):
            last = entry
    if last is None:
        raise FormatError(
            Code.FORMAT_DAMAGED, f"{root} holds no manifest of a campaign", action="check it: campaign archive --verify"
        )
    layout.create()
    elsewhere.write_down(layout, left)
    _bring(root, layout, last, pace)  # last: without it there is no campaign
    marker.unlink()
    return Restored(str(layout.root), files, size, kept)


def _wanted(root: Path, entries: Iterator[Entry], left: list[Copy], *, products: bool) -> Iterator[Entry]:
    """What is brought; where products stay in the archive is added to `left`."""
    for entry in entries:
        if products or entry.kind != "product":
            yield entry
        else:
            left.append(Copy(entry.source, entry.sha256, str(root / entry.path)))


def _is_manifest(layout: Layout, entry: Entry) -> bool:
    return layout.root / entry.source == layout.manifest


def _brought(root: Path, layout: Layout, entries: Iterator[Entry], pace: Pace) -> Iterator[tuple[Entry, bool]]:
    """(entry, whether it had to be copied) of everything; the manifest is left for later."""
    with ThreadPoolExecutor(threads()) as pool:
        try:
            while some := list(islice(entries, TOGETHER)):
                later = [_is_manifest(layout, entry) for entry in some]
                copied = pool.map(
                    lambda pair: pair[1] or _bring(root, layout, pair[0], pace), zip(some, later, strict=True)
                )
                yield from zip(some, copied, strict=True)
        except BaseException:
            pace.stop()
            raise


def _bring(root: Path, layout: Layout, entry: Entry, pace: Pace) -> bool:
    """Put one file where the campaign has it; False where it was there."""
    source, target = root / entry.path, layout.inside(entry.source)
    if entry.kind == "dataset":
        return _unpack(layout, source, target, entry, pace)
    if target.exists() and target.stat().st_size == entry.size_bytes and durable.sha256_of(target) == entry.sha256:
        return False
    _make(layout, target.parent)
    try:
        copy(source, target, entry.sha256, pace, Access())
    except (FileNotFoundError, ProductError) as error:
        raise _damaged(source) from error
    return True


def _make(layout: Layout, directory: Path) -> None:
    """A directory below the campaign's, none of which is a link to somewhere else; UsageError where one is."""
    directory.mkdir(parents=True, exist_ok=True)
    if not directory.resolve().is_relative_to(layout.root.resolve()):
        raise UsageError(Code.CONFIG_INVALID, f"{directory} leads outside {layout.root}", action="remove that link")


def _unpack(layout: Layout, source: Path, target: Path, entry: Entry, pace: Pace) -> bool:
    """A dataset as a directory again; it takes its name when it is whole."""
    if not source.exists() or durable.sha256_of(source) != entry.sha256:
        raise _damaged(source)
    scratch = target.with_name(f".{target.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    _make(layout, target.parent)
    zipped.extract(source, scratch, pace.wait)
    durable.replace_directory(scratch, target)
    return True


def _damaged(source: Path) -> FormatError:
    return FormatError(
        Code.FORMAT_DAMAGED, f"{source} is not what was written",
        action="campaign archive --verify tells what else; campaign archive CAMPAIGN DEST --checksum mends it where the campaign is still there",
    )  # fmt: skip
