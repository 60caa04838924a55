"""Opens a campaign: its configuration, its plan, and its directory for the one who writes."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign import manifest
from campaign.adapters.local import SystemClock
from campaign.core.model import Config, Order
from campaign.errors import CampaignError, Code, LockedError, StoppedError, StorageError, UsageError
from campaign.generators import find
from campaign.layout import Layout
from campaign.plan import Plan, make_plan
from campaign.shards import Shard, abandoned_journals, live_shards, refuse_beside_shards

if TYPE_CHECKING:
    from campaign.gather import Gatherer, Recovery
    from campaign.ports import Generator, ResultStore

logger = logging.getLogger("campaign")


def read_config(path: Path, settings: Sequence[str] = ()) -> tuple[Config, Generator]:
    """Step 1: the frozen configuration, and its generator. `path` is a YAML, or the directory of a campaign."""
    from campaign.config import load_config

    here = path.absolute() if path.is_dir() else None
    if here is not None:
        manifest.read(Layout(here))
        path = Layout(here).config
    config = load_config(
        path,
        settings=settings,
        base_path=here.parent if here is not None else None,
        find_options=lambda name: find(name).options,
    )
    if here is not None and here != Path(config.directory):
        raise UsageError(
            Code.CAMPAIGN_MISSING,
            f"{here} holds the campaign {Path(config.directory).name}: it was renamed",
            action=f"name it back: mv {here} {config.directory}",
        )
    return config, find(config.generator)


def lay_out(config: Config, generator: Generator) -> Plan:
    """Step 2: the plan."""
    try:
        return make_plan(config, generator, os.path.exists)
    except CampaignError:
        raise
    except Exception as error:
        raise UsageError(
            Code.GENERATOR_UNAVAILABLE,
            f"generator {generator.name!r} failed while the plan was made: {type(error).__name__}: {error}",
            action="correct its `words`, `inputs` or `variables`",
        ) from error


def opened(directory: Path) -> tuple[Plan, Generator, Layout]:
    """The plan of a campaign as it is frozen, its generator, and where it lies; UsageError where there is none."""
    config, generator = read_config(directory)
    return lay_out(config, generator), generator, Layout(Path(config.directory))


def refuse_while_paused(layout: Layout) -> None:
    """StoppedError where a person has paused the campaign."""
    from campaign.adapters import orders

    standing = orders.read(layout.metadata)
    if standing is not None and standing.order is Order.PAUSE:
        raise StoppedError(
            Code.CAMPAIGN_PAUSED,
            f"{layout.root} is paused: {standing}",
            action=f"campaign resume {layout.root}, then start it again",
        )


@contextlib.contextmanager
def committing(
    plan: Plan,
    generator: Generator,
    layout: Layout,
    shard: Shard | None = None,
    wait_s: float = 1.0,
    *,
    at_work: bool = False,
) -> Iterator[Gatherer]:
    """The campaign's one writer, after what earlier runs and other shards left was saved; LockedError where it is busy.

    A shard whose workers are `at_work` leaves its own journals to them.
    """
    with writing(plan, generator, layout, shard, wait_s, at_work=at_work) as gatherer:
        recover(gatherer, layout, at_work=at_work)
        if not at_work:
            own = None if shard is None else shard.jobs(plan)
            gatherer.mark_missing(plan.missing, SystemClock().now_ms(), own)
        yield gatherer
        gatherer.flush()


@contextlib.contextmanager
def writing(
    plan: Plan,
    generator: Generator,
    layout: Layout,
    shard: Shard | None = None,
    wait_s: float = 1.0,
    *,
    may_grow: bool = True,
    at_work: bool = False,
) -> Iterator[Gatherer]:
    """The campaign's one writer as it is, before anything is recovered; LockedError where it is busy."""
    with (
        held(plan, generator, layout, shard, wait_s, may_grow=may_grow),
        contextlib.closing(open_gatherer(plan, generator, layout, shard, at_work=at_work)) as gatherer,
    ):
        yield gatherer


@contextlib.contextmanager
def held(
    plan: Plan,
    generator: Generator,
    layout: Layout,
    shard: Shard | None = None,
    wait_s: float = 1.0,
    *,
    may_grow: bool = True,
) -> Iterator[None]:
    """The campaign's directory, laid out, locked for us and made from this plan; StorageError where it can't be written.

    A plan with more jobs makes the campaign grow, unless it may not: then it is refused like any other.
    """
    from campaign.adapters.lock import CampaignLock

    with _storage_errors(layout.root):
        layout.create()
        lock = CampaignLock(layout.metadata, wait_s=wait_s)
    try:
        with _storage_errors(layout.root):
            if shard is None:
                refuse_beside_shards(layout)
                layout.progress.unlink(missing_ok=True)  # of a run that was killed
            if layout.manifest.exists() and not may_grow:
                manifest.compare(plan, layout, generator)
            if layout.manifest.exists() and manifest.grows(plan, layout):
                _settle_before_growth(plan, layout, shard)
            elif layout.manifest.exists() and manifest.measures_otherwise(plan, layout, generator):
                _settle_as_it_was(layout, shard)
            manifest.freeze(plan, layout, generator)
        yield
    finally:
        lock.release()


def refuse_to_replace(layout: Layout, *, force: bool) -> None:
    """UsageError for a directory that exists, unless it is to be replaced and is a campaign's."""
    if not layout.manifest.exists():
        raise UsageError(
            Code.CAMPAIGN_EXISTS,
            f"{layout.root} exists and holds no campaign",
            action="name another campaign, or move the directory away yourself",
        )
    if not force:
        raise UsageError(
            Code.CAMPAIGN_EXISTS,
            f"{layout.root} exists",
            action=f"go on with it: campaign run {layout.root}; or add --force, which moves it aside",
        )


