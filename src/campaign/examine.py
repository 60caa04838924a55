"""Looks after a campaign between its runs: audit, verify, tidy, consolidate, reproduce, with the adapters that fit."""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from campaign import durable, opening, report
from campaign.adapters.artifacts import ArtifactStore, read_any
from campaign.adapters.local import SystemClock
from campaign.adapters.lock import holder
from campaign.analyse import audit as auditing
from campaign.analyse import tidy as tidying
from campaign.analyse.audit import Finding
from campaign.analyse.story import Situation, records_of, why
from campaign.analyse.triage import grouped
from campaign.archive import elsewhere
from campaign.archive.copying import threads
from campaign.core.model import Axis, Outcome, Product, Record, Shape, Slot, State
from campaign.errors import Code, FormatError, JobError, UsageError
from campaign.layout import Layout
from campaign.shards import live_shards
from campaign.status import read_status

if TYPE_CHECKING:
    import pandas as pd

    from campaign.analyse.audit import Audit
    from campaign.analyse.triage import Group
    from campaign.gather import Recovery
    from campaign.plan import Plan, States

Told = Callable[[int, int], None]

GONE, UNREADABLE = "it is gone", "it can't be read"
GONE_AT_MOST = 0.5
"""Share of the products that may be gone before one rather thinks of a file system that is not there."""


def audit_campaign(directory: Path, *, hashed: bool = False, told: Told = lambda *_: None) -> Audit:
    """Account for every job, artifact and product of a campaign, without writing; `hashed` reads the products too."""
    plan, _, layout = opening.opened(directory)
    projections, damaged = _projections(layout, plan)
    found = auditing.audit(
        plan, ArtifactStore(layout.root), _looking(layout, hashed=hashed),
        hashed=hashed, threads=threads(), projections=projections, told=told,
    )  # fmt: skip
    return replace(found, findings=(*damaged, *found.findings), quarantined=tuple(_quarantined(layout)))


def _looking(layout: Layout, *, hashed: bool) -> Callable[[Product], str]:
    """What tells what is wrong with a product of a campaign; nothing is with one that is in an archive alone."""
    copies = elsewhere.copies(layout)

    def wrong(product: Product) -> str:
        found = _wrong(layout.inside, product, hashed=hashed)
        known = copies.get(product.path)
        if found != GONE or known is None or known.sha256 != product.sha256:
            return found
        found = _wrong(lambda _: Path(known.copy), product, hashed=hashed)
        return f"it was left in an archive, and there {found}: {known.copy}" if found else ""

    return wrong


def _wrong(place: Callable[[str], Path], product: Product, *, hashed: bool) -> str:
    """What is wrong with a product on disk."""
    try:
        path = place(product.path)
        size = path.stat().st_size
        if size != product.size_bytes:
            return f"{size} bytes, recorded with {product.size_bytes}"
        if hashed and (digest := durable.sha256_of(path)) != product.sha256:
            return f"SHA-256 {digest}, recorded with {product.sha256}"
    except FileNotFoundError:
        return GONE
    except JobError as error:
        return error.message
    except OSError as error:
        return f"{UNREADABLE}: {error.strerror or error}"
    return ""


def _projections(layout: Layout, plan: Plan) -> tuple[dict[str, States], list[Finding]]:
    """What ledger and dataset say, as far as they are there and nobody is writing them, and which of them can't be read."""
    if holder(layout.metadata) is not None or live_shards(layout):
        return {}, []
    found: dict[str, States] = {}
    damaged = []
    for name, read in (
        ("ledger", partial(_ledger_states, layout, plan.size)),
        ("dataset", partial(_dataset_states, layout)),
    ):
        try:
            states = read()
        except Exception as error:  # noqa: BLE001 - whatever a codec raises on damaged bytes
            damaged.append(Finding(f"{name}.damaged", name, f"{type(error).__name__}: {error}"))
            continue
        if states is not None:
            found[name] = states
    return found, damaged


def _ledger_states(layout: Layout, size: int) -> States | None:
    from campaign.adapters import ledger

    return ledger.states(layout.ledger, size) if layout.ledger.exists() else None


def _dataset_states(layout: Layout) -> States | None:
    import xarray

    if not (layout.dataset / "zarr.json").exists():
        return None
    with xarray.open_zarr(layout.dataset, chunks=None) as dataset:
        states: States = dataset["status"].to_numpy().reshape(-1)
        return states


def _quarantined(layout: Layout) -> Iterator[dict[str, str]]:
    for path in sorted((layout.root / "quarantine").glob("*")):
        if not path.name.endswith(".reason.txt"):
            reason = path.with_suffix(".reason.txt")
            yield {"file": path.name, "why": reason.read_text().strip() if reason.exists() else "no reason was left"}


@dataclass(frozen=True, slots=True)
class Damage:
    """A product that is not as recorded."""

    job: int
    name: str
    path: str
    what: str


