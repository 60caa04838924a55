"""Conducts a run: config -> plan -> graph -> execute -> gather, with the adapters that fit, from a start to an outcome."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from campaign import manifest
from campaign.adapters.local import SystemClock
from campaign.assemble import Place, dismiss_followers, find_place, open_cluster, require_room
from campaign.core.model import Config, Order, State
from campaign.errors import CampaignError, Code, LockedError, StoppedError, StorageError, UsageError
from campaign.generators import find
from campaign.layout import Layout
from campaign.outcome import EXIT_DONE, EXIT_FAILED_JOBS, EXIT_RESUMABLE, Outcome
from campaign.plan import Plan, States, make_plan
from campaign.shards import Shard, abandoned_journals, live_shards, refuse_beside_shards

if TYPE_CHECKING:
    from campaign.core.lifecycle import JobTable
    from campaign.execute import Execution, Summary
    from campaign.gather import Gatherer, Recovery
    from campaign.ports import Committer, Generator, Progress
    from campaign.submit import Chain

DEFAULT_DASHBOARD = "127.0.0.1:8787"

logger = logging.getLogger("campaign")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line decides about one run."""

    plain: bool = False
    dashboard: str | None = DEFAULT_DASHBOARD
    chain: int = 0  # successors that this batch job may have
    shard: Shard | None = None  # None: all jobs


@dataclass(frozen=True, slots=True)
class Books:
    """What a run starts from, and where it writes."""

    table: JobTable
    committer: Committer
    reserve: Callable[[], int]  # gives batch numbers
    durations_s: Sequence[tuple[int, float]]


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


def run_campaign(config: Config, generator: Generator, options: Options = Options()) -> Outcome:
    """All steps, from a configuration to a dataset. Raises CampaignError where the campaign can't be run."""
    plan = lay_out(config, generator)
    layout = Layout(Path(config.directory))
    try:
        return _run(plan, generator, layout, options)
    except BaseException:
        with contextlib.suppress(OSError):
            dismiss_followers(layout)  # or they would wait for us
        raise


def _run(plan: Plan, generator: Generator, layout: Layout, options: Options) -> Outcome:
    """All steps, from a plan to a dataset."""
    refuse_while_paused(layout)
    if options.shard is not None:
        return _run_shard(plan, generator, layout, options, options.shard)
    with committing(plan, generator, layout) as gatherer:
        books = Books(gatherer.table, gatherer, gatherer.reserve, gatherer.durations_s())
        chain = _chain(layout, plan, options)
        if (gatherer.table.state == State.PENDING).any():
            _begin(chain, gatherer.table)
        with _ending_with(chain):
            summary = _run_pending(plan, generator, books, layout, options)
        chain.end(complete=not (gatherer.table.state == State.PENDING).any() or _ordered_to_end(summary))
        gatherer.flush()
        return _outcome(gatherer.table.state, layout, summary)


def _run_shard(plan: Plan, generator: Generator, layout: Layout, options: Options, shard: Shard) -> Outcome:
    """Our part of the jobs, sealed; committed now and then by whichever shard gets the lock, and at the end."""
    from campaign.adapters import provenance
    from campaign.adapters.artifacts import ArtifactStore
    from campaign.shards import COMMIT_WAIT_S, Numbers, ShardCommitter, own_part, shard_held

    layout = Layout(layout.root, shard.name)
    commit = partial(committing, plan, generator, layout, shard)
    chain = _chain(layout, plan, options)
    with shard_held(layout, shard):
        with commit(COMMIT_WAIT_S) as gatherer:
            if shard.index == 0 and (gatherer.table.state == State.PENDING).any():
                _begin(chain, gatherer.table)
            stamp = partial(provenance.stamp, type(generator))
            committer = ShardCommitter(ArtifactStore(layout.root), stamp, partial(commit, at_work=True))
            numbers = Numbers(gatherer.next_number, shard)
            books = Books(own_part(plan, gatherer.table, shard), committer, numbers, gatherer.durations_s())
        with _ending_with(chain):
            summary = _run_pending(plan, generator, books, layout, options)
        with commit(COMMIT_WAIT_S) as gatherer:
            chain.end(complete=not (gatherer.table.state == State.PENDING).any() or _ordered_to_end(summary))
            return _outcome(gatherer.table.state[shard.jobs(plan)], layout, summary)


