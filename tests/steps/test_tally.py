"""What a run counts."""

from campaign.core.model import Outcome
from campaign.tally import RATE_WINDOW_S, Tally
from tests.adapters.test_artifacts import make_record


def test_the_rate_falls_where_nothing_ends():
    tally = Tally(0.0)
    for second in range(100):
        tally.note(make_record(second), 1.0, float(second))
    assert tally.rate_per_s(100.0) == 1.0
    assert 0 < tally.rate_per_s(RATE_WINDOW_S + 50) < 1
    assert tally.rate_per_s(3600.0) == 0.0


def test_attempts_are_counted_by_node():
    tally = Tally(0.0)
    for n, outcome in enumerate((Outcome.COMPLETED, Outcome.FAILED, Outcome.COMPLETED)):
        tally.note(make_record(n, outcome, node="ab"[n % 2]), 1.0, 1.0)
    assert tally.by_node == {"a": (2, 0), "b": (0, 1)}
    assert (tally.completed, tally.ended) == (2, 3)
