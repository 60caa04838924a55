"""A node on which things fail, a campaign in which everything does."""

from dataclasses import replace

import pytest

from campaign.core.health import FAILING_ALLOWED, FEWEST_JOBS, UNREADY_ALLOWED, Health
from campaign.core.model import FailureClass, Outcome
from tests.core.test_lifecycle import record
from tests.core.test_policy import FAILURES


def failed(job, known=FailureClass.ERROR):
    return replace(record(Outcome.FAILED, FAILURES[known]), job=job)


def completed(job):
    return replace(record(Outcome.COMPLETED), job=job)


def test_a_node_on_which_jobs_fail_while_others_complete_elsewhere_is_trouble():
    health = Health(1.0)
    for job in range(FAILING_ALLOWED):
        health.note(failed(job, FailureClass.CRASH), "sick")
        health.note(completed(100 + job), "well")
    assert "in a row failed there" in health.trouble_with("sick")
    assert health.trouble_with("well") == ""
    health.forget(["sick"])
    assert health.trouble_with("sick") == ""


@pytest.mark.parametrize("known", [FailureClass.MISSING_INPUT, FailureClass.WORKER_LOST])
def test_what_says_nothing_about_a_node_is_not_held_against_it(known):
    health = Health(1.0)
    health.note(failed(0), "sick")
    health.note(completed(100), "well")
    for job in range(20):
        health.note(failed(job, known), "sick")
    assert health.trouble_with("sick") == ""


def test_one_job_that_always_fails_is_not_the_node():
    health = Health(1.0)
    for _ in range(20):
        health.note(failed(7, FailureClass.CRASH), "node")
        health.note(completed(8), "other")
    assert health.trouble_with("node") == ""


def test_a_completion_clears_a_node():
    health = Health(1.0)
    for job in range(FAILING_ALLOWED - 1):
        health.note(failed(job), "node")
        health.note(completed(50), "other")
    health.note(completed(60), "node")
    health.note(failed(70), "node")
    assert health.trouble_with("node") == ""


def test_slots_that_do_not_come_up_are_counted_in_a_row():
    health = Health(1.0)
    for _ in range(UNREADY_ALLOWED - 1):
        health.note(failed(0, FailureClass.NODE), "node")
    assert health.trouble_with("node") == ""
    health.note(completed(1), "node")
    for _ in range(UNREADY_ALLOWED):
        health.note(failed(0, FailureClass.NODE), "node")
    assert "could not be started" in health.trouble_with("node")


def test_a_campaign_that_fails_everywhere_is_trouble_and_one_that_fails_a_little_is_not():
    health = Health(0.5)
    for job in range(FEWEST_JOBS - 1):
        health.note(failed(job), "node")
    assert health.trouble_everywhere() == ""
    health.note(failed(FEWEST_JOBS), "node")
    assert "20 of the latest 20 jobs failed" in health.trouble_everywhere()
    for job in range(FEWEST_JOBS):
        health.note(completed(job), "node")  # they were tried again
    assert health.trouble_everywhere() == ""


def test_a_rate_of_one_never_stops():
    health = Health(1.0)
    for job in range(100):
        health.note(failed(job), "node")
    assert health.trouble_everywhere() == ""
