"""What other programs see of a run: the snapshot, the metrics, the log of events."""

import json
import logging

import numpy as np
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from scenes import Scene

from campaign.adapters.eventlog import EventLog
from campaign.adapters.metrics import exported
from campaign.adapters.progress import ProgressFile, look_of
from campaign.core.model import State
from campaign.ports import NodeLook, Trouble


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


def test_events_that_can_not_be_written_stop_nothing(tmp_path, clock, caplog):
    caplog.set_level(logging.WARNING, "campaign")
    log = EventLog(tmp_path / "gone" / "events.jsonl", clock)
    for _ in range(3):
        log.hear("job_ended", job=3)
        log.write()
    assert caplog.text.count("events can't be written") == 1
