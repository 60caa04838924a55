"""Jobs in the hands of a slot."""

from hypothesis import given
from hypothesis import strategies as st

from campaign.core.pace import AHEAD_MAX, AHEAD_S, Pace


def paced(seconds, jobs=200, busy=True):
    pace = Pace()
    for n in range(jobs):
        pace.note(1000.0 + n * seconds, seconds, busy=busy)
    return pace


@given(st.floats(0, 1e4), st.integers(1, 3))
def test_no_fewer_than_the_least_and_never_more_than_a_moment_of_work(seconds, least):
    ahead = paced(seconds).ahead(least)
    assert least <= ahead <= max(least, AHEAD_MAX)
    assert ahead <= max(least, 2) or (ahead - 1) * seconds <= AHEAD_S * 1.01


def test_nothing_is_handed_ahead_as_long_as_nothing_is_known():
    assert Pace().ahead(1) == 1


def test_the_time_in_which_a_slot_had_nothing_to_do_does_not_count():
    pace = Pace()
    for n in range(50):
        pace.note(1000.0 + 100.0 * n, 0.001, busy=False)
    assert pace.ahead(1) == 51
    assert paced(0.001).ahead(1) in (50, 51)
    assert paced(60.0).ahead(3) == 3