class DirectoryStates:
    """The states of a campaign as its dataset shows them, also while it runs; read again after a while."""

    def __init__(self, directory: Path, fresh_s: float = 10.0) -> None:
        self._plan, _, self._layout = opening.opened(directory)
        self._fresh_s, self._read_s = fresh_s, -math.inf

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes of the design."""
        return self._plan.grid.axes

    def read(self) -> States:
        """The state of each job, (n,): all pending where there is no dataset yet."""
        if time.monotonic() >= self._read_s + self._fresh_s:
            states = _dataset_states(self._layout)
            fits = states is not None and states.size == self._plan.size
            self._states = states if states is not None and fits else np.zeros(self._plan.size, np.int8)
            self._read_s = time.monotonic()
        return self._states


def failures(directory: Path) -> list[Group]:
    """What has failed in groups that are alike, the largest first, from what is committed; written by nobody, also while it runs."""
    plan, _, layout = opening.opened(directory)
    artifacts = ArtifactStore(layout.root)
    table = auditing.read_truth(plan, artifacts).table
    return grouped(auditing.failures_of(plan, artifacts, table), plan.grid.parameters)


def write_report(directory: Path) -> Path:
    """Write the report of a campaign, from what is in its dataset; the path. UsageError where there is no dataset."""
    plan, _, layout = opening.opened(directory)
    return report.write(plan, layout)


@dataclass(frozen=True, slots=True)
class Story:
    """One job, as it was and as it is."""

    job: int
    name: str
    state: State
    records: Sequence[Record]  # every attempt and decision
    why: Sequence[str]  # why it is not running, and what to type


def story(directory: Path, job: str, here: str = "") -> Story:
    """What is committed of one job, and why it is not running; UsageError where there is no such job."""
    plan, _, layout = opening.opened(directory)
    artifacts, number = ArtifactStore(layout.root), plan.named(job)
    table, status = auditing.read_truth(plan, artifacts).table, read_status(layout)
    records = records_of(plan, artifacts, number)
    situation = Situation(status.runs, status.paused, len(status.queue))
    told = why(plan, table, number, records, situation, here or str(directory))
    return Story(number, plan.name(number), table.row(number).state, records, told)


def verify_products(directory: Path, told: Told = lambda *_: None) -> tuple[int, list[Damage]]:
    """Read every product again and compare its checksum: (products, those that are not as recorded)."""
    plan, _, layout = opening.opened(directory)
    artifacts = ArtifactStore(layout.root)
    table = auditing.read_truth(plan, artifacts).table
    count = [0]

    def note(done: int, size: int) -> None:
        count[0] = done
        told(done, size)

    products = auditing.products_of(plan, artifacts, table)
    wrong = auditing.check_products(products, _looking(layout, hashed=True), threads(), note)
    damage = [Damage(job, plan.name(job), product.path, what) for job, product, what in wrong]
    return count[0], damage


def revoke(directory: Path, damage: Sequence[Damage], products: int, *, force: bool = False) -> list[Damage]:
    """Send jobs whose product is spoilt back to pending; what is left of the product goes to quarantine.

    Each is looked at once more while nobody else writes. What can't be read is not spoilt. UsageError where so many of
    the `products` are gone that the file system is to be suspected, unless it is forced.
    """
    gone = sum(spoilt.what == GONE for spoilt in damage)
    if gone > GONE_AT_MOST * products and not force:
        raise UsageError(
            Code.STORAGE_UNWRITABLE,
            f"{gone} of {products} products are gone: is the file system there?",
            action="look at catalogs/; if they are really lost, add --force",
        )
    plan, generator, layout = opening.opened(directory)
    with opening.committing(plan, generator, layout) as gatherer:
        artifacts = ArtifactStore(layout.root)
        jobs = {spoilt.job for spoilt in damage}
        look, sure = _looking(layout, hashed=True), []
        for job, product in auditing.products_of(plan, artifacts, gatherer.table):
            what = look(product) if job in jobs else ""
            if what and not what.startswith(UNREADABLE):
                sure.append(Damage(job, plan.name(job), product.path, what))
        for spoilt in sure:
            with contextlib.suppress(FileNotFoundError, JobError):
                artifacts.set_aside(layout.inside(spoilt.path), f"{spoilt.path}: {spoilt.what}")
        why = {spoilt.job: f"{spoilt.path}: {spoilt.what}" for spoilt in sure}
        gatherer.revoke(sorted(why), SystemClock().now_ms(), why)
    return sure


def consolidate(directory: Path, *, rebuild: bool = False) -> Recovery:
    """Commit what waits, and bring ledger and dataset up to what is committed; `rebuild` makes both anew."""
    plan, generator, layout = opening.opened(directory)
    with opening.writing(plan, generator, layout) as gatherer:
        if rebuild:
            gatherer.forget()
        return opening.recover(gatherer, layout)


def waiting(directory: Path) -> dict[str, int]:
    """What a consolidation would look at: files that wait, by kind."""
    layout = Layout(directory)
    artifacts = ArtifactStore(layout.root)
    journals = list((layout.root / "staging").glob("journal*/*.jsonl"))
    return {
        "committed": len(artifacts.numbers()),
        "staged": len(artifacts.staged()),
        "single": len(artifacts.singles()),
        "journals": len(journals),
    }


def tidy(directory: str | Path) -> pd.DataFrame:
    """Every record below a directory as one row of a `pandas.DataFrame`; what can't be trusted is left out, with a warning.

    The directory is that of a campaign, or any that holds artifacts of either form.
    """
    import warnings

    import pandas as pd

    root = Path(directory)
    found = list(tidy_frames(root, lambda error: warnings.warn(error.message, stacklevel=2)))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(tidying.COLUMNS))


def tidy_frames(root: Path, refused: Callable[[FormatError], None]) -> Iterator[pd.DataFrame]:
    """The same in pieces, so that memory stays bounded; UsageError where there is nothing."""
    paths = tidying.find_artifacts(root)
    if not paths:
        raise UsageError(
            Code.CAMPAIGN_MISSING,
            f"there are no artifacts below {root}",
            action="give the directory of a campaign, or one with batch_*.zip, single_*.json or */run_status.json",
        )
    return tidying.frames(paths, read_any, refused, root)


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A job that was run again elsewhere, beside what is recorded of it."""

    name: str
    directory: str
    outcome: str
    differences: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether product and measurements are the same, bit for bit."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "identical": self.identical}


