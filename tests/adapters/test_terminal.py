import io

import pytest
from rich.console import Console

from campaign.adapters.terminal import LiveView, PlainView, line
from campaign.core.model import State
from campaign.core.times import duration
from campaign.ports import Progress

FAILURE = {
    "job": 3,
    "name": "r0000/mock_z1.000",
    "attempt": 2,
    "outcome": "failed",
    "code": "generator.raised",
    "message": "no [bold] luck",
}


def progress(**changes):
    counts = dict.fromkeys(State, 0) | {State.COMPLETED: 40, State.RUNNING: 2, State.PENDING: 55, State.FAILED: 3}
    values = {
        "counts": counts, "total": 100, "done_this_run": 43, "elapsed_s": 120.0, "rate_per_s": 0.5, "remaining_s": 114.0,
        "slots": 2, "draining": False, "failures": (FAILURE,),
    }  # fmt: skip
    return Progress(**{**values, **changes})


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (42.4, "42 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (59.6, "1 min 00 s")]
)
def test_durations_are_said_as_people_do(seconds, text):
    assert duration(seconds) == text


def test_a_line_says_everything():
    assert (
        line(progress())
        == "43/100: 55 pending, 2 running, 40 completed, 3 failed; 30.0 jobs/min, about 1 min 54 s left"
    )
    assert "draining" in line(progress(draining=True))
    assert "paused" in line(progress(paused=True))
    assert "none ended in this run yet" in line(progress(rate_per_s=0.0, remaining_s=None))


def test_a_log_tells_each_failure_once():
    stream = io.StringIO()
    with PlainView(stream) as view:
        for _ in range(5):
            view.update(progress())
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("r0000/mock_z1.000 attempt 2 failed: [generator.raised] no [bold] luck")


def test_the_live_view_shows_bar_states_and_failures_as_they_are():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with LiveView("v1.0 test", console) as view:
        view.update(progress())
    shown = console.file.getvalue()
    assert "43/100" in shown
    assert "no [bold] luck" in shown
    assert "left 1 min 54 s" in shown
