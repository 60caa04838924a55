"""The life of a job: which state follows which, when another attempt is made, how jobs are packed into leases."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from campaign.core.model import Execution, Outcome, Record, State

TERMINAL = frozenset({State.COMPLETED, State.FAILED, State.TIMEOUT, State.MISSING_INPUT, State.CANCELLED})
"""States that a run leaves alone; `retry` sends all but `completed` back to pending."""

INTERRUPTIONS_ALLOWED = 10
"""Attempts of one job that the infrastructure may end before the job counts as failed."""

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
    """What follows from an attempt: the job's state, and, if it is tried again, after how many seconds."""

    state: State
    retry_after_s: float | None = None


def judge(record: Record, failures: int, interruptions: int, policy: Execution) -> Verdict:
    """Decide about a job after an attempt.

    `failures` and `interruptions` count the attempts of the job that ended so, this one included: what the job is
    blamed for and what the infrastructure did have separate budgets, and both are bounded.
    """
    final = Verdict(move(State.RUNNING, _FINAL_MOVE[record.outcome]))
    if record.outcome in (Outcome.COMPLETED, Outcome.MISSING_INPUT):
        return final
    if record.failure is not None and not record.failure.blames_job:
        again = interruptions <= INTERRUPTIONS_ALLOWED
        return Verdict(State.PENDING, 0.0) if again else final
    if failures > policy.max_retries or (record.failure is not None and not record.failure.transient):
        return final
    return Verdict(State.PENDING, backoff_s(policy, failures, record.job))


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
    interruptions: int = 0  # attempts that the infrastructure ended, likewise


def supersedes(new: Row, old: Row) -> bool:
    """Whether a row replaces another of the same job, in whatever order they are seen.

    Completed beats everything, then the later attempt, then the later batch: batch numbers only grow, so that what is
    decided about a job after an attempt beats that attempt.
    """
    if (new.state is State.COMPLETED) != (old.state is State.COMPLETED):
        return new.state is State.COMPLETED
    return (new.attempt, new.batch) > (old.attempt, old.batch)


@dataclass(frozen=True, slots=True)
class JobTable:
    """What is known of each job between attempts, as columns over the design's index; folded from records."""

    state: npt.NDArray[np.int8]
    attempt: npt.NDArray[np.int16]
    batch: npt.NDArray[np.int32]
    failures: npt.NDArray[np.int16]
    interruptions: npt.NDArray[np.int16]

    @classmethod
    def empty(cls, size: int) -> JobTable:
        """Every job pending, nothing tried."""
        attempt, failures, interruptions = (np.zeros(size, np.int16) for _ in range(3))
        return cls(np.zeros(size, np.int8), attempt, np.full(size, -1, np.int32), failures, interruptions)

    def copy(self) -> JobTable:
        """A table of its own."""
        return JobTable(
            self.state.copy(), self.attempt.copy(), self.batch.copy(), self.failures.copy(), self.interruptions.copy()
        )

    def judge(self, record: Record, policy: Execution) -> Verdict:
        """Decide about the record's job as if the record were folded in."""
        blamed, interrupted = _counted(record)
        return judge(
            record, int(self.failures[record.job]) + blamed, int(self.interruptions[record.job]) + interrupted, policy
        )

    def fold(self, record: Record) -> bool:
        """Take a record with its verdict in; True where it now speaks for the job."""
        job = record.job
        if record.outcome is Outcome.REQUEUED:
            self.failures[job] = self.interruptions[job] = 0
        else:
            blamed, interrupted = _counted(record)
            self.failures[job] += blamed
            self.interruptions[job] += interrupted
        row = Row(State[record.verdict.upper()], record.attempt, record.batch)
        if not supersedes(row, self.row(job)):
            return False
        self.state[job], self.attempt[job], self.batch[job] = row.state, row.attempt, row.batch
        return True

    def row(self, job: int) -> Row:
        """What is known of one job."""
        return Row(
            State(self.state[job]),
            int(self.attempt[job]),
            int(self.batch[job]),
            int(self.failures[job]),
            int(self.interruptions[job]),
        )


def _counted(record: Record) -> tuple[int, int]:
    """(blamed, interrupted): which budget an attempt is charged to."""
    if record.outcome not in (Outcome.FAILED, Outcome.TIMEOUT, Outcome.INTERRUPTED):
        return 0, 0
    outside = record.failure is not None and not record.failure.blames_job
    return (0, 1) if outside else (1, 0)


LEASE_TARGET_S = 2.0
"""Seconds of work that one lease aims at, so that the scheduler is asked rarely and a stop is quick."""

LEASE_MAX = 500


def lease_size(mean_duration_s: float | None, waiting: int, slots: int) -> int:
    """How many jobs one lease carries: one as long as nothing is known or jobs are long, many when they are short.

    Never more than half of what each slot would get of the queue, so that the tail stays balanced.
    """
    if mean_duration_s is None:
        return 1
    by_time = int(LEASE_TARGET_S / max(mean_duration_s, 1e-4))
    return max(1, min(by_time, LEASE_MAX, waiting // (2 * max(slots, 1))))


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
