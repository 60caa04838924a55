import io

import pytest
from rich.console import Console
from rich.text import Text
from scenes import Scene

from campaign.adapters.terminal import LiveView, PlainView, line
from campaign.core.model import State
from campaign.core.words import duration
from campaign.ports import NodeLook, Progress, Trouble

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
            view.observe(progress())
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("r0000/mock_z1.000 attempt 2 failed: [generator.raised] no [bold] luck")


def test_a_log_of_days_has_a_line_every_few_minutes():
    stream, now = io.StringIO(), 0.0
    view = PlainView(stream, lambda: now)
    for now in range(0, 48 * 3600, 5):
        view.observe(progress(failures=(), elapsed_s=float(now)))
    assert 20 + 47 * 12 < len(stream.getvalue().splitlines()) < 20 + 49 * 12


@pytest.fixture
def console():
    return Console(file=io.StringIO(), force_terminal=True, width=120, height=40)


def test_the_live_view_shows_bar_states_map_and_what_failed_as_it_is(console):
    scene = Scene()
    scene.states[:100] = State.COMPLETED
    scene.states[100] = State.FAILED
    scene.troubles = [Trouble(1, "no [bold] luck", "r0005/mock_z0.000", "campaign retry x")]
    scene.nodes.append(NodeLook("nid02", 64, 0, 0, 0, None, "lost"))
    with LiveView(scene, console) as view:
        view.observe(scene.look().progress)
    shown = Text.from_ansi(console.file.getvalue()).plain
    assert "101/40000" in shown
    assert "1 no [bold] luck" in shown
    assert "node nid02: lost" in shown
    assert "left 1 h 00 min" in shown
    assert "the allocation ends in 30 min 00 s; a job: load 0.5 s, compute 2 s; memory 6%" in shown
    assert "X" in next(row for row in shown.splitlines() if "0..0.1 " in row)


def test_a_redraw_that_takes_long_happens_seldom(console, monkeypatch):
    scene, times = Scene(), iter(range(10_000))
    monkeypatch.setattr("campaign.adapters.terminal.time.monotonic", lambda: float(next(times)))
    with LiveView(scene, console) as view:
        drawn = []
        monkeypatch.setattr(view, "render", lambda look: drawn.append(look) or "")
        for _ in range(300):
            view.observe(scene.look().progress)
    assert 1 <= len(drawn) <= 4