@contextlib.contextmanager
def _ending_with(chain: Chain) -> Iterator[None]:
    """Let a campaign that fails everywhere take its chain along: a successor would only fail as well."""
    try:
        yield
    except StoppedError as error:
        if error.code is Code.CAMPAIGN_FAILING:
            chain.end(complete=True)
        raise


def _ordered_to_end(summary: Summary | None) -> bool:
    """Whether a person ended the run, and with it the chain that it belongs to."""
    return summary is not None and summary.stopped_by in (Order.STOP, Order.ABORT)


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
    with (
        held(plan, generator, layout, shard, wait_s),
        contextlib.closing(open_gatherer(plan, generator, layout, shard, at_work=at_work)) as gatherer,
    ):
        recover(gatherer, layout, at_work=at_work)
        if not at_work:
            own = None if shard is None else shard.jobs(plan)
            gatherer.mark_missing(plan.missing, SystemClock().now_ms(), own)
        yield gatherer
        gatherer.flush()


@contextlib.contextmanager
def held(
    plan: Plan, generator: Generator, layout: Layout, shard: Shard | None = None, wait_s: float = 1.0
) -> Iterator[None]:
    """The campaign's directory, laid out, locked for us and made from this plan; StorageError where it can't be written."""
    from campaign.adapters.lock import CampaignLock

    with _storage_errors(layout.root):
        layout.create()
        lock = CampaignLock(layout.metadata, wait_s=wait_s)
    try:
        with _storage_errors(layout.root):
            if shard is None:
                refuse_beside_shards(layout)
                layout.progress.unlink(missing_ok=True)  # of a run that was killed
            if layout.manifest.exists() and manifest.grows(plan, layout):
                _settle_before_growth(plan, layout, shard)
            manifest.freeze(plan, layout, generator)
        yield
    finally:
        lock.release()


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


def recover(gatherer: Gatherer, layout: Layout, *, at_work: bool = False) -> Recovery:
    """Save what an earlier run left, and tell."""
    from campaign.adapters.journal import JournalDirectory

    own = [] if at_work else [layout.journals]
    recovery = gatherer.recover(JournalDirectory(*own, *abandoned_journals(layout)))
    if recovery.settled or recovery.interrupted or recovery.quarantined or (recovery.adopted and not at_work):
        logger.info(
            "recovered: %d batches adopted, %d records settled from journals, %d interrupted attempts, %d quarantined",
            recovery.adopted, recovery.settled, recovery.interrupted, recovery.quarantined,
        )  # fmt: skip
    return recovery


def _run_pending(plan: Plan, generator: Generator, books: Books, layout: Layout, options: Options) -> Summary | None:
    """Run what is pending; None where nothing is."""
    import numpy as np

    pending = books.table.state == State.PENDING
    if not pending.any():
        dismiss_followers(layout)
        return None
    _require_packages(generator, plan)
    place = find_place(plan.config)
    require_room(place, [plan.shapes[n] for n in np.unique(plan.shape_of[pending])])
    return asyncio.run(_execute(plan, books, place, layout, options))


def _chain(layout: Layout, plan: Plan, options: Options) -> Chain:
    from campaign.submit import Chain

    return Chain(layout, plan.config, options.chain)


def _begin(chain: Chain, table: JobTable) -> None:
    """Ask for a successor, if this is a chain: before anything can go wrong, and only where something is left."""
    chain.begin(int((table.state != State.PENDING).sum()))


def open_gatherer(
    plan: Plan, generator: Generator, layout: Layout, shard: Shard | None = None, *, at_work: bool = False
) -> Gatherer:
    """The writer of artifacts, ledger and dataset, with a ledger that opens: a damaged one is moved away and rebuilt."""
    from campaign.adapters import provenance
    from campaign.adapters.artifacts import ArtifactStore
    from campaign.adapters.dataset import ZarrStore, sweep_partial
    from campaign.adapters.ledger import SqliteLedger
    from campaign.errors import FormatError
    from campaign.gather import Gatherer

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
    store = ZarrStore(
        layout.dataset,
        plan.grid.axes,
        generator.variables(plan.config.options),
        {
            "Conventions": "CF-1.11",
            "title": plan.config.name,
            "version": plan.config.version,
            "description": plan.config.description,
            "plan_fingerprint": plan.fingerprint,
            "generator": generator.name,
        },
    )
    return Gatherer(plan, artifacts, ledger, store, partial(provenance.stamp, type(generator)), numbering)


