"""The story of one job: every attempt at it and every decision about it, and why it is not running."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from campaign.analyse.audit import batches_of
from campaign.core.lifecycle import JobTable
from campaign.core.model import Outcome, Record, State
from campaign.core.policy import class_of
from campaign.plan import Plan
from campaign.ports import Artifacts


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a campaign as a whole while one of its jobs is asked for."""

    runs: bool  # whether a coordinator is at work
    paused: str = ""  # by whom and since when; empty where it is not
    queued: int = 0  # its jobs in SLURM's queue


def records_of(plan: Plan, artifacts: Artifacts, job: int) -> list[Record]:
    """Every committed record of a job, in the order of its attempts and of what was decided."""
    found = [record for records in batches_of(plan, artifacts) for record in records if record.job == job]
    return sorted(found, key=lambda record: (record.attempt, record.batch))


def attempts_in_words(records: Iterable[Record], *, whole: bool) -> list[str]:
    """Each attempt: when, where, how it ended, and, if `whole`, all that was said."""
    lines: list[str] = []
    for record in records:
        began = datetime.fromtimestamp(record.started_ms / 1000, UTC).isoformat(timespec="seconds")
        if record.outcome in (Outcome.REQUEUED, Outcome.REVOKED):
            lines.append(f"{began}  {record.outcome}" + "".join(f": {note}" for note in record.notes))
            continue
        phases = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in record.phases_s.items())
        lines.append(
            f"{began}  attempt {record.attempt} on {record.node} (process {record.pid}, batch {record.batch}): {record.outcome} "
            f"after {record.duration_s:.3g} s" + (f" ({phases})" if phases else "")
        )
        lines += [f"  {note}" for note in record.notes]
        if record.failure is not None:
            said = record.failure.message if whole else record.failure.first_line
            lines += [f"  {line}" for line in f"[{class_of(record.failure)}] {said}".splitlines()]
            if whole and record.failure.traceback:
                lines += [f"  {line}" for line in record.failure.traceback.rstrip().splitlines()]
        lines += [
            f"  {product.path}  {product.size_bytes} bytes  SHA-256 {product.sha256}" for product in record.products
        ]
    return lines


def why(plan: Plan, table: JobTable, job: int, records: Iterable[Record], situation: Situation, here: str) -> list[str]:
    """Why a job is not running, and what to type; `here` names the campaign on a command line."""
    row, failed = table.row(job), _since_decided(records)
    last = failed[-1] if failed else None
    match row.state:
        case State.COMPLETED:
            return ["it has completed"]
        case State.MISSING_INPUT:
            now_there = ["its input was missing, and is there now", f"run it: campaign run {here}"]
            return _lacking(plan, job, here) or now_there
        case State.FAILED | State.TIMEOUT:
            assert last is not None
            kind = class_of(last.failure) if last.failure else "failure"
            said = last.failure.first_line if last.failure else ""
            counts = f"{row.failures} that it is blamed for, {row.interruptions} that happened to it"
            return [
                f"its attempts are used up ({counts}); the last: [{kind}] {said}",
                f"give it fresh ones: campaign retry {here} --run (all that failed), or --where with its parameters",
            ]
        case State.CANCELLED:
            return ["it was cancelled", f"send it back: campaign retry {here} --state cancelled"]
    return _pending(plan, table, job, last, situation, here)


def _since_decided(records: Iterable[Record]) -> list[Record]:
    """Failures since somebody gave the job fresh attempts, or took its product back, if ever."""
    failed: list[Record] = []
    for record in sorted(records, key=lambda record: record.batch):
        if record.outcome in (Outcome.REQUEUED, Outcome.REVOKED):
            failed = []
        elif record.failure is not None:
            failed.append(record)
    return failed


def _lacking(plan: Plan, job: int, here: str) -> list[str]:
    """Which input a job lacks, and what to type; nothing where it lacks none."""
    missing = [one.path for one in plan.missing if one.job == job]
    return [f"its input is missing: {missing[0]}", f"bring it, then: campaign run {here}"] if missing else []


def _pending(plan: Plan, table: JobTable, job: int, last: Record | None, situation: Situation, here: str) -> list[str]:
    lacking = _lacking(plan, job, here)
    if lacking:
        return lacking
    told = []
    if last is not None and last.failure is not None:
        rule = plan.config.execution.rules[class_of(last.failure)]
        most = plan.config.execution.max_retries if rule.max_retries is None else rule.max_retries
        told.append(
            f"attempt {last.attempt} failed ({class_of(last.failure)}: {last.failure.first_line}); "
            f"it is tried again, up to {most} times"
        )
    if situation.paused:
        return [*told, f"the campaign is {situation.paused}", f"let it go on: campaign resume {here}"]
    pending = plan.order[table.state[plan.order] == State.PENDING]
    ahead = int(np.flatnonzero(pending == job)[0])
    if not situation.runs:
        waiting = f"{situation.queued} batch jobs are in the queue" if situation.queued else "no coordinator is at work"
        return [
            *told,
            f"{waiting}; {ahead} jobs are before it",
            f"run it: campaign run {here}, or campaign submit {here}",
        ]
    shape = plan.shapes[int(plan.shape_of[job])]
    timeout_s = plan.variants[int(plan.variant_of[job])].timeout_s
    place = f"at the last commit it was pending, with {ahead} jobs before it in the order of execution; it may run now"
    needs = (
        f"it needs {shape}, at most {timeout_s:g} s; near the end of an allocation only what ends before it is started"
    )
    return [*told, place, needs]
