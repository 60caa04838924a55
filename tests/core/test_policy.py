"""Classes of failure and their rules."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.core.lifecycle import JobTable
from campaign.core.model import Failure, FailureClass, Outcome, State
from campaign.core.policy import RULES, UNBLAMED_RETRIES, class_of
from campaign.errors import Code
from tests.core.test_lifecycle import POLICY, record

FAILURES = {
    FailureClass.INFRASTRUCTURE: Failure("StorageError", Code.STORAGE_FULL, "full", blames_job=False),
    FailureClass.WORKER_LOST: Failure("WorkerLost", Code.INTERRUPTED, "gone", blames_job=False),
    FailureClass.NODE: Failure("SlotUnready", Code.SLOT_UNREADY, "cold", blames_job=False),
    FailureClass.KILLED: Failure("SIGKILL", Code.SLOT_KILLED, "killed", blames_job=False),
    FailureClass.CRASH: Failure("SIGSEGV", Code.SLOT_CRASHED, "crashed"),
    FailureClass.TIMEOUT: Failure("TimeoutError", Code.TIMED_OUT, "still running"),
    FailureClass.OUT_OF_MEMORY: Failure("MemoryError", Code.MEMORY_EXCEEDED, "too much"),
    FailureClass.BAD_PRODUCT: Failure("ProductError", Code.PRODUCT_INVALID, "garbage"),
    FailureClass.ERROR: Failure("ValueError", Code.GENERATOR_RAISED, "no"),
    FailureClass.USER_ERROR: Failure("JobError", Code.INPUT_NOT_FINITE, "never", transient=False),
    FailureClass.MISSING_INPUT: Failure("InputError", Code.INPUT_MISSING, "away", transient=False),
}


@pytest.mark.parametrize("known", list(FailureClass))
def test_every_failure_has_its_class_and_every_class_its_rule(known):
    assert class_of(FAILURES[known]) is known
    assert RULES[known].blames_job == FAILURES[known].blames_job


@pytest.mark.parametrize("code", [Code.SLOT_CRASHED, Code.SLOT_KILLED, Code.SLOT_UNREADY])
def test_a_slot_that_dies_before_it_is_ready_is_the_node_s_trouble(code):
    assert (
        class_of(Failure("SIGSEGV", code, "an import crashed", phase="warm_up", blames_job=False)) is FailureClass.NODE
    )


@pytest.mark.parametrize(
    "failure",
    [
        Failure("MemoryError", Code.GENERATOR_RAISED, ""),
        Failure("XlaRuntimeError", Code.GENERATOR_RAISED, "RESOURCE_EXHAUSTED: out of memory while allocating"),
    ],
)
def test_memory_that_python_or_jax_lacks_is_memory(failure):
    assert class_of(failure) is FailureClass.OUT_OF_MEMORY


def test_a_campaign_may_have_rules_of_its_own():
    once = replace(POLICY, rules={**RULES, FailureClass.TIMEOUT: replace(RULES[FailureClass.TIMEOUT], max_retries=0)})
    late = record(Outcome.TIMEOUT, FAILURES[FailureClass.TIMEOUT])
    table = JobTable.empty(1)
    assert table.judge(late, once).state is State.TIMEOUT
    assert table.judge(late, POLICY).state is State.PENDING


@given(st.lists(st.sampled_from(sorted(FailureClass)), max_size=60))
def test_attempts_are_bounded_whatever_happens(classes):
    table, attempts = JobTable.empty(1), 0
    for known in classes:
        attempts += 1
        outcome = Outcome.FAILED if RULES[known].blames_job else Outcome.INTERRUPTED
        ended = record(outcome, FAILURES[known], attempts)
        verdict = table.judge(ended, POLICY)
        table.fold(replace(ended, verdict=verdict.state.word))
        if verdict.state is not State.PENDING:
            break
    assert attempts <= 1 + POLICY.max_retries + UNBLAMED_RETRIES
    assert len(classes) <= POLICY.max_retries or attempts <= len(classes)


def test_what_ran_out_is_counted_apart():
    table = JobTable.empty(1)
    for n, known in enumerate((FailureClass.TIMEOUT, FailureClass.OUT_OF_MEMORY, FailureClass.TIMEOUT), start=1):
        table.fold(record(Outcome.FAILED, FAILURES[known], n, "pending"))
    row = table.row(0)
    assert (row.failures, row.timeouts, row.memory_failures, row.interruptions) == (3, 2, 1, 0)


def test_a_revoked_product_sends_its_job_back_and_only_later_attempts_count():
    table = JobTable.empty(1)
    done = replace(record(Outcome.COMPLETED, attempt=2, verdict="completed"), batch=3)
    table.fold(done)
    revoked = replace(record(Outcome.REVOKED, attempt=2, verdict="pending"), batch=4)
    assert table.fold(revoked)
    assert not table.fold(done), "a duplicate of what was revoked is no completion"
    assert table.row(0).state is State.PENDING
    assert table.fold(replace(record(Outcome.COMPLETED, attempt=3, verdict="completed"), batch=5))
    assert not table.fold(revoked)
    assert table.row(0).state is State.COMPLETED


@given(st.permutations(range(2)), st.permutations(range(3, 5)), st.integers(0, 4))
def test_a_revocation_comes_after_what_it_revokes_and_the_rest_in_any_order_with_any_duplicate(before, after, twice):
    history = [
        replace(record(Outcome.FAILED, FAILURES[FailureClass.ERROR], 1, "pending"), batch=0),
        replace(record(Outcome.COMPLETED, attempt=2, verdict="completed"), batch=1),
        replace(record(Outcome.REVOKED, attempt=2, verdict="pending"), batch=2),
        replace(record(Outcome.FAILED, FAILURES[FailureClass.ERROR], 3, "pending"), batch=3),
        replace(record(Outcome.MISSING_INPUT, FAILURES[FailureClass.MISSING_INPUT], 3, "missing_input"), batch=4),
    ]
    table = JobTable.empty(1)
    for place in [*before, 2, *after, twice]:
        table.fold(history[place])
    assert (table.row(0).state, table.row(0).attempt) == (State.MISSING_INPUT, 3)
