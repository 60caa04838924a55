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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from campaign.adapters.local import SystemClock
from campaign.assemble import Place, dismiss_followers, find_place, open_cluster, require_room
from campaign.core.model import Config, Order, Record, State
from campaign.errors import Code, StoppedError, UsageError
from campaign.garbage import collecting_seldom
from campaign.layout import Layout
from campaign.noticing import Noticing, noticed
from campaign.opening import committing, lay_out, refuse_while_paused, writing
from campaign.outcome import EXIT_DONE, EXIT_FAILED_JOBS, EXIT_RESUMABLE, Outcome
from campaign.plan import Jobs, Plan, States
from campaign.ports import Expecting
from campaign.shards import Shard, live_shards
from campaign.showing import Followers, RunScene, logged, shown, ways_in

if TYPE_CHECKING:
    from campaign.core.enough import Sufficiency
    from campaign.core.lifecycle import JobTable
    from campaign.core.staging import Gates
    from campaign.execute import Execution
    from campaign.gather import Gatherer
    from campaign.parts import Parts
    from campaign.ports import Audience, Committer, Generator
    from campaign.submit import Chain
    from campaign.tally import Summary

DEFAULT_DASHBOARD = "127.0.0.1:8787"

Orders = Callable[[], Order | None]

logger = logging.getLogger("campaign")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line decides about one run."""

    plain: bool = False
    dashboard: str | None = DEFAULT_DASHBOARD
    chain: int = 0  # successors that this batch job may have
    shard: Shard | None = None  # None: all jobs
    even_if_held: bool = False  # whether a campaign that its lead holds is run all the same


@dataclass(frozen=True, slots=True)
class Outside:
    """What a run hears of people while it goes on, and what it shows them."""

    orders: Orders
    audience: Audience


@dataclass(frozen=True, slots=True)
class Books:
    """What a run starts from, and where it writes."""

    table: JobTable
    committer: Committer
    reserve: Callable[[], int]  # gives batch numbers
    durations_s: Sequence[tuple[int, float]]
    jobs: Jobs  # all that are executed
    gates: Gates | None = None  # what jobs of stages wait for
    sufficiency: Sufficiency | None = None  # None: every job is run

    def suffices(self, record: Record) -> bool:
        """Take in a job that has completed; whether there are enough now."""
        own = record.generator == self.jobs.config.generator  # and not that of a stage
        return self.sufficiency is not None and own and self.sufficiency.suffices(record)

    def are_left(self, states: States) -> bool:
        """Whether jobs in these states are left to be run."""
        enough = self.sufficiency is not None and self.sufficiency.reached
        return not enough and bool((states == State.PENDING).any())


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
    """All steps, from a plan to a dataset, and the report of what came of them."""
    shard = "" if options.shard is None else options.shard.name
    with noticed(plan.config, SystemClock(), shard, lambda: bool(live_shards(layout).keys() - {shard})) as noticing:
        try:
            outcome = _run_followed(plan, generator, layout, options, noticing)
        except StoppedError:
            _report(plan, layout)
            raise
        if outcome.attempts_now or not layout.report.exists():
            if outcome.exit_code != EXIT_RESUMABLE and isinstance(generator, Expecting):
                _assess(plan, generator)
            _report(plan, layout)
        return outcome if noticing is None else noticing.end(outcome)


def _assess(plan: Plan, generator: Generator) -> None:
    """What an ensemble that is whole says of itself, as pictures of the report that follows: nothing depends on it."""
    from campaign import qa

    try:
        found = qa.assess(plan.config, generator)
        logger.info("qa: %s; %s", found.verdict, found.reports)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the run is done
        logger.warning("the campaign can't be checked: %s: %s", type(error).__name__, error)


def _report(plan: Plan, layout: Layout) -> None:
    """The last thing that a run does, in the time that is left: nothing depends on it."""
    from campaign import report

    try:
        logger.info("report: %s", report.write(plan, layout))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the run is done
        logger.warning("the report can't be written: %s: %s", type(error).__name__, error)


def _run_followed(
    plan: Plan, generator: Generator, layout: Layout, options: Options, noticing: Noticing | None
) -> Outcome:
    """All steps, from a plan to a dataset, before whoever wants to follow."""
    from campaign.adapters.orders import OrderBox
    from campaign.reporting import reported

    orders = OrderBox(layout.metadata)  # whatever is said from here on is said to us
    refuse_while_paused(layout)
    own = layout if options.shard is None else Layout(layout.root, options.shard.name)
    clock = SystemClock()
    with (
        reported(plan.config, own, even_if_held=options.even_if_held) as told,
        logged(own, clock) as log,
    ):
        outside = Outside(orders, Followers(log, *([noticing] if noticing is not None else [])))
        if options.shard is not None:
            outcome = told(_run_shard(plan, generator, own, options, options.shard, outside))
        else:
            outcome = told(_run_alone(plan, generator, own, options, outside))
        log.hear("run_ended", exit_code=outcome.exit_code, counts=outcome.counts, reason=outcome.reason)
        return outcome


def _run_alone(plan: Plan, generator: Generator, layout: Layout, options: Options, outside: Outside) -> Outcome:
    """All jobs, committed by this coordinator."""
    with _with_stages(plan, generator, layout) as (gatherer, parts):
        known = _sufficiency(plan, layout, gatherer.table.state)
        books = Books(gatherer.table, gatherer, gatherer.reserve, gatherer.durations_s(), plan, sufficiency=known)
        if parts is not None:
            gates = parts.gates()
            books = replace(books, table=parts.table(gates), committer=parts, jobs=parts, gates=gates)
        chain = _chain(layout, plan, options)
        if books.are_left(books.table.state):
            _begin(chain, books.table)
        with _ending_with(chain):
            summary = _run_pending(plan, generator, books, layout, options, outside)
        left = books.are_left(gatherer.table.state) or (parts is not None and parts.are_left())
        chain.end(complete=not left or _ordered_to_end(summary))
        gatherer.flush()
        outcome = _outcome(gatherer.table.state, layout, summary, books)
        return outcome if parts is None else _with_those_of_stages(outcome, parts)


@contextlib.contextmanager
def _with_stages(plan: Plan, generator: Generator, layout: Layout) -> Iterator[tuple[Gatherer, Parts | None]]:
    """The writer of a campaign, and it together with its stages where there are any.

    Journals are kept until the stages have taken theirs out of them as well.
    """
    if not plan.config.stages:
        with committing(plan, generator, layout) as gatherer:
            yield gatherer, None
        return
    from campaign import stages

    with writing(plan, generator, layout) as gatherer, stages.opened(plan, generator, gatherer, layout) as parts:
        yield gatherer, parts


def _with_those_of_stages(outcome: Outcome, parts: Parts) -> Outcome:
    """What became of the stages as well."""
    code = outcome.exit_code
    if code != EXIT_RESUMABLE and parts.are_left():
        code = EXIT_RESUMABLE
    elif code == EXIT_DONE and not parts.complete:
        code = EXIT_FAILED_JOBS
    return replace(outcome, exit_code=code, stages=parts.counts())


def _run_shard(
    plan: Plan, generator: Generator, layout: Layout, options: Options, shard: Shard, outside: Outside
) -> Outcome:
    """Our part of the jobs, sealed; committed now and then by whichever shard gets the lock, and at the end."""
    from campaign.adapters.artifacts import ArtifactStore
    from campaign.shards import COMMIT_WAIT_S, Numbers, ShardCommitter, own_part, shard_held

    commit = partial(committing, plan, generator, layout, shard)
    chain = _chain(layout, plan, options)
    with shard_held(layout, shard):
        with commit(COMMIT_WAIT_S) as gatherer:
            known = _sufficiency(plan, layout, gatherer.table.state)
            stamp = gatherer.stamp
            committer = ShardCommitter(ArtifactStore(layout.root), stamp, partial(commit, at_work=True))
            numbers = Numbers(gatherer.next_number, shard)
            part = own_part(plan, gatherer.table, shard)
            books = Books(part, committer, numbers, gatherer.durations_s(), plan, sufficiency=known)
            if plan.config.stages:
                logger.info("stages are left to a run without --shard")
            if shard.index == 0 and books.are_left(gatherer.table.state):
                _begin(chain, gatherer.table)
        with _ending_with(chain):
            summary = _run_pending(plan, generator, books, layout, options, outside)
        with commit(COMMIT_WAIT_S) as gatherer:
            chain.end(complete=not books.are_left(gatherer.table.state) or _ordered_to_end(summary))
            return _outcome(gatherer.table.state[shard.jobs(plan)], layout, summary, books)


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


def _run_pending(
    plan: Plan, generator: Generator, books: Books, layout: Layout, options: Options, outside: Outside
) -> Summary | None:
    """Run what is pending; None where nothing is."""
    import numpy as np

    pending = books.table.state == State.PENDING
    if not books.are_left(books.table.state):
        dismiss_followers(layout)
        return None
    _require_packages(generator, plan)
    place = find_place(plan.config)
    require_room(place, [books.jobs.shapes[n] for n in np.unique(books.jobs.shape_of[pending])])
    with collecting_seldom():
        return asyncio.run(_execute(plan, books, place, layout, options, outside))


def _sufficiency(plan: Plan, layout: Layout, states: States) -> Sufficiency | None:
    """What the rule about enough realizations knows at the start; None where there is no rule."""
    from campaign.analyse.results import open_results
    from campaign.core.enough import Sufficiency

    rule = plan.config.execution.enough
    if rule is None:
        return None
    known, done = Sufficiency(rule, plan.row), (states == State.COMPLETED).nonzero()[0].tolist()
    values = open_results(layout.root)[rule.metric].to_numpy().reshape(-1) if rule.metric and done else None
    for job in done:
        known.note(job, 1.0 if values is None else float(values[job]))
    return known


def _chain(layout: Layout, plan: Plan, options: Options) -> Chain:
    from campaign.submit import Chain

    return Chain(layout, plan.config, options.chain)


def _begin(chain: Chain, table: JobTable) -> None:
    """Ask for a successor, if this is a chain: before anything can go wrong, and only where something is left."""
    chain.begin(int((table.state != State.PENDING).sum()))


async def _execute(
    plan: Plan, books: Books, place: Place, layout: Layout, options: Options, outside: Outside
) -> Summary:
    """Steps 3 to 5 under a live view."""
    from campaign.adapters.journal import JournalDirectory
    from campaign.adapters.web.dashboard import CampaignPage
    from campaign.execute import Execution

    journals, clock = JournalDirectory(layout.journals), SystemClock()
    cluster = await open_cluster(plan, place, layout, options.dashboard)
    try:
        execution = Execution(
            books.jobs, books.table, cluster, books.committer, journals, clock,
            books.reserve, place.left_s, books.durations_s, len(place.nodes) if place.watch is not None else 0,
            outside.orders, books.suffices, books.gates,
        )  # fmt: skip
        scene = RunScene(plan, execution, clock)
        cluster.show_page(CampaignPage(scene))
        if cluster.dashboard:
            logger.info("Dask dashboard: %s%s", cluster.dashboard, ways_in(cluster.dashboard))
        with shown(scene, layout, clock, plain=options.plain, metrics=bool(cluster.dashboard)) as audience:
            execution.audience = Followers(audience, outside.audience)
            outside.audience.hear("run_began", host=socket.gethostname(), pid=os.getpid(), jobs=plan.size)
            with _signals(execution):
                summary = await execution.run()
    finally:
        await cluster.close()
    journals.clear()  # whatever is in them is sealed
    return summary


def _require_packages(generator: Generator, plan: Plan) -> None:
    absent = [name for name in generator.requires(plan.config.options) if importlib.util.find_spec(name) is None]
    if absent:
        raise UsageError(
            Code.GENERATOR_UNAVAILABLE,
            f"generator {generator.name!r} needs {', '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} not installed",
            action=f"pip install {' '.join(absent)} (`campaign[galaxies]` brings what galaxies needs)",
        )


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


def _outcome(states: States, layout: Layout, summary: Summary | None, books: Books) -> Outcome:
    """How a run ended, by the states of the jobs that were its own."""
    import numpy as np

    codes = np.bincount(states, minlength=len(State))
    counts = {state.word: int(codes[state]) for state in State if codes[state]}
    if books.are_left(states):
        code = EXIT_RESUMABLE
    else:
        fine = codes[State.COMPLETED] + codes[State.PENDING] == len(states)
        code = EXIT_DONE if fine else EXIT_FAILED_JOBS
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
