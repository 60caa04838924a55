"""The main job as a user runs it: real processes, real kills."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import campaign
from campaign.core.model import State
from campaign.testing import faults
from campaign.testing.torture import descendants
from tests.conftest import wait_for

RUN_FACTS = ["attempt", "batch", "start_time", "duration", "node"]


def start(*arguments, **keywords):
    command = [sys.executable, "-m", "campaign.run", *map(str, arguments), "--dashboard", "off", "--plain"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **keywords)


def finish(process, timeout=120):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def run(*arguments):
    return finish(start(*arguments))


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "campaign", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "campaigns" / "v1.0_scripted"


def same_science(one, other):
    xr.testing.assert_identical(one.drop_vars(RUN_FACTS), other.drop_vars(RUN_FACTS))


def products(directory):
    return {str(p.relative_to(directory)): p.read_bytes() for p in (directory / "catalogs").rglob("*") if p.is_file()}


def test_a_campaign_runs_resumes_at_once_and_reads_without_us(scripted_yaml, directory):
    path = scripted_yaml()
    code, out, err = run(path)
    assert code == 0, err
    assert "12 completed" in out
    dataset = xr.open_zarr(directory / "results.zarr")
    assert (dataset.status == State.COMPLETED).all()
    assert dataset.sizes == {"realization": 4, "redshift": 3, "bin": 4}
    assert campaign.open(directory)["mean"].notnull().all()
    assert len(products(directory)) == 12
    again, out, _ = run(path)
    assert again == 0
    assert "0 completed in this run" in out
    assert list((directory / "staging").rglob("*.*")) == []


def test_failures_end_with_their_own_code_and_can_be_retried(scripted_yaml, directory):
    script = "{r0000/mock_z0.500: [segfault], r0001/mock_z1.000: [exit], r0002/mock_z2.000: [kill, ok], r0003/mock_z0.500: [hang]}"
    path = scripted_yaml(options=f"{{script: {script}}}")
    code, _, err = run(path, "--set", "execution.timeout_hours=0.0003")
    assert code == 4, err
    status = json.loads(command("status", directory, "--json").stdout)
    assert status["counts"] == {"completed": 9, "failed": 2, "timeout": 1}
    assert {f["code"] for f in status["failures"]} >= {"slot.crashed", "job.timed_out"}
    dry = command("retry", directory, "--state", "failed", "--dry-run")
    assert "2 jobs would go back" in dry.stdout
    path.write_text(path.read_text().replace("[segfault]", "[ok]").replace("[exit]", "[ok]").replace("[hang]", "[ok]"))
    retried = command("retry", path, "--run")
    assert retried.returncode == 0, retried.stderr
    assert (xr.open_zarr(directory / "results.zarr").status == State.COMPLETED).all()


@pytest.mark.fault("Ctrl-C", "running jobs end and are committed; the same command goes on")
def test_ctrl_c_drains_and_the_same_command_goes_on(scripted_yaml, directory):
    path = scripted_yaml(realizations="20", options="{seconds: 0.1}")
    process = start(path, start_new_session=True)
    wait_for(lambda: len(products(directory)) > 5 if directory.exists() else False)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group gets it
    code, _, err = finish(process)
    assert code == 3, err
    assert "SIGINT" in err
    assert "Traceback" not in err
    assert "interrupted" not in err
    done = int((xr.open_zarr(directory / "results.zarr").status == State.COMPLETED).sum())
    assert done == len(products(directory)) < 60
    code, out, _ = run(path)
    assert code == 0
    assert f"60 completed ({60 - done} completed in this run)" in out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=lambda n: n.name)
@pytest.mark.fault("SIGTERM or SIGUSR1, as batch systems send them", "running jobs end and are committed; exit code 3")
def test_signals_of_a_batch_system_drain(scripted_yaml, directory, number):
    process = start(scripted_yaml(realizations="30", options="{seconds: 0.1}"))
    wait_for(lambda: len(products(directory)) > 2 if directory.exists() else False)
    process.send_signal(number)
    code, out, err = finish(process)
    assert code == 3, err
    assert number.name in err
    assert "work is left" in out
    assert campaign.audit(directory, hashed=True).sound


@pytest.mark.fault("Ctrl-C twice", "running jobs are ended, unblamed; the same command goes on")
def test_a_second_ctrl_c_stops_at_once(scripted_yaml, directory, tmp_path):
    truth = tmp_path / "truth.txt"
    path = scripted_yaml(realizations="1", options=f"{{script: {{r0000/mock_z1.000: [hang, ok]}}, truth: {truth}}}")
    process = start(path, start_new_session=True)
    wait_for(lambda: len(products(directory)) == 2 and "z1.000" in truth.read_text() if truth.exists() else False)
    family = children_of(process.pid)
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.5)  # two signals at once are one signal
    code, _, err = finish(process, 30)
    assert code == 3, err
    assert "Traceback" not in err
    wait_for(lambda: not any(alive(pid) for pid in family))
    assert int((xr.open_zarr(directory / "results.zarr").status == State.COMPLETED).sum()) == 2
    assert run(path)[0] == 0


@pytest.mark.fault("a second coordinator is started", "refused, with host, process and time of the first")
def test_a_second_coordinator_is_refused_by_name(scripted_yaml, directory):
    path = scripted_yaml(realizations="20", options="{seconds: 0.4}")
    first = start(path)
    wait_for(lambda: len(products(directory)) > 2 if directory.exists() else False)
    code, _, err = run(path)
    assert code == 5
    assert f"process {first.pid}" in err
    status = json.loads(command("status", directory, "--json").stdout)
    assert status["running_on"]["pid"] == first.pid
    assert sum(status["counts"].values()) == 60
    assert command("retry", path).returncode == 5
    first.send_signal(signal.SIGTERM)
    assert finish(first)[0] == 3


def test_a_changed_science_is_refused_with_the_difference(scripted_yaml, directory):
    path = scripted_yaml()
    assert run(path)[0] == 0
    code, _, err = run(path, "--set", "science.seed=5")
    assert code == 2
    assert "science.seed: 0 -> 5" in err
    assert "campaign.version" in err
    code, _, _ = run(path, "--set", "execution.order=redshift_major", "--set", "execution.batch_size=1")
    assert code == 0


def test_a_dry_run_prints_what_would_run_and_touches_nothing(scripted_yaml, directory):
    path = scripted_yaml()
    code, out, _ = run(path, "--dry-run", "--json")
    told = json.loads(out)
    assert code == 0
    assert not directory.exists()
    assert run(path)[0] == 0
    assert {row["product"] for row in told["would_run"]} == set(products(directory))
    assert json.loads(run(path, "--dry-run", "--json")[1])["would_run"] == []


@pytest.mark.fault(
    "an input is missing from the beginning", "found before anything is spent; picked up when it is there"
)
def test_missing_inputs_are_reported_and_picked_up_when_they_come(scripted_yaml, directory, tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for r in range(4):
        for z in ("0.5", "1.0", "2.0"):
            (inputs / f"{r}_{z}").touch()
    (inputs / "2_1.0").unlink()
    path = scripted_yaml(options=f"{{inputs: {inputs}}}")
    code, out, _ = run(path, "--set", "execution.missing_input=skip_realization")
    assert code == 4
    assert "9 completed, 3 missing_input" in out
    plan = command("plan", path)
    assert "2_1.0" in plan.stdout
    (inputs / "2_1.0").touch()
    code, out, _ = run(path)
    assert code == 0
    assert "12 completed (3 completed in this run)" in out


def children_of(pid):
    """Every descendant of a process."""
    return list(descendants(pid))


@pytest.mark.fault(
    "coordinators, workers and slots are killed again and again",
    "dataset and products are those of an undisturbed campaign, byte for byte",
)
@pytest.mark.slow
def test_killed_at_any_moment_the_campaign_ends_as_if_undisturbed(scripted_yaml, directory, tmp_path):
    """Coordinator, worker and slot processes die of SIGKILL again and again; the oracle is what the jobs themselves wrote."""
    stream = random.Random(7)
    truth = tmp_path / "truth.txt"
    path = scripted_yaml(realizations="50", options=f"{{seconds: 0.04, truth: {truth}}}", batch_size=7)
    kills, completed_before = 0, np.zeros((50, 3), bool)
    while kills < 12:
        process = start(path)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1.0 + 1.5 * stream.random())
        if process.poll() is not None:
            process.communicate()
            break
        victims = children_of(process.pid)
        victim = process.pid if kills % 3 != 2 or not victims else stream.choice(victims)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            kills += 1
        if victim != process.pid:
            process.kill()
        process.communicate()
        if (directory / "results.zarr" / "zarr.json").exists():
            done = (xr.open_zarr(directory / "results.zarr").status == State.COMPLETED).values
            assert (done | ~completed_before).all(), "a job that was reported complete is not any more"
            completed_before = done
            for name in np.atleast_1d(xr.open_zarr(directory / "results.zarr").product.values[done]):
                assert (directory / str(name)).exists()
    assert kills >= 3
    code, _, err = run(path)
    assert code == 0, err
    truth_jobs = Counter(line.split()[0] for line in truth.read_text().splitlines())
    assert len(truth_jobs) == 150

    elsewhere = tmp_path / "undisturbed"
    code, _, err = run(path, "--set", f"outputs.base_path={elsewhere}")
    assert code == 0, err
    other = elsewhere / "v1.0_scripted"
    same_science(xr.open_zarr(directory / "results.zarr").load(), xr.open_zarr(other / "results.zarr").load())
    assert products(directory) == products(other)


def parents_of_slots(pid):
    """The Dask workers below a coordinator: whoever has a slot, or the warm parent of slots, as a child."""
    found, family = set(), descendants(pid)
    for child, command in family.items():
        with contextlib.suppress(OSError):
            parent = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
            ours = b"campaign.slot" in command or b"campaign.nursery" in command
            if ours and b"campaign.nursery" not in family.get(parent, b""):
                found.add(parent)
    return sorted(found)


@pytest.mark.fault("a worker is killed", "what ran on it runs again, unblamed; nothing else does")
@pytest.mark.slow
def test_workers_die_and_the_coordinator_goes_on(scripted_yaml, directory, tmp_path):
    truth = tmp_path / "truth.txt"
    path = scripted_yaml(realizations="30", options=f"{{seconds: 0.1, truth: {truth}}}", batch_size=10)
    process = start(path)
    killed = set()
    for wanted in (5, 20, 40):
        wait_for(lambda n=wanted: truth.exists() and len(truth.read_text().splitlines()) > n)
        (worker,) = wait_for(lambda: [p for p in parents_of_slots(process.pid) if p not in killed])
        os.kill(worker, signal.SIGKILL)
        killed.add(worker)
    code, out, err = finish(process)
    assert code == 0, err
    assert "90 completed" in out
    assert "job.interrupted" in err
    # Only what was running when a worker died was begun again.
    begun = Counter(line.split()[0] for line in truth.read_text().splitlines())
    assert len(begun) == 90
    # Of each of two slots: a job that has ended and was not heard of, and the next one, which has begun.
    assert sum(begun.values()) <= 90 + 4 * len(killed)


@pytest.mark.fault("a coordinator is killed", "its workers and slots are gone within seconds")
@pytest.mark.slow
def test_nothing_outlives_a_killed_coordinator(scripted_yaml, directory):
    process = start(scripted_yaml(realizations="50", options="{seconds: 0.2}"))
    wait_for(lambda: len(products(directory)) > 2 if directory.exists() else False)
    family = children_of(process.pid)
    assert len(family) >= 3
    process.kill()
    process.communicate()
    wait_for(lambda: not any(Path(f"/proc/{pid}/stat").exists() and alive(pid) for pid in family), 30)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_output_that_can_not_be_written_is_told(scripted_yaml, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    code, _, err = run(scripted_yaml(), "--set", f"outputs.base_path={tmp_path}/file/x")
    assert code == 3
    assert "can't be written" in err
    assert "outputs.base_path" in err


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes."""
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(faults.small_disk(tmp_path / "disk"))
        except PermissionError:
            pytest.skip("mounting a small file system needs root")


