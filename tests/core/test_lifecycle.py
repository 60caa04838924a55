import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.core import lifecycle
from campaign.core.lifecycle import MOVES, TERMINAL, IllegalMoveError, JobTable, Row, judge, move, supersedes
from campaign.core.model import Execution, Failure, Outcome, Record, State
from campaign.core.policy import RULES, UNBLAMED_RETRIES

POLICY = Execution(
    batch_size=10, max_retries=3, retry_backoff="exponential", retry_delay_s=10, retry_delay_max_s=1000, timeout_s=60,
    order="shuffled", missing_input="skip_job", flush_interval_s=30, duration_axis="redshift",
    walltime_quantile=0.999, max_failure_rate=1.0, rules=RULES,
)  # fmt: skip
BLAMED = Failure("ValueError", "generator.raised", "no")
OUTSIDE = Failure("SIGKILL", "slot.killed", "killed", blames_job=False)
HOPELESS = Failure("JobError", "input.empty", "never", transient=False)


def record(outcome, failure=None, attempt=1, verdict="", job=0):
    return Record(
        job=job, name="n", attempt=attempt, batch=0, outcome=outcome, task_fingerprint="f", resolved_config_hash="c",
        fingerprint_version=1, config_fingerprint_schema=1, seed=1, point={}, generator="g", generator_version="1",
        started_ms=0, duration_s=1.0, failure=failure, verdict=verdict,
    )  # fmt: skip


VERBS = sorted({verb for _, verb in MOVES})


@pytest.mark.parametrize(("state", "verb"), list(itertools.product(State, VERBS)))
def test_only_the_moves_in_the_table_are_legal(state, verb):
    if (state, verb) in MOVES:
        assert move(state, verb) is MOVES[state, verb]
    else:
        with pytest.raises(IllegalMoveError, match=state.word):
            move(state, verb)


def test_a_completed_job_stays_completed():
    assert not [verb for state, verb in MOVES if state is State.COMPLETED]


def test_codes_on_disk_never_change():
    assert [s.word for s in State] == [
        "pending", "queued", "running", "completed", "failed", "timeout", "missing_input", "cancelled"
    ]  # fmt: skip
    assert [int(s) for s in State] == list(range(8))


@pytest.mark.parametrize(
    ("outcome", "failure", "failures", "interruptions", "state", "again"),
    [
        (Outcome.COMPLETED, None, 0, 0, State.COMPLETED, False),
        (Outcome.FAILED, BLAMED, 1, 0, State.PENDING, True),
        (Outcome.FAILED, BLAMED, 3, 0, State.PENDING, True),
        (Outcome.FAILED, BLAMED, 4, 0, State.FAILED, False),
        (Outcome.FAILED, HOPELESS, 1, 0, State.FAILED, False),
        (Outcome.TIMEOUT, BLAMED, 4, 0, State.TIMEOUT, False),
        (Outcome.MISSING_INPUT, HOPELESS, 0, 0, State.MISSING_INPUT, False),
        (Outcome.INTERRUPTED, OUTSIDE, 4, 1, State.PENDING, True),
        (Outcome.INTERRUPTED, OUTSIDE, 0, UNBLAMED_RETRIES + 1, State.FAILED, False),
    ],
)
def test_verdicts(outcome, failure, failures, interruptions, state, again):
    verdict = judge(record(outcome, failure), failures, interruptions, POLICY)
    assert verdict.state is state
    assert (verdict.retry_after_s is not None) is again


@given(st.integers(1, 30), st.integers(0, 10**6))
def test_backoff_grows_and_is_bounded(failures, job):
    first, later = lifecycle.backoff_s(POLICY, failures, job), lifecycle.backoff_s(POLICY, failures + 1, job)
    base = min(10 * 2 ** (failures - 1), 1000)
    assert base <= first <= 1.25 * base
    assert later <= 1250
    assert lifecycle.backoff_s(replace(POLICY, retry_backoff="constant"), failures, job) <= 12.5


