"""Brings files from a campaign to its archive, some at a time, in order; what is there whole stays."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from campaign import durable
from campaign.archive import contents, elsewhere, zipped
from campaign.archive.contents import Item, Part
from campaign.archive.copying import PART, Access, Pace, Told, copy, scratch_of, threads
from campaign.archive.index import Entry
from campaign.errors import Code, ProductError, StoppedError
from campaign.layout import Layout

TRIES = 3
"""How often a dataset is packed that changes meanwhile."""


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
    lasting: int = 0  # of these: that the campaign has no more
    spoilt: list[tuple[str, str]] = field(default_factory=list)  # (product or batch, why it was not copied)
    complete: bool = False  # whether every job has completed, and what it made is here


class Copier:
    """From one campaign to one archive."""

    def __init__(
        self, campaign: Path, root: Path, asked: Asked, access: Access, told: Told, earlier: Mapping[str, Entry]
    ) -> None:
        self.done = Archived(str(root))
        self._campaign, self._root, self._asked, self._access, self._told = campaign, root, asked, access, told
        self._earlier, self._elsewhere = earlier, elsewhere.copies(Layout(campaign))
        self._pace = Pace(asked.bytes_per_s)
        self.files = self.size_bytes = 0

    def sweep(self) -> None:
        """Remove what a killed copy has left half done; nobody else copies now."""
        for path in self._root.rglob(f".*{PART}"):
            path.unlink(missing_ok=True)

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
        except BaseException:
            self._pace.stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _taken(self, item: Item, future: Future[tuple[str, bool]]) -> Iterator[Entry]:
        try:
            digest, copied = future.result()
        except (ProductError, FileNotFoundError) as error:
            self._not_copied(item, error)
            return
        size = (self._root / item.path).stat().st_size
        entry = Entry(item.path, size, digest, item.kind, item.source, item.job, item.point, item.task_fingerprint)
        yield self._counted(entry, copied=copied)

    def _not_copied(self, item: Item, error: Exception) -> None:
        """A product that is spoilt is noted; logs and reports may go; without books nothing is right."""
        if item.kind == "product":
            self.done.spoilt.append(
                (item.source, error.message if isinstance(error, ProductError) else "it is gone from the campaign")
            )
        elif item.kind in ("metadata", "record"):
            raise StoppedError(
                Code.CONFIG_CHANGED, f"{self._campaign / item.source} changed while the campaign was copied",
                action="start it again: what is copied stays",
            ) from error  # fmt: skip

    def _counted(self, entry: Entry, *, copied: bool) -> Entry:
        self.files, self.size_bytes = self.files + 1, self.size_bytes + entry.size_bytes
        if copied:
            self.done.copied, self.done.copied_bytes = self.done.copied + 1, self.done.copied_bytes + entry.size_bytes
        else:
            self.done.kept += 1
        self._told(self.files, self.size_bytes)
        return entry

    def _bring(self, item: Item) -> tuple[str, bool]:
        """(SHA-256, whether it had to be copied) of one file that is in the archive now."""
        source, target = self._campaign / item.source, self._root / item.path
        if item.source in self._elsewhere and not source.exists():
            source = Path(self._elsewhere[item.source].copy)
        self._access.make_directory(target.parent, self._root)
        digest = self._there(item, source, target)
        if digest is not None:
            self._access.grant_file(target)
            return digest, False
        return copy(source, target, item.sha256, self._pace, self._access), True

    def _there(self, item: Item, source: Path, target: Path) -> str | None:
        """The SHA-256 of what is in the archive already, if it is what belongs there."""
        try:
            there = target.stat()
        except FileNotFoundError:
            return None
        if there.st_size != item.size_bytes:
            return None
        known = self._earlier.get(item.path) if item.kind == "record" else None  # never changes, and was compared
        wanted = item.sha256 or (known.sha256 if known else durable.sha256_of(source))
        if not self._asked.checksum and _looks_alike(source, target):
            return wanted
        return wanted if durable.sha256_of(target) == wanted else None

    def lasting(self, seen: set[str]) -> Iterator[Entry]:
        """What an earlier copy has brought, is here with its size, and is not in the campaign any more."""
        for path, entry in self._earlier.items():
            if path in seen or entry.kind not in contents.LASTING:
                continue
            with suppress(FileNotFoundError):
                if (self._root / path).stat().st_size == entry.size_bytes:
                    self.done.lasting += 1
                    yield self._counted(entry, copied=False)

    def datasets(self, parts: list[Part]) -> Iterator[Entry]:
        """The datasets of all parts, a file each."""
        for part in parts:
            for store in contents.stores(part):
                source = f"{part.prefix}{store.name}"
                digest, copied = self._pack(store, self._root / f"{source}{zipped.SUFFIX}")
                size = (self._root / f"{source}{zipped.SUFFIX}").stat().st_size
                yield self._counted(Entry(f"{source}{zipped.SUFFIX}", size, digest, "dataset", source), copied=copied)

    def _pack(self, store: Path, target: Path) -> tuple[str, bool]:
        self._access.make_directory(target.parent, self._root)
        scratch = scratch_of(target)
        try:
            digest = self._packed(store, scratch)
            if target.exists() and durable.sha256_of(target) == digest:
                self._access.grant_file(target)
                return digest, False
            self._access.grant_file(scratch)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
        return digest, True

    def _packed(self, store: Path, scratch: Path) -> str:
        for _ in range(TRIES):
            with suppress(FileNotFoundError):
                return zipped.write(store, scratch, self._pace.wait)
        raise StoppedError(
            Code.CONFIG_CHANGED,
            f"{store} was made anew while it was copied",
            action="start it again: what is copied stays",
        )

    def settle(self) -> None:
        """Make all names durable."""
        with ThreadPoolExecutor(self._asked.threads) as pool:
            list(pool.map(durable.fsync_directory, self._access.directories))


def _looks_alike(source: Path, target: Path) -> bool:
    """Whether size and time agree; not where the source is gone, as a product may be that is whole here."""
    try:
        one, other = source.stat(), target.stat()
    except FileNotFoundError:
        return False
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