@contextlib.contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """Nobody else works at a campaign meanwhile; LockedError where somebody does, StorageError where it can't be written."""
    from campaign.adapters.lock import CampaignLock

    lock = CampaignLock(layout.metadata)
    try:
        refuse_beside_shards(layout)
        with _storage_errors(layout.root):
            yield
    finally:
        lock.release()


def move_aside(layout: Layout, aside: Path) -> None:
    """Rename the directory of a campaign that nobody works at; LockedError where somebody does."""
    with alone(layout):
        layout.root.rename(aside)


def _settle_before_growth(plan: Plan, layout: Layout, shard: Shard | None) -> None:
    """Save what earlier runs left under the numbers that jobs had; the new plan may give them others."""
    import numpy as np

    others = set(live_shards(layout)) - ({shard.name} if shard else set())
    if others:
        raise LockedError(
            Code.CAMPAIGN_LOCKED,
            f"{layout.root} would grow to {plan.size} jobs, and {', '.join(sorted(others))} still runs on the old ones",
            action="wait for it, or campaign stop it; then start again",
        )
    config, generator = read_config(layout.root)
    old = lay_out(config, generator)
    with contextlib.closing(open_gatherer(old, generator, layout)) as gatherer:
        recover(gatherer, layout)
        if not np.array_equal(old.fingerprints, plan.fingerprints[: old.size]):
            gatherer.forget()
    logger.warning("%s grows from %d to %d jobs; what is done stays done", layout.root, old.size, plan.size)


def _settle_as_it_was(layout: Layout, shard: Shard | None) -> None:
    """Save what earlier runs measured under its old meaning."""
    if set(live_shards(layout)) - ({shard.name} if shard else set()):
        raise LockedError(
            Code.CAMPAIGN_LOCKED,
            f"{layout.root} would measure other quantities than the allocations that run it now",
            action="wait for them, or campaign stop it; then start again",
        )
    config, generator = read_config(layout.root)
    with contextlib.closing(open_gatherer(lay_out(config, generator), generator, layout)) as gatherer:
        recover(gatherer, layout)


def recover(gatherer: Gatherer, layout: Layout, *, at_work: bool = False, stages: bool | None = None) -> Recovery:
    """Save what an earlier run left, and tell. Lines of journals about jobs of stages are kept, unless those have been recovered."""
    from campaign.adapters.journal import JournalDirectory

    own = [] if at_work else [layout.journals]
    keep = (layout.root / "stages").is_dir() if stages is None else stages
    recovery = gatherer.recover(JournalDirectory(*own, *abandoned_journals(layout), keep_stages=keep))
    if recovery.settled or recovery.interrupted or recovery.quarantined or (recovery.adopted and not at_work):
        logger.info(
            "recovered: %d batches adopted, %d records settled from journals, %d interrupted attempts, %d quarantined",
            recovery.adopted, recovery.settled, recovery.interrupted, recovery.quarantined,
        )  # fmt: skip
    return recovery


def open_gatherer(
    plan: Plan, generator: Generator, layout: Layout, shard: Shard | None = None, *, at_work: bool = False
) -> Gatherer:
    """The writer of artifacts, ledger and dataset, with a ledger that opens: a damaged one is moved away and rebuilt."""
    from campaign.adapters import provenance
    from campaign.adapters.artifacts import ArtifactStore
    from campaign.adapters.casefiles import CaseFiles
    from campaign.adapters.dataset import ZarrStore, sweep_partial
    from campaign.adapters.ledger import SqliteLedger
    from campaign.errors import FormatError
    from campaign.gather import Gatherer
    from campaign.projections import Projections

    artifacts = ArtifactStore(layout.root)
    alone = not live_shards(layout).keys() - ({shard.name} if shard else set())
    artifacts.prepare(sweep=alone and not at_work)
    try:
        ledger = SqliteLedger(layout.ledger)
    except FormatError as error:
        logger.warning("%s; it is rebuilt from batches/", error.message)
        artifacts.set_aside(layout.ledger, str(error))
        ledger = SqliteLedger(layout.ledger)
    sweep_partial(layout.dataset)
    numbering = (1, 0) if shard is None else (shard.count + 1, shard.count)
    variables = generator.variables(plan.config.options)
    store: ResultStore = ZarrStore(
        layout.dataset,
        plan.grid.axes,
        variables,
        {
            "Conventions": "CF-1.11",
            "title": plan.config.name,
            "version": plan.config.version,
            "description": plan.config.description,
            "plan_fingerprint": plan.fingerprint,
            "generator": generator.name,
        },
    )
    if plan.config.has_case_files:
        head = {key: value for key, value in manifest.read(layout).items() if key != "configuration"}
        store = Projections(store, CaseFiles(layout.root, plan, head, _inputs_of(plan, generator)))
    return Gatherer(plan, artifacts, ledger, store, partial(provenance.stamp, type(generator)), numbering, variables)


def _inputs_of(plan: Plan, generator: Generator) -> Callable[[int], tuple[Mapping[str, Any], Mapping[str, str]]]:
    """What each job is given, as far as the generator can say beforehand."""
    from campaign.ports import Rendering

    def inputs_of(job: int) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        return generator.rendered(plan.task(job, 1, 0)) if isinstance(generator, Rendering) else ({}, {})

    return inputs_of


@contextlib.contextmanager
def _storage_errors(root: Path) -> Iterator[None]:
    """An OSError of the file system in the user's words."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            Code.STORAGE_UNWRITABLE,
            f"{root} can't be written: {error.strerror or error}" + (f" ({error.filename})" if error.filename else ""),
            action="make room or permission, or set `outputs.base_path`; then start again: nothing that was done is lost",
        ) from error