def test_jobs_that_only_measure_make_no_files(scripted_yaml, directory):
    path = scripted_yaml()
    path.write_text(path.read_text().replace("generator: scripted", "generator: measuring"))
    code, _, err = run(path)
    assert code == 0, err
    assert not products(directory)
    dataset = xr.open_zarr(directory / "results.zarr").load()
    assert (dataset.status == State.COMPLETED).all()
    assert dataset["mean"].notnull().all()
    assert set(dataset["product"].values.ravel().tolist()) == {""}
    assert command("audit", directory, "--hash").returncode == 0


@pytest.mark.fault("the disk is full", "the run stops with exit code 3; the next one goes on")
@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_nothing_is_lost(scripted_yaml, small_disk):
    ballast = small_disk / "ballast"
    path = scripted_yaml(realizations="40", options="{seconds: 0.01}", batch_size=5)
    ballast.write_bytes(b"x" * 1_400_000)
    code, out, err = run(path, "--set", f"outputs.base_path={small_disk}", "--set", "execution.retry_delay_s=0.01")
    assert code == 3, out + err
    assert any(words in err for words in ("No space left", "no space left", "disk is full"))
    assert "nothing that was done is lost" in err or "make room" in err
    ballast.unlink()
    root = small_disk / "v1.0_scripted"
    code, out, err = run(path, "--set", f"outputs.base_path={small_disk}")
    assert code == 0, err
    assert (xr.open_zarr(root / "results.zarr").status == State.COMPLETED).all()


