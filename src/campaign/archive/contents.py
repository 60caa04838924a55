"""What belongs into an archive: products by their records, everything else as it lies there, datasets as one file each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from campaign import manifest
from campaign.adapters.artifacts import ArtifactStore, number_of, place_of
from campaign.analyse import audit as auditing
from campaign.archive.index import OWN, Entry
from campaign.archive.zipped import SUFFIX
from campaign.core.identity import axis_word
from campaign.core.lifecycle import JobTable
from campaign.core.model import Point, State
from campaign.durable import sha256_of
from campaign.layout import Layout
from campaign.plan import Plan

STORE = ".zarr"
LEFT_OUT = frozenset({"batches", "cache", "catalogs", "quarantine", "stages", "staging"})
"""Directories of a campaign that are not copied as they lie there: caches and scraps, and what is gathered otherwise."""

OF_ONE_PLACE = (
    "campaign.db*",
    "*.lock",
    "progress*.json",
    "order.json",
    "chain.json",
    "registry*",
    "archives.json",
    "pruned.jsonl",
)
"""Files in `metadata/` that belong to a run, or to this place, or are made of `batches/` at the next start."""

ASIDE = "files"
"""Where files of a campaign go whose names are those of files that tell of the archive."""

KINDS = {"metadata": "metadata", "qa": "report", "logs": "log"}
"""Kind of a file by the directory that it lies in."""

LASTING = frozenset({"record", "product", "report", "log", "file"})
"""Kinds of files that stay in an archive although they are gone from the campaign."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file that belongs into an archive."""

    path: str  # below the archive
    source: str  # below the campaign's directory
    kind: str
    size_bytes: int
    sha256: str | None = None  # as it must be; None: as it is when it is read
    job: str = ""
    point: Point = field(default_factory=dict)
    task_fingerprint: str = ""


class _Seen(ArtifactStore):
    """The batches that were committed when the campaign was looked at, and those that only an archive still has."""

    def __init__(self, directory: Path, archived: Mapping[int, Path]) -> None:
        super().__init__(directory)
        here = super().numbers()
        self.archived = {number: path for number, path in archived.items() if number not in set(here)}
        self._seen = sorted([*here, *self.archived])

    def numbers(self) -> list[int]:
        return self._seen

    def path(self, number: int) -> Path:
        return self.archived.get(number) or super().path(number)


@dataclass(frozen=True, slots=True)
class Part:
    """A campaign, or one of its stages, as it is archived: what is committed later is left for the next time."""

    prefix: str  # below the campaign that is archived: empty, or "stages/<version>_<name>/"
    plan: Plan
    layout: Layout
    artifacts: _Seen
    table: JobTable
    damaged: Mapping[str, str]  # batch, below the campaign that is archived -> why it can't be trusted

    @property
    def lacking(self) -> Iterator[tuple[str, str, Point]]:
        """(job, state, point) of each job that has no result."""
        for job in np.flatnonzero(self.table.state != State.COMPLETED).tolist():
            yield self.plan.name(job), State(self.table.state[job]).word, self.plan.point(job)

    @property
    def members(self) -> tuple[int, int]:
        """(members of the first axis all of whose jobs have completed, members)."""
        first = len(self.plan.grid.axes[0].values)
        done = (self.table.state.reshape(first, -1) == State.COMPLETED).all(axis=1)
        return int(done.sum()), first

    @property
    def counts(self) -> dict[str, int]:
        """State -> jobs."""
        codes = np.bincount(self.table.state, minlength=len(State))
        return {state.word: int(codes[state]) for state in State if codes[state]}


