"""The life of a job: which state follows which, when another attempt is made, how jobs are packed into leases."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from campaign.core.model import Execution, FailureClass, Outcome, Record, State
from campaign.core.policy import RULES, class_of

TERMINAL = frozenset({State.COMPLETED, State.FAILED, State.TIMEOUT, State.MISSING_INPUT, State.CANCELLED})
"""States that end a job for good, until somebody sends it back, or its input comes."""

FAILED = frozenset({State.FAILED, State.TIMEOUT})
"""States of jobs whose attempts are used up."""

UNMET = FAILED | {State.MISSING_INPUT}
"""States of jobs that need somebody."""

MOVES: dict[tuple[State, str], State] = {
    (State.PENDING, "queue"): State.QUEUED,
    (State.PENDING, "miss"): State.MISSING_INPUT,
    (State.PENDING, "cancel"): State.CANCELLED,
    (State.QUEUED, "start"): State.RUNNING,
    (State.QUEUED, "release"): State.PENDING,
    (State.QUEUED, "cancel"): State.CANCELLED,
    (State.RUNNING, "complete"): State.COMPLETED,
    (State.RUNNING, "fail"): State.FAILED,
    (State.RUNNING, "time_out"): State.TIMEOUT,
    (State.RUNNING, "miss"): State.MISSING_INPUT,
    (State.RUNNING, "release"): State.PENDING,
    (State.FAILED, "retry"): State.PENDING,
    (State.TIMEOUT, "retry"): State.PENDING,
    (State.MISSING_INPUT, "retry"): State.PENDING,
    (State.CANCELLED, "retry"): State.PENDING,
}
"""The legal moves; everything else is a defect of ours."""

_FINAL_MOVE = {
    Outcome.COMPLETED: "complete",
    Outcome.FAILED: "fail",
    Outcome.TIMEOUT: "time_out",
    Outcome.MISSING_INPUT: "miss",
    Outcome.INTERRUPTED: "fail",
}


class IllegalMoveError(ValueError):
    """A job was asked to make a move that its state does not know."""


def move(state: State, verb: str) -> State:
    """The state after `verb`; IllegalMoveError where the table has none."""
    try:
        return MOVES[state, verb]
    except KeyError:
        raise IllegalMoveError(f"a {state.word} job can't {verb}") from None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an attempt: the job's state, and, if it is tried again, after how many seconds and where not."""

    state: State
    retry_after_s: float | None = None
    another_node: bool = False


_FINAL = {outcome: Verdict(move(State.RUNNING, verb)) for outcome, verb in _FINAL_MOVE.items()}
"""What becomes of a job that is not tried again."""

_COMPLETED = State.COMPLETED.word


def judge(record: Record, failures: int, interruptions: int, policy: Execution) -> Verdict:
    """Decide about a job after an attempt, by the rule of the failure's class.

    `failures` and `interruptions` count the attempts of the job that ended so, this one included: what the job is
    blamed for and what happened to it have separate budgets, and both are bounded.
    """
    final = _FINAL[record.outcome]
    if record.outcome in (Outcome.COMPLETED, Outcome.MISSING_INPUT):
        return final
    rule = policy.rules[FailureClass.ERROR if record.failure is None else class_of(record.failure)]
    retries = policy.max_retries if rule.max_retries is None else rule.max_retries
    count = failures if rule.blames_job else interruptions
    if count > retries:
        return final
    return Verdict(State.PENDING, backoff_s(policy, count, record.job) if rule.waits else 0.0, rule.another_node)


