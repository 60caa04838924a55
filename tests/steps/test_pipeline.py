"""Stages side by side: the same bytes, bounded, and whatever goes wrong belongs to its job."""

import threading
import time
from dataclasses import replace

import pytest

from campaign.adapters.local import SystemClock
from campaign.attempt import Attempt
from campaign.core.model import Outcome
from campaign.pipeline import Pipeline
from campaign.ports import Staged
from campaign.testing.scripted import Scripted
from tests.conftest import wait_for


class Stages(Scripted):
    """The scripted generator in stages that can be held, and that note what they do."""

    def __init__(self):
        self.log, self.held = [], {}
        self._lock = threading.Lock()

    def _at(self, stage, task):
        with self._lock:
            self.log.append((stage, task.job))
        if (gate := self.held.get((stage, task.job))) is not None:
            assert gate.wait(20)
        if task.config["script"].get(f"{task.name} {stage}"):
            raise ValueError(f"{stage} of {task.name}")

    def load(self, task, phase):
        self._at("load", task)
        return f"input of {task.job}"

    def compute(self, task, loaded, phase):
        self._at("compute", task)
        assert loaded == f"input of {task.job}"
        return loaded

    def write(self, task, made, target, phase):
        self._at("write", task)
        return self.generate(task, target, phase)


@pytest.fixture
def world(scripted_plan, tmp_path):
    """Makes a pipeline that works in a thread: (generator, pipeline, its records, tasks of so many jobs)."""
    threads = []

    def make(script="{}", staged=True):
        generator, records, told = Stages(), [], []
        plan = scripted_plan(options=f"{{script: {script}}}")
        clock = SystemClock()
        pipeline = Pipeline(
            lambda task: Attempt(task, generator, tmp_path, clock, staged=staged),
            told.append,
            records.append,
            staged=staged,
        )
        threads.append((pipeline, threading.Thread(target=pipeline.work)))
        threads[-1][1].start()
        generator.told = told
        return generator, pipeline, records, [plan.task(job, 1, 0) for job in range(plan.size)]

    yield make
    for pipeline, thread in threads:
        pipeline.close()
        thread.join(20)
        assert not thread.is_alive()


def products(directory):
    return {path.name: path.read_bytes() for path in (directory / "catalogs").rglob("*.txt")}


def test_the_scripted_generator_with_stages_is_staged():
    assert isinstance(Stages(), Staged)
    assert not isinstance(Scripted(), Staged)


def test_stages_and_no_stages_give_the_same_bytes_and_records_in_order(world, tmp_path):
    _, pipeline, records, tasks = world()
    pipeline.put(tasks)
    wait_for(lambda: len(records) == len(tasks))
    assert [r.job for r in records] == [t.job for t in tasks]
    assert all(r.outcome is Outcome.COMPLETED for r in records)
    made = products(tmp_path)
    for path in (tmp_path / "catalogs").rglob("*.txt"):
        path.unlink()
    _, plain, again, _ = world(staged=False)
    plain.put(tasks)
    wait_for(lambda: len(again) == len(tasks))
    assert products(tmp_path) == made
    assert [r.measurements for r in again] == [r.measurements for r in records]


def test_three_jobs_are_at_work_and_never_more(world):
    generator, pipeline, records, tasks = world()
    computes, writes = threading.Event(), threading.Event()
    generator.held = {("compute", 1): computes, ("write", 0): writes}
    pipeline.put(tasks[:5])
    wait_for(lambda: {("write", 0), ("compute", 1), ("load", 2)} <= set(generator.log))
    computes.set()  # the second is computed and waits for the writer: the third is not begun, the fourth is not loaded
    time.sleep(0.1)
    assert ("load", 3) not in generator.log
    assert ("compute", 2) not in generator.log
    assert records == []
    writes.set()
    wait_for(lambda: len(records) == 5)
    assert [job for stage, job in generator.log if stage == "compute"] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("stage", ["load", "compute", "write"])
def test_an_error_in_any_stage_belongs_to_its_job(world, tmp_path, stage):
    _, pipeline, records, tasks = world(f'{{"r0000/mock_z1.000 {stage}": [x]}}')
    pipeline.put(tasks[:4])
    wait_for(lambda: len(records) == 4)
    assert [r.outcome for r in records] == [Outcome.COMPLETED, Outcome.FAILED, Outcome.COMPLETED, Outcome.COMPLETED]
    assert records[1].failure.message == f"{stage} of r0000/mock_z1.000"
    assert records[1].failure.phase == stage
    assert len(products(tmp_path)) >= 2
    assert not list((tmp_path / "staging" / "products").iterdir())


def test_what_is_not_begun_is_taken_back_even_if_it_was_loaded(world):
    generator, pipeline, records, tasks = world()
    gate = threading.Event()
    generator.held = {("compute", 0): gate}
    pipeline.put(tasks[:3])
    wait_for(lambda: ("load", 1) in generator.log)
    assert pipeline.take_back() == [1, 2]
    gate.set()
    wait_for(lambda: len(records) == 1)
    pipeline.put(tasks[1:2])
    wait_for(lambda: len(records) == 2)
    assert [m["job"] for m in generator.told if m["event"] == "begun"] == [0, 1]


def test_what_is_being_loaded_is_given_back_when_nobody_is_at_work_at_it(world):
    generator, pipeline, records, tasks = world()
    computes, loads = threading.Event(), threading.Event()
    generator.held = {("compute", 0): computes, ("load", 1): loads}
    pipeline.put(tasks[:2])
    wait_for(lambda: ("load", 1) in generator.log)
    given_back = []
    thread = threading.Thread(target=lambda: given_back.extend(pipeline.take_back()))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    loads.set()
    thread.join(20)
    assert given_back == [1]
    computes.set()
    wait_for(lambda: len(records) == 1)


def test_two_jobs_are_never_loaded_at_once(world):
    generator, pipeline, records, tasks = world()
    at_once, now = [], []

    def load(task, phase):
        now.append(task.job)
        at_once.append(len(now))
        time.sleep(0.02)
        now.remove(task.job)
        return f"input of {task.job}"

    generator.load = load
    for task in tasks:
        pipeline.put([task])
    wait_for(lambda: len(records) == len(tasks))
    assert max(at_once) == 1


def test_a_second_attempt_is_alone(world):
    generator, pipeline, records, tasks = world()
    pipeline.put([tasks[0], replace(tasks[1], attempt=2), tasks[2]])
    wait_for(lambda: len(records) == 3)
    assert generator.log == [(stage, job) for job in (0, 1) for stage in ("load", "compute", "write")] + [
        (stage, 2) for stage in ("load", "compute", "write")
    ]


def test_duration_is_the_time_at_work_not_the_time_between_stages(world):
    generator, pipeline, records, tasks = world()
    gate = threading.Event()
    generator.held = {("compute", 0): gate}
    pipeline.put(tasks[:2])
    wait_for(lambda: ("load", 1) in generator.log)
    time.sleep(0.5)
    gate.set()
    wait_for(lambda: len(records) == 2)
    assert records[0].duration_s > 0.5 > records[1].duration_s
    assert set(records[1].phases_s) == {"load", "compute", "write", "act", "verify"}
