"""What belongs into an archive: products by their records, everything else as it lies there, datasets as one file each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from campaign.adapters.artifacts import ArtifactStore
from campaign.analyse import audit as auditing
from campaign.core.identity import axis_word
from campaign.core.lifecycle import JobTable
from campaign.core.model import Point, State
from campaign.durable import sha256_of
from campaign.layout import Layout
from campaign.plan import Plan

STORE = ".zarr"
LEFT_OUT = frozenset({"batches", "cache", "catalogs", "quarantine", "stages", "staging"})
"""Directories of a campaign that are not copied as they lie there: caches and scraps, and what is gathered otherwise."""

OF_ONE_RUN = ("campaign.db*", "*.lock", "progress*.json", "order.json", "archives.json", "pruned.jsonl", "chain.json")
"""Files in `metadata/` that belong to a run, or to this place, or are made of `batches/` at the next start."""

KINDS = {"metadata": "metadata", "qa": "report", "logs": "log"}
"""Kind of a file by the directory that it lies in."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file that belongs into an archive."""

    path: str  # below the archive
    source: str  # below the campaign's directory; that of a store for a dataset
    kind: str
    size_bytes: int
    sha256: str | None = None  # as it must be; None: as it is when it is read
    job: str = ""
    point: Point = field(default_factory=dict)
    task_fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A campaign, or one of its stages, as it is archived."""

    prefix: str  # below the campaign that is archived: empty, or "stages/<version>_<name>/"
    plan: Plan
    layout: Layout
    table: JobTable
    batches: tuple[int, ...]  # that were committed when it was looked at

    @property
    def lacking(self) -> Iterator[tuple[str, str, Point]]:
        """(job, state, point) of each job that has no result."""
        for job in np.flatnonzero(self.table.state != State.COMPLETED).tolist():
            yield self.plan.name(job), State(self.table.state[job]).word, self.plan.point(job)


def parts_of(directory: Path, opened: Callable[[Path], tuple[Plan, object, Layout]]) -> list[Part]:
    """A campaign and its stages, as far as they are committed now."""
    found = []
    for place in [directory, *sorted(path.parent.parent for path in directory.glob("stages/*/metadata/manifest.json"))]:
        plan, _, layout = opened(place)
        artifacts = ArtifactStore(layout.root)
        batches = tuple(
            artifacts.numbers()
        )  # before their records: what is committed meanwhile is left for the next time
        table = auditing.read_truth(plan, artifacts).table
        prefix = "" if place == directory else f"{place.relative_to(directory)}/"
        found.append(Part(prefix, plan, layout, table, batches))
    return found


def items(part: Part, by: str) -> Iterator[Item]:
    """Every file of a part, but its datasets. Books come first, so that they are there when products are missing."""
    artifacts = ArtifactStore(part.layout.root)
    for number in part.batches:
        yield _as_it_lies(part, artifacts.path(number), "record")
    yield from _walked(part, part.layout.root)
    for job, product in auditing.products_of(part.plan, artifacts, part.table):
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
            yield _as_it_lies(part, path, KINDS.get(head, "file"), fixed=head == "metadata")


def _is_left_out(part: Part, path: Path) -> bool:
    if path.parent == part.layout.root:
        return path.name in LEFT_OUT or path.name.endswith(STORE)
    return path.parent == part.layout.metadata and any(path.match(pattern) for pattern in OF_ONE_RUN)


def _as_it_lies(part: Part, path: Path, kind: str, *, fixed: bool = False) -> Item:
    """A file under the same name; a `fixed` one must be what it is now when it is copied."""
    name = part.prefix + str(path.relative_to(part.layout.root))
    return Item(name, name, kind, path.stat().st_size, sha256_of(path) if fixed else None)


def completed_members(part: Part) -> tuple[int, int]:
    """(members of the first axis all of whose jobs have completed, members)."""
    first = len(part.plan.grid.axes[0].values)
    done = (part.table.state.reshape(first, -1) == State.COMPLETED).all(axis=1)
    return int(done.sum()), first


def counts(part: Part) -> Mapping[str, int]:
    """State -> jobs."""
    codes = np.bincount(part.table.state, minlength=len(State))
    return {state.word: int(codes[state]) for state in State if codes[state]}
