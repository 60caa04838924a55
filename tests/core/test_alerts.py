"""When somebody is told about a run."""

import pytest

from campaign.core.alerts import Sight, Watch
from campaign.core.model import State
from campaign.core.notices import Kind, Rules


def sight(ended, held=False, **counts):
    return Sight({State[word.upper()]: number for word, number in counts.items()}, ended, held, "no memory")


def told(watch, seen, now_s):
    return [str(alert.kind) for alert in watch.look(seen, now_s)]


def test_a_run_that_does_not_move_is_told_once_and_again_after_a_while():
    watch = Watch(Rules(stalled_s=100, apart_s=1000), 0.0)
    assert told(watch, sight(0, pending=5), 99) == []
    assert told(watch, sight(0, pending=5), 100) == ["stalled"]
    assert told(watch, sight(0, pending=5), 500) == []
    assert told(watch, sight(1, pending=4), 1050) == []
    assert told(watch, sight(1, running=4), 1149) == []
    assert told(watch, sight(1, running=4), 1150) == ["stalled"]


def test_a_run_that_is_held_or_done_does_not_stall():
    watch = Watch(Rules(stalled_s=100), 0.0)
    assert told(watch, sight(3, held=True, pending=5), 1000) == []
    assert told(watch, sight(3, pending=5), 1050) == []
    assert told(watch, sight(3, completed=8), 5000) == []


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"failed": 2, "completed": 7}, []),
        ({"failed": 2, "completed": 18}, []),
        ({"failed": 2, "timeout": 1, "completed": 18}, ["failing"]),
        ({"failed": 40}, ["failing"]),
        ({"missing_input": 40, "completed": 5}, []),
    ],
)
def test_too_many_failures(counts, expected):
    assert told(Watch(Rules(failure_rate=0.1), 0.0), sight(1, **counts), 1) == expected


def test_what_failed_before_the_run_is_not_told_again():
    watch = Watch(Rules(failure_rate=0.1), 0.0)
    assert told(watch, sight(0, failed=40, completed=60), 1) == []
    assert told(watch, sight(20, failed=40, completed=80), 2) == []
    assert told(watch, sight(25, failed=45, completed=80), 3) == ["failing"]


def test_only_what_is_wanted_is_told():
    watch = Watch(Rules(kinds=frozenset({Kind.FINISHED}), stalled_s=1), 0.0)
    assert told(watch, sight(0, pending=5, failed=50), 100) == []
    assert [alert.words for alert in watch.end(Kind.FINISHED, "8 completed", 200)] == ["8 completed"]
    assert watch.end(Kind.STOPPED, "x", 200) == []
    assert watch.end(Kind.FINISHED, "again", 201) == []