@pytest.mark.fault("no slot can be started", "the run stops with exit code 3 and says why; no job is blamed")
def test_a_generator_that_can_not_start_is_told_and_ends(scripted_yaml, directory):
    code, _, err = run(scripted_yaml(options="{slot_fails: true}"))
    assert code == 3
    assert "slots in a row could not be started" in err
    assert "can't be warmed up" in err
    status = json.loads(command("status", directory, "--json").stdout)
    assert status["counts"] == {"pending": 12}, "no job is blamed for it"
    assert {f["code"] for f in status["failures"]} == {"slot.unready"}
    assert run(scripted_yaml(options="{slot_fails: false}"))[0] == 0


def is_paused(directory):
    return json.loads((directory / "metadata" / "progress.json").read_text())["paused"]


@pytest.mark.fault("`campaign stop` from another shell", "running jobs end and are committed; the same command goes on")
@pytest.mark.fault("`campaign abort` from another shell", "running jobs are ended, unblamed; the same command goes on")
def test_orders_from_another_shell_are_obeyed(scripted_yaml, directory, tmp_path):
    hangs, truth = "r0001/mock_z1.000", tmp_path / "truth"
    path = scripted_yaml(
        realizations="60", options=f"{{seconds: 0.1, truth: {truth}, script: {{{hangs}: [hang, ok]}}}}"
    )
    process = start(path, "--set", "execution.order=realization_major")
    wait_for(lambda: truth.exists() and f"{hangs} 1" in truth.read_text() and len(products(directory)) > 5)
    paused = command("pause", directory, "--reason", "quota")
    assert f"obeyed by process {process.pid}" in paused.stdout
    wait_for(lambda: is_paused(directory))
    assert json.loads(command("status", directory, "--json").stdout)["paused"].endswith("quota")
    assert run(path)[0] == 3
    assert command("resume", directory).returncode == 0
    wait_for(lambda: not is_paused(directory))
    assert command("abort", directory, "--wait", "30").returncode == 0
    code, _, err = finish(process)
    assert code == 3, err
    assert "jobs are started again" in err
    assert "Traceback" not in err
    done = len(products(directory))
    assert 5 < done < 180
    assert command("stop", directory).stdout.endswith("nothing to stop\n")
    again = start(path)
    wait_for(lambda: len(products(directory)) > done + 2)
    assert command("stop", directory, "--wait", "30").returncode == 0
    assert finish(again)[0] == 3
    code, out, _ = run(path, "--set", "strategy.defaults.seconds=0")
    assert code == 0
    assert "180 completed" in out
