"""Copies a campaign out, and goes on where an earlier copy stopped: what is there whole stays, what is not is copied again."""

from __future__ import annotations

import csv
import grp
import io
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from campaign import durable, manifest, opening
from campaign.adapters import provenance
from campaign.adapters.local import usable_cores
from campaign.archive import contents, describe, elsewhere, index, zipped
from campaign.archive.contents import Item, Part
from campaign.archive.copying import Access, Pace, copy
from campaign.archive.index import Entry
from campaign.core.model import Config
from campaign.crashpoints import reach
from campaign.errors import CampaignError, Code, FormatError, ProductError, StoppedError, UsageError
from campaign.layout import Layout

Told = Callable[[int, int], None]
"""Hears (files, bytes) so far."""

THREADS_MAX = 32


def threads() -> int:
    """Enough to keep a parallel file system busy."""
    return min(THREADS_MAX, 4 * usable_cores())


@dataclass(frozen=True, slots=True)
class Asked:
    """How it is copied."""

    by: str = ""  # parameter whose values give the leading directories
    group: str = ""  # that may read it
    bytes_per_s: float | None = None
    threads: int = field(default_factory=threads)
    checksum: bool = False  # read what is there already, too


@dataclass(slots=True)
class Archived:
    """What was done."""

    directory: str
    copied: int = 0  # files
    copied_bytes: int = 0
    kept: int = 0  # files that were there
    spoilt: list[tuple[str, str]] = field(default_factory=list)  # (product, why it was not copied)
    obsolete: list[str] = field(default_factory=list)  # files of an earlier copy that are not of the campaign any more
    complete: bool = False  # whether every job has completed, and what it made is here


@dataclass(frozen=True, slots=True)
class Outline:
    """What would be done."""

    directory: str
    files: int
    size_bytes: int
    there: int  # files of that size are there
    there_bytes: int
    lacking: int  # jobs without a result


def outline(config: Config, destination: Path, asked: Asked) -> Outline:
    """What a copy would do, from names and sizes; UsageError where it would be refused."""
    layout, root = Layout(Path(config.directory)), _place(config, destination)
    parts = contents.parts_of(layout.root, opening.opened)
    _refuse(root, layout, asked)
    files = size = there = there_bytes = 0
    for item in chain.from_iterable(contents.items(part, asked.by) for part in parts):
        files, size = files + 1, size + item.size_bytes
        with suppress(OSError):
            if (root / item.path).stat().st_size == item.size_bytes:
                there, there_bytes = there + 1, there_bytes + item.size_bytes
    return Outline(str(root), files, size, there, there_bytes, sum(1 for part in parts for _ in part.lacking))


def archive(config: Config, destination: Path, asked: Asked, told: Told = lambda *_: None) -> Archived:
    """Copy a campaign to `<destination>/<version>_<name>`, as far as it is committed now, also while it runs.

    UsageError where it can't be put there, StoppedError where the campaign changed meanwhile, StorageError or OSError where
    the file system refuses: started again, it goes on.
    """
    layout, root = Layout(Path(config.directory)), _place(config, destination)
    _refuse(root, layout, asked)
    access = Access(_gid(asked.group))
    parts = contents.parts_of(layout.root, opening.opened)
    try:
        access.make_directory(root, root)
        access.grant_directory(root)
    except PermissionError as error:
        raise UsageError(
            Code.STORAGE_UNWRITABLE, f"{root} can't be made, or given to {asked.group or 'you'}: {error.strerror}",
            action="name another place, or a group that you belong to (id -Gn)",
        ) from error  # fmt: skip
    earlier = _paths_of(root)
    known = manifest.read(layout)
    index.write_head(root, {"campaign": layout.root.name, "begun": known["created"], "by": asked.by, "finished": None})
    writer = index.Writer(root, [parameter.name for parameter in parts[0].plan.grid.parameters])
    copier = _Copier(layout.root, root, asked, access, told)
    for entry in chain(copier.bring(_everything(parts, asked.by)), copier.datasets(parts)):
        writer.add(entry)
        earlier.discard(entry.path)
    copier.settle()
    done = copier.done
    done.complete = not done.spoilt and not any(True for part in parts for _ in part.lacking)
    head = _head(layout, known, parts, asked, done)
    for entry in _described(root, head | copier.size, known, parts, config, access):
        writer.add(entry)
    reach("archive.described")
    writer.close()
    for name in (index.ROWS, index.SUMS):
        access.grant_file(root / name)
    durable.fsync_directory(root)
    done.obsolete = sorted(path for path in earlier - index.OWN if (root / path).exists())
    _remember(layout, root, head)
    return done