async def _execute(plan: Plan, books: Books, place: Place, layout: Layout, options: Options) -> Summary:
    """Steps 3 to 5 under a live view."""
    from campaign.adapters.journal import JournalDirectory
    from campaign.adapters.orders import OrderBox
    from campaign.adapters.progress import ProgressFile
    from campaign.adapters.terminal import view_for
    from campaign.execute import Execution

    cluster = await open_cluster(plan, place, layout, options.dashboard)
    try:
        if cluster.dashboard:
            logger.info("Dask dashboard: %s%s", cluster.dashboard, tunnel(cluster.dashboard))
        with view_for(f"{plan.config.version} {plan.config.name}", plain=options.plain) as view:
            observe = _tee(view.update, ProgressFile(layout.progress, SystemClock()))
            execution = Execution(
                plan, books.table, cluster, books.committer, JournalDirectory(layout.journals), SystemClock(),
                books.reserve, observe, place.left_s, books.durations_s, len(place.nodes) if place.watch is not None else 0,
                OrderBox(layout.metadata),
            )  # fmt: skip
            with _signals(execution):
                return await execution.run()
    finally:
        await cluster.close()
        layout.progress.unlink(missing_ok=True)


def tunnel(address: str) -> str:
    """What to type elsewhere to reach a page on the loopback of this host; empty where it is not on the loopback."""
    url = urlsplit(address)
    if url.hostname not in ("127.0.0.1", "localhost"):
        return ""
    return f" (from elsewhere: ssh -N -L {url.port}:127.0.0.1:{url.port} {socket.gethostname()}, then open it there)"


def _require_packages(generator: Generator, plan: Plan) -> None:
    absent = [name for name in generator.requires(plan.config.options) if importlib.util.find_spec(name) is None]
    if absent:
        raise UsageError(
            Code.GENERATOR_UNAVAILABLE,
            f"generator {generator.name!r} needs {', '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} not installed",
            action=f"pip install {' '.join(absent)} (`campaign[galaxies]` brings what galaxies needs)",
        )


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


@contextlib.contextmanager
def _signals(execution: Execution) -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGUSR1 drains; a second SIGINT or SIGTERM ends running jobs as well."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    seen: list[int] = []

    def stop(number: signal.Signals) -> None:
        if seen and number is not signal.SIGUSR1 and task is not None:
            logger.warning("%s: running jobs are ended", number.name)
            task.cancel()
            return
        seen.append(number)
        logger.warning("%s: no job is started any more, running ones end; Ctrl-C stops them at once", number.name)
        execution.drain(number.name)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            loop.remove_signal_handler(number)


def _tee(*observers: Callable[[Progress], None]) -> Callable[[Progress], None]:
    def observe(progress: Progress) -> None:
        for observer in observers:
            observer(progress)

    return observe


def _outcome(states: States, layout: Layout, summary: Summary | None) -> Outcome:
    """How a run ended, by the states of the jobs that were its own."""
    import numpy as np

    codes = np.bincount(states, minlength=len(State))
    counts = {state.word: int(codes[state]) for state in State if codes[state]}
    if codes[State.PENDING]:
        code = EXIT_RESUMABLE
    else:
        code = EXIT_DONE if codes[State.COMPLETED] == len(states) else EXIT_FAILED_JOBS
    return Outcome(
        directory=str(layout.root),
        exit_code=code,
        counts=counts,
        completed_now=summary.completed if summary else 0,
        attempts_now=summary.ended if summary else 0,
        duplicates=summary.duplicates if summary else 0,
        reason=summary.stopped_by if summary else "nothing to do",
        usage=summary.usage if summary else None,
    )


def requeue(config: Config, generator: Generator, states: Sequence[State], *, dry_run: bool = False) -> list[str]:
    """Send the jobs in these states back to pending with fresh budgets; their names."""
    import numpy as np

    layout = Layout(Path(config.directory))
    manifest.read(layout)
    plan = lay_out(config, generator)
    with held(plan, generator, layout), contextlib.closing(open_gatherer(plan, generator, layout)) as gatherer:
        recover(gatherer, layout)
        jobs = [int(job) for job in np.flatnonzero(np.isin(gatherer.table.state, states))]
        if not dry_run:
            gatherer.requeue(jobs, SystemClock().now_ms())
    return [plan.name(job) for job in jobs]