def backoff_s(policy: Execution, failures: int, job: int) -> float:
    """Seconds to wait after the n-th failure (n >= 1), with up to 25 % of jitter that depends on the job alone."""
    growth = {"exponential": 2.0 ** (failures - 1), "linear": float(failures), "constant": 1.0}[policy.retry_backoff]
    spread = hashlib.sha256(f"{job}:{failures}".encode()).digest()[0] / 255
    return min(policy.retry_delay_s * growth, policy.retry_delay_max_s) * (1 + 0.25 * spread)


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one job between attempts."""

    state: State  # never queued or running
    attempt: int = 0  # number of the latest attempt that speaks for the job, 0 where there was none
    batch: int = -1  # batch that it was committed with
    failures: int = 0  # attempts that the job is blamed for, since a person last sent it back
    interruptions: int = 0  # attempts that ended by what happened to the job, likewise
    timeouts: int = 0  # of the failures: those for want of time
    memory_failures: int = 0  # and those for want of memory
    revoked: int = 0  # number of the latest attempt that counts no more, 0 where there is none
    revoked_in: int = -1  # batch of the record that says so


def supersedes(new: Row, old: Row) -> bool:
    """Whether a row replaces another of the same job, in whatever order they are seen.

    Completed beats everything, then the later attempt, then the later batch: batch numbers only grow, so that what is
    decided about a job after an attempt beats that attempt.
    """
    if (new.state is State.COMPLETED) != (old.state is State.COMPLETED):
        return new.state is State.COMPLETED
    return (new.attempt, new.batch) > (old.attempt, old.batch)


COUNTS = ("failures", "interruptions", "timeouts", "memory_failures")
"""Columns of the job table that count attempts since a person last sent the job back."""


@dataclass(frozen=True, slots=True)
class JobTable:
    """What is known of each job between attempts, as columns over the design's index; folded from records."""

    state: npt.NDArray[np.int8]
    attempt: npt.NDArray[np.int16]
    batch: npt.NDArray[np.int32]
    failures: npt.NDArray[np.int16]
    interruptions: npt.NDArray[np.int16]
    timeouts: npt.NDArray[np.int16]
    memory_failures: npt.NDArray[np.int16]
    revoked: npt.NDArray[np.int16]
    revoked_in: npt.NDArray[np.int32]

    @classmethod
    def empty(cls, size: int) -> JobTable:
        """Every job pending, nothing tried."""
        small = {name: np.zeros(size, np.int16) for name in ("attempt", *COUNTS, "revoked")}
        batch, revoked_in = np.full(size, -1, np.int32), np.full(size, -1, np.int32)
        return cls(state=np.zeros(size, np.int8), batch=batch, revoked_in=revoked_in, **small)

    def copy(self) -> JobTable:
        """A table of its own."""
        return JobTable(*(getattr(self, field.name).copy() for field in fields(self)))

    def judge(self, record: Record, policy: Execution) -> Verdict:
        """Decide about the record's job as if the record were folded in."""
        if record.outcome is Outcome.COMPLETED:
            return _FINAL[record.outcome]
        counted = _counted(record)
        failures, interruptions = (getattr(self, n).item(record.job) + (n in counted) for n in COUNTS[:2])
        return judge(record, failures, interruptions, policy)

    def fold(self, record: Record) -> bool:
        """Take a record with its verdict in; True where it now speaks for the job."""
        job, revokes = record.job, record.outcome is Outcome.REVOKED
        if record.verdict == _COMPLETED and not self.revoked.item(job) and self.state.item(job) != State.COMPLETED:
            self.state[job], self.attempt[job], self.batch[job] = State.COMPLETED, record.attempt, record.batch
            return True  # as nearly every record
        place = (record.attempt, record.batch)
        if place <= (self.revoked.item(job), self.revoked_in.item(job)):
            return False
        if revokes or record.outcome is Outcome.REQUEUED:
            for name in COUNTS:
                getattr(self, name)[job] = 0
        for name in _counted(record):
            getattr(self, name)[job] += 1
        row = Row(State[record.verdict.upper()], record.attempt, record.batch)
        if revokes:
            self.revoked[job], self.revoked_in[job] = place
            speaks = (self.attempt[job], self.batch[job]) <= place
        else:
            speaks = supersedes(row, Row(State(self.state.item(job)), self.attempt.item(job), self.batch.item(job)))
        if speaks:
            self.state[job], self.attempt[job], self.batch[job] = row.state, row.attempt, row.batch
        return bool(speaks)

    def stands_by(self, record: Record) -> bool:
        """Whether a record is the one by which its job is in its state."""
        place = (self.attempt.item(record.job), self.batch.item(record.job))
        return (record.attempt, record.batch) == place

    def row(self, job: int) -> Row:
        """What is known of one job."""
        ((_, state, *numbers),) = self.rows([job])
        return Row(State(state), *numbers)

    def rows(self, jobs: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """(job, the fields of `Row`) of each of these jobs."""
        index = np.asarray(jobs, np.int64)
        return zip(jobs, *(getattr(self, field.name)[index].tolist() for field in fields(self)), strict=True)


def _counted(record: Record) -> tuple[str, ...]:
    """Which counts an attempt adds to."""
    if record.outcome not in (Outcome.FAILED, Outcome.TIMEOUT, Outcome.INTERRUPTED):
        return ()
    if record.failure is None:
        return ("failures",)
    match class_of(record.failure):
        case FailureClass.TIMEOUT:
            return ("failures", "timeouts")
        case FailureClass.OUT_OF_MEMORY:
            return ("failures", "memory_failures")
        case known:
            return ("failures",) if RULES[known].blames_job else ("interruptions",)


STAGES = 3
"""Jobs at which a slot works at once where the generator has stages: one is loaded, one computed, one written."""

LEASE_TARGET_S = 2.0
"""Seconds of work that one lease aims at, more where there are hundreds of slots, so that the scheduler is asked rarely."""

LEASE_COST_S, LEASE_COST_PART = 0.005, 0.25
"""What a lease costs scheduler and worker, and which part of a lease's time one for each slot may take."""

LEASE_MAX = 1000


def lease_size(mean_duration_s: float | None, waiting: int, slots: int) -> int:
    """How many jobs one lease carries: one as long as nothing is known or jobs are long, many when they are short.

    Never more than half of what each slot would get of the queue, so that the tail stays balanced.
    """
    if mean_duration_s is None:
        return 1
    target_s = max(LEASE_TARGET_S, slots * LEASE_COST_S / LEASE_COST_PART)
    by_time = int(target_s / max(mean_duration_s, 1e-4))
    return max(1, min(by_time, LEASE_MAX, waiting // (2 * max(slots, 1))))


QUEUE_AHEAD_S, QUEUED_MAX = 0.5, 4
"""Leases wait behind one another in a slot for so much work, and so many at most, so that it is never idle between them."""

LAG_SHOWS, LAG_HURTS = 0.01, 0.1
"""Where a lease for each slot costs this part of what one takes, another waits behind it; in the tail from the second on."""

LEASE_TAIL_ROUNDS = 2
"""Rounds of leases before the end in which none waits behind another, unless that hurts."""


def lease_depth(lease_s: float | None, size: int, waiting: int, slots: int, *, staged: bool) -> int:
    """How many leases of `size` jobs a slot may hold: short ones wait behind one another, and stages want a job each.

    Not where each slot has its last job: then whichever is free takes what is left.
    """
    rounds = waiting // max(slots, 1)
    depth = 1
    if lease_s is not None:
        seconds = max(lease_s, 1e-3)
        depth = min(QUEUED_MAX, 1 + int(QUEUE_AHEAD_S / seconds))
        lag = slots * LEASE_COST_S / seconds
        if lag > LAG_SHOWS and (rounds > LEASE_TAIL_ROUNDS * size or lag > LAG_HURTS):
            depth = max(depth, 2)
    return max(depth, min(STAGES, 1 + rounds)) if staged else depth


BATCH_TARGET_S, BATCH_LEAST_S = 30.0, 5.0
"""Seconds that one batch takes all slots together, as a rule and in the tail of a campaign."""

BATCH_JOBS_MAX = 1000
TAIL_PART = 4
"""A batch takes at most one part in so many of the jobs that are left, down to `BATCH_LEAST_S`."""


def batch_size(mean_duration_s: float | None, waiting: int, slots: int) -> int:
    """How many jobs share one artifact where nobody says: what all slots do in some tens of seconds, less in the tail.

    A job that takes longer than that goes alone, and as long as nothing is known each slot gets one job.
    """
    if mean_duration_s is None:
        return max(slots, 1)
    most, least = (
        int(seconds * max(slots, 1) / max(mean_duration_s, 1e-3)) for seconds in (BATCH_TARGET_S, BATCH_LEAST_S)
    )
    return max(1, min(most, max(least, waiting // TAIL_PART), BATCH_JOBS_MAX))


def estimate(
    jobs: int, seconds: float | None, size_bytes: float | None, slots: int, threads: int, timeout_s: float
) -> dict[str, float | None]:
    """Cost of `jobs` jobs of `seconds` and `size_bytes` each on `slots` slots; None where nothing is known."""
    rounds = -(-jobs // max(slots, 1))
    return {
        "wall_s": None if seconds is None else rounds * seconds,
        "wall_limit_s": rounds * timeout_s,
        "core_hours": None if seconds is None else jobs * seconds * threads / 3600,
        "storage_bytes": None if size_bytes is None else jobs * size_bytes,
    }
