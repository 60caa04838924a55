"""What other programs see of a run: the snapshot, the metrics, the log of events."""

import json
import logging
import os
import socket

import numpy as np
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from scenes import Scene

from campaign.adapters.eventlog import EventLog, ended_with
from campaign.adapters.metrics import exported
from campaign.adapters.progress import ProgressFile, look_of, read_snapshot, together
from campaign.core.model import Axis, State
from campaign.ports import NodeLook, Trouble
from campaign.showing import Followers


def test_a_snapshot_tells_what_was_seen(tmp_path, clock):
    scene = Scene()
    scene.states[::7] = State.RUNNING
    scene.troubles = [Trouble(3, "error: no luck", "r0001", "campaign retry x")]
    scene.nodes.append(NodeLook("nid02", 64, 0, 1, 2, None, "lost", 1))
    file = ProgressFile(tmp_path / "progress.json", clock, scene)
    file.observe(scene.look().progress)
    told, seen = look_of(json.loads((tmp_path / "progress.json").read_text())), scene.look()
    assert (told.states == seen.states).all()
    assert (told.progress, list(told.nodes), list(told.troubles)) == (seen.progress, seen.nodes, seen.troubles)
    assert (told.phases_s, told.memory_bytes) == (seen.phases_s, seen.memory_bytes)
    (tmp_path / "progress.json").unlink()
    file.observe(seen.progress)
    assert not (tmp_path / "progress.json").exists()  # not yet
    clock.seconds += 10
    file.observe(seen.progress)
    assert (tmp_path / "progress.json").exists()


def test_a_snapshot_of_somebody_else_or_of_other_jobs_tells_nothing(tmp_path, clock):
    scene, path = Scene(), tmp_path / "progress.json"
    ProgressFile(path, clock, scene).observe(scene.look().progress)
    me = {"host": socket.gethostname(), "pid": os.getpid()}
    assert (read_snapshot(path, me, scene.states.size).states == scene.states).all()
    assert read_snapshot(path, me | {"pid": 1}, scene.states.size) is None
    assert read_snapshot(path, me, scene.states.size + 1) is None
    for spoilt in ("{", "[]", json.dumps(json.loads(path.read_text()) | {"nodes": [{"name": "x"}]})):
        path.write_text(spoilt)
        assert read_snapshot(path, me, scene.states.size) is None


def test_allocations_that_share_a_campaign_are_seen_together():
    one, other = Scene((Axis("a", tuple(range(6))),)), Scene((Axis("a", tuple(range(6))),))
    one.states[:] = [3, 2, 0, 1, 1, 1]  # what is not its own is queued there
    other.states[:] = [1, 1, 1, 3, 4, 0]
    look = together([one.look(), other.look()])
    assert look.states.tolist() == [3, 2, 0, 3, 4, 0]
    assert look.progress.counts[State.COMPLETED] == 2
    assert (look.progress.slots, look.progress.nodes, look.progress.rate_per_s) == (128, 2, 1.0)
    assert look.progress.remaining_s == 3.0
    assert together([one.look()]).states.tolist() == one.states.tolist()


def test_whoever_follows_a_run_does_not_end_it(caplog, tmp_path, clock):
    class Raises:
        def observe(self, progress):
            raise BrokenPipeError("nobody reads")

        def hear(self, event, **facts):
            raise AssertionError("is told nothing more")

    log = EventLog(tmp_path / "events.jsonl", clock)
    followers = Followers(Raises(), log)
    followers.observe(Scene().look().progress)
    followers.hear("order", order="stop")
    log.write()
    assert json.loads((tmp_path / "events.jsonl").read_text())["event"] == "order"
    assert caplog.text.count("Raises is not told any more: BrokenPipeError: nobody reads") == 1


def metrics():
    families = text_string_to_metric_families(generate_latest(REGISTRY).decode())
    return {
        (sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples
        if sample.name.startswith("campaign_")
    }  # fmt: skip


def test_metrics_are_there_while_a_run_is():
    scene = Scene()
    scene.states[:10] = State.COMPLETED
    with exported(scene):
        seen = metrics()
    assert seen["campaign_jobs", "completed"] == 10
    assert seen["campaign_jobs", "pending"] == scene.states.size - 10
    assert seen["campaign_attempts_completed_total", "nid01"] == 5
    assert seen["campaign_phase_seconds", "compute"] == 2.0
    assert seen["campaign_allocation_left_seconds",] == 1800
    assert metrics() == {}


def test_events_are_lines_of_json(tmp_path, clock):
    log = EventLog(tmp_path / "events.jsonl", clock)
    log.hear("job_ended", job=3, name="r0003/ü", duration_s=0.5)
    log.observe(None)
    log.hear("run_ended", counts={"completed": np.int64(3).item()})
    log.write()
    first, second = map(json.loads, (tmp_path / "events.jsonl").read_text().splitlines())
    assert first == {
        "time": "1970-01-12T13:46:40.000+00:00", "event": "job_ended", "job": 3, "name": "r0003/ü", "duration_s": 0.5,
    }  # fmt: skip
    assert second["counts"] == {"completed": 3}


def test_how_the_latest_run_ended_is_read_from_its_events(tmp_path, clock):
    path = tmp_path / "events.jsonl"
    log = EventLog(path, clock)
    assert ended_with(path) is None
    for event, facts, told in (
        ("run_began", {}, None), ("run_ended", {"exit_code": 0}, 0), ("order", {"order": "stop"}, 0), ("run_began", {}, None),
        ("run_ended", {"exit_code": 4}, 4),
    ):  # fmt: skip
        log.hear(event, **facts)
        log.write()
        assert ended_with(path) == told
    with path.open("a") as file:
        file.write('{"cut o')
    assert ended_with(path) == 4


def test_events_that_can_not_be_written_stop_nothing(tmp_path, clock, caplog):
    caplog.set_level(logging.WARNING, "campaign")
    log = EventLog(tmp_path / "gone" / "events.jsonl", clock)
    for _ in range(3):
        log.hear("job_ended", job=3)
        log.write()
    assert caplog.text.count("events can't be written") == 1
