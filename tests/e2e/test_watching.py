"""A run as others see it: from other shells, by machines, and when it is over."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from tests.conftest import wait_for


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "campaigns" / "v1.0_scripted"


def start(path, *options):
    command = [sys.executable, "-m", "campaign.run", path, "--plain", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def campaign(*words):
    done = subprocess.run(
        [sys.executable, "-m", "campaign", *map(str, words)], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def events(directory):
    return [json.loads(line) for line in (directory / "logs" / "events.jsonl").read_text().splitlines()]


def has_failed_twice(snapshot):
    """Whether two jobs have failed, and the node has told of its memory since."""
    if not snapshot.exists():
        return False
    told = json.loads(snapshot.read_text())
    return told["counts"]["failed"] == 2 and told["nodes"][0]["memory"] is not None


def test_a_run_is_seen_from_elsewhere(scripted_yaml, directory):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    script = "{r0000/mock_z0.500: [raise], r0001/mock_z0.500: [raise]}"
    run = start(
        scripted_yaml(realizations="100", options=f"{{seconds: 0.1, script: {script}}}"), "--dashboard", address,
        "--set", "execution.max_retries=0", "--set", "execution.order=realization_major",
    )  # fmt: skip
    wait_for(lambda: has_failed_twice(directory / "metadata" / "progress.json"))
    code, out, _ = campaign("status", directory)
    assert code == 0
    assert "2 slots on 1 node; a job: " in out
    assert "what failed lately:\n  2 error: " in out
    assert f"campaign failures {directory}" in out
    told = json.loads(campaign("status", directory, "--json")[1])
    assert told["slots"] == 2
    assert told["nodes"][0]["failed"] == 2
    assert told["nodes"][0]["memory"][0] > 2**20
    assert told["troubles"][0]["count"] == 2
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        metrics = answer.read().decode()
    assert 'campaign_jobs{state="failed"} 2.0' in metrics
    assert "dask_scheduler_workers" in metrics
    watching = subprocess.Popen(
        [sys.executable, "-m", "campaign", "monitor", directory, "--interval", "0.2"], stdout=subprocess.PIPE, text=True
    )
    seen = watching.stdout.readline()  # it has looked
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 3
    assert f"Dask dashboard: http://{address}/campaign" in err
    out = seen + watching.stdout.read()
    watching.communicate(timeout=60)
    assert "2 slots on 1 node" in out
    assert out.rstrip().splitlines()[-1].startswith("next: campaign run")
    assert json.loads(campaign("status", directory, "--json")[1])["slots"] is None


@pytest.mark.slow
def test_every_attempt_is_an_event_and_the_report_is_there(scripted_yaml, directory):
    script = "{r0000/mock_z0.500: [raise, ok], r0001/mock_z2.000: [raise]}"
    run = start(scripted_yaml(realizations="4", options=f"{{script: {script}}}"), "--dashboard", "off")
    _, err = run.communicate(timeout=120)
    assert run.returncode == 4
    heard = events(directory)
    assert [event["event"] for event in heard if event["event"] != "job_ended"] == [
        "run_began",
        "node_joined",
        "run_ended",
    ]
    ended = [event for event in heard if event["event"] == "job_ended"]
    assert len(ended) == 12 + 1 + 2  # one retry that helped, two that did not
    first = [
        (event["attempt"], event["state"], event.get("class"))
        for event in ended
        if event["name"] == "r0000/mock_z0.500"
    ]
    assert first == [(1, "pending", "error"), (2, "completed", None)]
    assert heard[-1]["counts"] == {"completed": 11, "failed": 1}
    report = (directory / "qa" / "report.html").read_text()
    assert f"report: {directory}/qa/report.html" in err
    assert "11 of 12" in report
    assert "the script says so" in report
    assert "<script" not in report
    (directory / "qa" / "report.html").unlink()
    (directory / "qa" / "summary_plots" / "mine.png").write_bytes(b"\x89PNG")
    code, out, _ = campaign("report", directory, "--json")
    assert (code, json.loads(out)) == (0, {"report": f"{directory}/qa/report.html"})
    assert "mine.png" in (directory / "qa" / "report.html").read_text()


def test_a_run_that_is_killed_leaves_its_events_and_the_next_one_appends(scripted_yaml, directory):
    path = scripted_yaml(realizations="40", options="{seconds: 0.05}")
    killed = start(path, "--dashboard", "off")
    wait_for(lambda: (directory / "logs" / "events.jsonl").exists() and len(events(directory)) > 5)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    first = len(events(directory))
    run = start(path, "--dashboard", "off")
    run.communicate(timeout=120)
    assert run.returncode == 0
    heard = events(directory)
    assert [event["event"] for event in heard].count("run_began") == 2
    assert heard[first]["event"] == "run_began"


def test_a_campaign_without_a_dataset_has_no_report(scripted_yaml, directory):
    path = scripted_yaml()
    assert campaign("init", path)[0] == 0
    code, _, err = campaign("report", path)
    assert code == 2
    assert "there is no dataset" in err