HISTORIES = st.lists(
    st.sampled_from(["failed", "pending", "completed", "timeout"]), min_size=1, max_size=6
).map(lambda words: [Row(State[w.upper()], n // 2, n) for n, w in enumerate(words, start=2)])  # fmt: skip


@given(HISTORIES, st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter(history, random):
    def fold(rows):
        best = Row(State.PENDING)
        for row in rows:
            best = row if supersedes(row, best) else best
        return best

    shuffled = list(history)
    random.shuffle(shuffled)
    completed = [row for row in history if row.state is State.COMPLETED]
    assert fold(shuffled) == fold(history)
    assert fold(history) == (completed[-1] if completed else history[-1])


def test_a_late_failure_does_not_undo_a_completion():
    table = JobTable.empty(1)
    assert table.fold(record(Outcome.COMPLETED, attempt=2, verdict="completed"))
    assert not table.fold(record(Outcome.FAILED, BLAMED, attempt=3, verdict="failed"))
    assert table.row(0).state is State.COMPLETED


def test_a_person_gives_a_job_fresh_budgets():
    table = JobTable.empty(1)
    for attempt in (1, 2, 3, 4):
        verdict = table.judge(record(Outcome.FAILED, BLAMED, attempt), POLICY)
        table.fold(record(Outcome.FAILED, BLAMED, attempt, verdict.state.word))
    assert table.row(0) == Row(State.FAILED, 4, 0, 4, 0)
    table.fold(replace(record(Outcome.REQUEUED, attempt=4, verdict="pending"), batch=1))
    assert table.row(0) == Row(State.PENDING, 4, 1, 0, 0)
    assert table.judge(record(Outcome.FAILED, BLAMED, 5), POLICY).retry_after_s is not None


@given(st.one_of(st.none(), st.floats(1e-5, 1e5)), st.integers(0, 10**6), st.integers(1, 512))
def test_leases_are_bounded_and_leave_work_for_every_slot(mean, waiting, slots):
    size = lifecycle.lease_size(mean, waiting, slots)
    assert 1 <= size <= lifecycle.LEASE_MAX
    assert size == 1 or size * 2 * slots <= waiting


def test_long_jobs_travel_alone():
    assert lifecycle.lease_size(42.0, 40_000, 128) == 1
    assert lifecycle.lease_size(None, 40_000, 128) == 1


def test_leases_wait_behind_one_another_where_the_time_between_them_would_show():
    def depth(lease_s, waiting=10**6, slots=16, size=1, staged=False):
        return lifecycle.lease_depth(lease_s, size, waiting, slots, staged=staged)

    assert depth(None) == depth(42.0) == 1
    assert depth(0.1) == lifecycle.QUEUED_MAX
    assert depth(42.0, slots=256) == 2
    assert depth(42.0, slots=256, waiting=500) == 1, "the tail stays balanced"
    assert depth(2.0, slots=256, waiting=500) == 2, "unless it would wait for the scheduler"
    assert depth(42.0, staged=True) == lifecycle.STAGES
    assert depth(42.0, staged=True, waiting=10) == 1


@given(mean=st.floats(0, 1e5), waiting=st.integers(1, 10**6), slots=st.integers(1, 4096))
def test_a_batch_takes_some_tens_of_seconds(mean, waiting, slots):
    size = lifecycle.batch_size(mean, waiting, slots)
    assert 1 <= size <= lifecycle.BATCH_JOBS_MAX
    assert size == 1 or size * mean <= lifecycle.BATCH_TARGET_S * slots


def test_long_jobs_have_an_artifact_each_on_few_slots_and_the_tail_is_split():
    assert lifecycle.batch_size(169.0, 40_000, 2) == 1
    assert lifecycle.batch_size(169.0, 40_000, 256) == 45
    assert lifecycle.batch_size(0.001, 40_000, 2) == lifecycle.BATCH_JOBS_MAX
    assert lifecycle.batch_size(None, 40_000, 16) == 16, "one for each slot, as long as nothing is known"
    sizes, left = [], 400
    while left:
        sizes.append(min(lifecycle.batch_size(1.0, left, 4), left))
        left -= sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-2]) == (100, 20)


def test_terminal_states_are_where_no_run_goes_on():
    assert {state for state, verb in MOVES if verb in ("queue", "start")}.isdisjoint(TERMINAL)