def parts_of(
    directory: Path, opened: Callable[[Path], tuple[Plan, object, Layout]], root: Path, earlier: Mapping[str, Entry]
) -> list[Part]:
    """A campaign and its stages, with what an earlier copy in `root` has of them."""
    found = []
    for place in [Layout(directory), *manifest.stages_of(Layout(directory))]:
        plan, _, layout = opened(place.root)
        prefix = "" if place.root == directory else f"{place.root.relative_to(directory)}/"
        artifacts = _Seen(layout.root, _archived_batches(prefix, root, earlier))
        truth = auditing.read_truth(plan, artifacts)
        damaged = {prefix + one.where: one.what for one in truth.findings if one.kind == "artifact.damaged"}
        found.append(Part(prefix, plan, layout, artifacts, truth.table, damaged))
    return found


def _archived_batches(prefix: str, root: Path, earlier: Mapping[str, Entry]) -> dict[int, Path]:
    """Number -> file of each batch that an archive has of a part."""
    paths = (
        root / path
        for path, entry in earlier.items()
        if entry.kind == "record" and path.startswith(f"{prefix}batches/")
    )
    return {number_of(path): path for path in paths if path.exists()}


def records(part: Part, earlier: Mapping[str, Entry]) -> Iterator[Item]:
    """The batches of a part, but for damaged ones."""
    for number in part.artifacts.numbers():
        path = part.artifacts.committed / place_of(number)
        name = part.prefix + str(path.relative_to(part.layout.root))
        if number in part.artifacts.archived:
            known = earlier[name]
            yield Item(name, name, "record", known.size_bytes, known.sha256)
        elif name not in part.damaged:
            yield from _as_it_lies(part, path, "record")


def items(part: Part, by: str, earlier: Mapping[str, Entry]) -> Iterator[Item]:
    """Every file of a part, but its datasets. Books come first, so that they are there when products are missing."""
    yield from records(part, earlier)
    yield from _walked(part, part.layout.root)
    for job, product in auditing.products_of(part.plan, part.artifacts, part.table):
        point = part.plan.point(job)
        yield Item(
            part.prefix + placed(product.path, point, by), part.prefix + product.path, "product", product.size_bytes, product.sha256,
            part.plan.name(job), point, part.plan.fingerprints[job].decode(),
        )  # fmt: skip


def stores(part: Part) -> list[Path]:
    """The datasets of a part."""
    return sorted(path for path in part.layout.root.glob(f"[!.]*{STORE}") if path.is_dir() and not path.is_symlink())


def placed(product: str, point: Point, by: str) -> str:
    """Where a product lies in an archive whose leading directories are the values of `by`; the rest of its path stays whole."""
    if by not in point:
        return product
    word = axis_word(by, point[by])
    head, _, rest = product.partition("/")
    return product if rest.split("/")[0] == word else f"{head}/{word}/{rest}"


def _walked(part: Part, directory: Path) -> Iterator[Item]:
    """Files below a directory, without links, temporary ones, and what is gathered otherwise."""
    with closing(os.scandir(directory)) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = Path(entry.path)
        if entry.name.startswith(".") or entry.is_symlink() or _is_left_out(part, path):
            continue
        if entry.is_dir():
            yield from _walked(part, path)
        elif entry.is_file():
            head = path.relative_to(part.layout.root).parts[0]
            yield from _as_it_lies(part, path, KINDS.get(head, "file"), fixed=head == "metadata")


def _is_left_out(part: Part, path: Path) -> bool:
    if path.parent == part.layout.root:
        return path.name in LEFT_OUT or (path.name.endswith(STORE) and path.is_dir())
    return path.parent == part.layout.metadata and any(path.match(pattern) for pattern in OF_ONE_PLACE)


def _as_it_lies(part: Part, path: Path, kind: str, *, fixed: bool = False) -> Iterator[Item]:
    """A file under the same name, unless it has vanished; a `fixed` one must be what it is now when it is copied."""
    name = part.prefix + str(path.relative_to(part.layout.root))
    reserved = name in OWN or name.endswith(STORE + SUFFIX)
    with suppress(FileNotFoundError):
        size, digest = path.stat().st_size, sha256_of(path) if fixed else None
        yield Item(f"{ASIDE}/{name}" if reserved else name, name, kind, size, digest)