def _everything(parts: list[Part], by: str) -> Iterator[Item]:
    return chain.from_iterable(contents.items(part, by) for part in parts)


class _Copier:
    """Brings files from a campaign to an archive, some at a time, in order."""

    def __init__(self, campaign: Path, root: Path, asked: Asked, access: Access, told: Told) -> None:
        self.done = Archived(str(root))
        self._campaign, self._root, self._asked, self._access, self._told = campaign, root, asked, access, told
        self._elsewhere = elsewhere.copies(Layout(campaign))
        self._pace = Pace(asked.bytes_per_s)
        self._directories: set[Path] = {root}
        self._files = self._bytes = 0

    @property
    def size(self) -> dict[str, int]:
        """How much the archive holds."""
        return {"files": self._files, "bytes": self._bytes}

    def bring(self, items: Iterator[Item]) -> Iterator[Entry]:
        """What is in the archive of these items, in their order; what is spoilt is left out and noted."""
        pool = ThreadPoolExecutor(self._asked.threads)
        under_way: deque[tuple[Item, Future[tuple[str, bool]]]] = deque()
        try:
            for item in items:
                under_way.append((item, pool.submit(self._bring, item)))
                if len(under_way) > 8 * self._asked.threads:
                    yield from self._taken(*under_way.popleft())
            while under_way:
                yield from self._taken(*under_way.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _taken(self, item: Item, future: Future[tuple[str, bool]]) -> Iterator[Entry]:
        try:
            digest, copied = future.result()
        except (ProductError, FileNotFoundError) as error:
            if item.kind == "metadata":
                raise StoppedError(
                    Code.CONFIG_CHANGED, f"{self._campaign / item.source} changed while the campaign was copied",
                    action="start it again: what is copied stays",
                ) from error  # fmt: skip
            if item.kind == "product":
                why = error.message if isinstance(error, ProductError) else "it is gone from the campaign"
                self.done.spoilt.append((item.source, why))
            return
        path = self._root / item.path
        yield self._counted(
            Entry(
                item.path, path.stat().st_size, digest, item.kind, item.source, item.job, item.point, item.task_fingerprint
            ),
            copied=copied,
        )  # fmt: skip

    def _counted(self, entry: Entry, *, copied: bool) -> Entry:
        self._files, self._bytes = self._files + 1, self._bytes + entry.size_bytes
        if copied:
            self.done.copied, self.done.copied_bytes = self.done.copied + 1, self.done.copied_bytes + entry.size_bytes
        else:
            self.done.kept += 1
        self._told(self._files, self._bytes)
        return entry

    def _bring(self, item: Item) -> tuple[str, bool]:
        """(SHA-256, whether it had to be copied) of one file that is in the archive now."""
        source, target = self._campaign / item.source, self._root / item.path
        if item.source in self._elsewhere and not source.exists():
            source = Path(self._elsewhere[item.source])
        digest = self._there(item, source, target)
        if digest is not None:
            return digest, False
        self._make(target.parent)
        return copy(source, target, item.sha256, self._pace, self._access), True

    def _make(self, directory: Path) -> None:
        if directory not in self._directories:
            self._access.make_directory(directory, self._root)
            self._directories.add(directory)

    def _there(self, item: Item, source: Path, target: Path) -> str | None:
        """The SHA-256 of what is in the archive already, if it is what belongs there."""
        try:
            there = target.stat()
        except FileNotFoundError:
            return None
        if there.st_size != item.size_bytes:
            return None
        wanted = item.sha256 or durable.sha256_of(source)
        with suppress(FileNotFoundError):  # a product that is gone from the campaign may be whole here
            if not self._asked.checksum and there.st_mtime_ns == source.stat().st_mtime_ns:
                return wanted
        return wanted if durable.sha256_of(target) == wanted else None

    def datasets(self, parts: list[Part]) -> Iterator[Entry]:
        """The datasets of all parts, a file each."""
        for part in parts:
            for store in contents.stores(part):
                name = f"{part.prefix}{store.name}{zipped.SUFFIX}"
                digest, copied = self._pack(store, self._root / name)
                source = f"{part.prefix}{store.name}"
                yield self._counted(
                    Entry(name, (self._root / name).stat().st_size, digest, "dataset", source), copied=copied
                )

    def _pack(self, store: Path, target: Path) -> tuple[str, bool]:
        self._make(target.parent)
        scratch = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            zipped.write(store, scratch)
            digest = durable.sha256_of(scratch)
            if target.exists() and durable.sha256_of(target) == digest:
                return digest, False
            self._access.grant_file(scratch)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
        return digest, True

    def settle(self) -> None:
        """Make all names durable."""
        with ThreadPoolExecutor(self._asked.threads) as pool:
            list(pool.map(durable.fsync_directory, self._directories))


def _place(config: Config, destination: Path) -> Path:
    return destination.absolute() / Path(config.directory).name


def _refuse(root: Path, layout: Layout, asked: Asked) -> None:
    """UsageError where something else stands at `root`, or where a copy would lie in what is copied."""
    known = manifest.read(layout)
    here, there = layout.root.resolve(), root.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise UsageError(
            Code.CONFIG_INVALID, f"{root} and the campaign in {layout.root} lie in each other",
            action="name a directory elsewhere",
        )  # fmt: skip
    if not root.exists() or not any(root.iterdir()):
        return
    if not (root / index.HEAD).exists():
        raise UsageError(
            Code.CAMPAIGN_EXISTS, f"{root} exists and is no archive", action="name another place, or move it away"
        )
    try:
        head = index.read_head(root)
    except FormatError:
        return  # it is written anew
    if head["begun"] != known["created"]:
        raise UsageError(
            Code.CAMPAIGN_EXISTS, f"{root} is the archive of another campaign of this name, begun {head['begun']}",
            action="name another place",
        )  # fmt: skip
    if head["by"] != asked.by:
        raise UsageError(
            Code.CONFIG_CHANGED, f"{root} is laid out {_order(head['by'])}, not {_order(asked.by)}",
            action=f"go on with --by {head['by'] or 'name'}, or name another place",
        )  # fmt: skip


def _order(by: str) -> str:
    return f"by {by}" if by else "as the campaign names its products"


def _gid(group: str) -> int | None:
    if not group:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise UsageError(
            Code.CONFIG_INVALID, f"there is no group {group!r}", action="name one of yours: id -Gn"
        ) from None


def _paths_of(root: Path) -> set[str]:
    """The files that an earlier copy tells of."""
    try:
        return {path for path, _ in index.read_sums(root)}
    except CampaignError:
        return set()


def _head(layout: Layout, known: Any, parts: list[Part], asked: Asked, done: Archived) -> dict[str, Any]:
    whole = contents.completed_members(parts[0])
    return {
        "campaign": layout.root.name, "name": known["name"], "version": known["version"], "begun": known["created"], "by": asked.by,
        "complete": done.complete, "jobs": parts[0].plan.size, "counts": contents.counts(parts[0]), "members": list(whole),
        "stages": {part.prefix.rstrip("/"): contents.counts(part) for part in parts[1:]}, "not_copied": len(done.spoilt),
        "plan_fingerprint": known["plan_fingerprint"], "finished": provenance.now(), "copied_by": provenance.machine(),
    }  # fmt: skip


def _described(
    root: Path, head: dict[str, Any], known: Any, parts: list[Part], config: Config, access: Access
) -> Iterator[Entry]:
    """The files that tell of the archive."""
    there = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
    index.write_head(root, head)
    texts = {
        index.README: describe.readme(head, known, there, config.archiving),
        index.CRATE: json.dumps(describe.crate(head, known, there, config.archiving), indent=1) + "\n",
    }
    if head["complete"]:
        (root / index.LACKING).unlink(missing_ok=True)
    else:
        texts[index.LACKING] = _lacking(parts)
    for name, text in texts.items():
        durable.write_bytes(root / name, text.encode())
    for name in (index.HEAD, *texts):
        access.grant_file(root / name)
        yield Entry(name, (root / name).stat().st_size, durable.sha256_of(root / name), "archive", "")


def _lacking(parts: list[Part]) -> str:
    """The jobs that have no result, as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = [parameter.name for parameter in parts[0].plan.grid.parameters]
    table.writerow(["part", "job", "state", *names])
    for part in parts:
        for job, state, point in part.lacking:
            table.writerow([part.prefix.rstrip("/"), job, state, *(point.get(name, "") for name in names)])
    return text.getvalue()


def _remember(layout: Layout, root: Path, head: dict[str, Any]) -> None:
    """Note in the campaign where it was copied to."""
    entry = {"directory": str(root), **{key: head[key] for key in ("finished", "complete", "copied_by")}}
    others = [known for known in archives_of(layout) if known["directory"] != str(root)]
    durable.write_json(layout.archives, [*others, entry])


def archives_of(layout: Layout) -> list[dict[str, Any]]:
    """Where a campaign was copied to, and when."""
    try:
        found: list[dict[str, Any]] = json.loads((layout.archives).read_text())
    except (FileNotFoundError, ValueError):
        return []
    return found
