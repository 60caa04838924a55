"""A node on which things fail, a campaign in which everything does."""

from dataclasses import replace

import pytest

from campaign.core.health import CONVICTIONS_ALLOWED, FEWEST_JOBS, UNREADY_ALLOWED, Health
from campaign.core.model import FailureClass, Outcome
from tests.core.test_lifecycle import record
from tests.core.test_policy import FAILURES


class Ward:
    """Health, told in few words."""

    def __init__(self, rate=1.0):
        self.health, self.failed_before = Health(rate), set()

    def fails(self, job, *nodes, known=FailureClass.CRASH):
        ended = replace(record(Outcome.FAILED, FAILURES[known]), job=job)
        self.health.note(ended, nodes, fresh=job not in self.failed_before)
        self.failed_before.add(job)

    def completes(self, job, *nodes):
        ended = replace(record(Outcome.COMPLETED), job=job)
        self.health.note(ended, nodes, fresh=job not in self.failed_before)


@pytest.fixture
def ward():
    return Ward()


def test_a_node_is_trouble_when_jobs_that_failed_there_complete_elsewhere(ward):
    for job in range(CONVICTIONS_ALLOWED):
        assert ward.health.trouble_with("sick") == ""
        ward.fails(job, "sick")
        ward.completes(job, "well")
    assert "failed there and completed elsewhere" in ward.health.trouble_with("sick")
    assert ward.health.trouble_with("well") == ""
    ward.health.forget(["sick"])
    assert ward.health.trouble_with("sick") == ""


def test_jobs_that_fail_everywhere_are_not_the_node(ward):
    for job in range(50):
        for node in ("a", "b", "c"):
            ward.fails(job, node, known=FailureClass.ERROR)
    for job in range(100, 150):
        ward.completes(job, "d")
    assert [ward.health.trouble_with(node) for node in "abcd"] == [""] * 4


def test_a_completion_clears_a_node(ward):
    for job in range(20):
        ward.fails(job, "node")
        ward.completes(job, "other")
        ward.completes(100 + job, "node")
    assert ward.health.trouble_with("node") == ""


@pytest.mark.parametrize("known", [FailureClass.MISSING_INPUT, FailureClass.WORKER_LOST])
def test_what_says_nothing_about_a_node_is_not_held_against_it(ward, known):
    for job in range(20):
        ward.fails(job, "node", known=known)
        ward.completes(job, "other")
    assert ward.health.trouble_with("node") == ""


def test_of_the_nodes_of_wide_slots_the_one_that_all_failures_share_is_trouble(ward):
    for job, partner in enumerate("abc"):
        ward.fails(job, partner, "sick")
        ward.completes(job, "d", "e")
        ward.completes(100 + job, partner, "d")
    assert "elsewhere" in ward.health.trouble_with("sick")
    assert [ward.health.trouble_with(node) for node in "abc"] == [""] * 3


def test_slots_that_do_not_come_up_are_counted_in_a_row(ward):
    for _ in range(UNREADY_ALLOWED - 1):
        ward.fails(0, "node", known=FailureClass.NODE)
    assert ward.health.trouble_with("node") == ""
    ward.completes(1, "node")
    for _ in range(UNREADY_ALLOWED):
        ward.fails(0, "node", known=FailureClass.NODE)
    assert "could not be started" in ward.health.trouble_with("node")


def test_a_campaign_that_fails_everywhere_is_trouble():
    ward = Ward(0.5)
    for job in range(FEWEST_JOBS - 1):
        ward.fails(job, "node")
    assert ward.health.trouble_everywhere() == ""
    ward.fails(FEWEST_JOBS, "node")
    assert "20 of the latest 20 jobs failed" in ward.health.trouble_everywhere()
    for job in range(FEWEST_JOBS + 1):
        ward.completes(job, "node")  # they were tried again
    assert ward.health.trouble_everywhere() == ""


def test_a_few_jobs_that_fail_again_and_again_are_not_the_campaign():
    ward = Ward(0.5)
    for job in range(10_000):
        if job % 300 == 0:
            ward.fails(job, "node")
        else:
            ward.completes(job, "node")
        assert ward.health.trouble_everywhere() == ""
    for _ in range(4):  # the tail: nothing but retries is left
        for job in range(0, 10_000, 300):
            ward.fails(job, "node")
            assert ward.health.trouble_everywhere() == ""


def test_after_a_restart_what_had_failed_before_does_not_stop_the_run_again():
    ward = Ward(0.5)
    ward.failed_before = set(range(100))
    for job in range(100):
        ward.fails(job, "node")
    assert ward.health.trouble_everywhere() == ""


def test_a_rate_of_one_never_stops(ward):
    for job in range(100):
        ward.fails(job, "node")
    assert ward.health.trouble_everywhere() == ""