def reproduce(directory: Path, job: str, into: Path) -> Reproduction:
    """Run one completed job again below `into`, on this machine, and compare bit for bit with what is recorded."""
    plan, _, layout = opening.opened(directory)
    if any(Layout(place).manifest.exists() for place in (into, *into.parents)):
        raise UsageError(
            Code.CONFIG_INVALID, f"{into} is in the directory of a campaign", action="name a directory elsewhere"
        )
    number = plan.named(job)
    known = _recorded(plan, ArtifactStore(layout.root), number)
    again = _run_once(plan, number, known.attempt, into)
    return Reproduction(known.name, str(into), str(again.outcome), tuple(_differences(known, again)))


def _recorded(plan: Plan, artifacts: ArtifactStore, job: int) -> Record:
    """The record that a completed job stands for."""
    row = auditing.read_truth(plan, artifacts).table.row(job)
    if row.state is not State.COMPLETED:
        raise UsageError(
            Code.JOB_UNKNOWN,
            f"{plan.name(job)} has not completed, it is {row.state.word}: there is nothing to compare with",
            action="run the campaign first, or name a job that has completed",
        )
    records = plan.own(artifacts.read(row.batch).records)
    return next(record for record in records if (record.job, record.attempt) == (job, row.attempt))


def _run_once(plan: Plan, job: int, attempt: int, into: Path) -> Record:
    """One attempt at a job in a slot of its own, all of it below `into`."""
    from campaign.assemble import SlotSpec, make_slots

    layout = Layout(into)
    layout.create()
    config, shape = plan.config, plan.shapes[int(plan.shape_of[job])]
    pool = make_slots(SlotSpec(str(layout.root), config.generator, config.options, str(layout.journals)), "reproduce")
    ended: list[Record] = []

    def hear(event: Any) -> None:
        if event["event"] == "ended":
            ended.append(event["record"])

    try:
        pool.run(_slot_here(shape), [plan.task(job, attempt, 0)], hear, lambda: False)
    finally:
        pool.close()
    return ended[0]


def _slot_here(shape: Shape) -> Slot:
    """A slot of a shape with all its ranks on this machine."""
    one = replace(shape, nodes=1)
    cpus, gpus = tuple(range(one.cpus_per_node)), tuple(range(one.gpus_per_node))
    return Slot(1, one, (socket.gethostname(),), (cpus,), (gpus,))


def _differences(known: Record, again: Record) -> Iterator[str]:
    if again.outcome is not Outcome.COMPLETED:
        why = again.failure.message if again.failure else ""
        yield f"outcome: {known.outcome} then, {again.outcome} now: {why}"
        return
    if len(known.products) != len(again.products):
        yield f"products: {len(known.products)} then, {len(again.products)} now"
    for one, other in zip(known.products, again.products, strict=False):
        if one.sha256 != other.sha256:
            yield f"product {one.path}: {one.size_bytes} bytes, SHA-256 {one.sha256} then; {other.size_bytes}, {other.sha256} now"
    for name in sorted(known.measurements.keys() | again.measurements.keys()):
        then, now = known.measurements.get(name), again.measurements.get(name)
        if then != now:
            yield f"measurement {name}: {then} then, {now} now"
    if known.generator_version != again.generator_version:
        yield f"generator version: {known.generator_version} then, {again.generator_version} now"
