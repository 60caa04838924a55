"""Slots are forked from a process that has done their imports, where that is safe."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from campaign.adapters.forks import Nursery
from campaign.adapters.local import ProcessLauncher
from campaign.assemble import slot_command
from campaign.core.model import Shape, Slot

PATIENCE_S = 30.0


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def program_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[2]


@pytest.fixture
def starter(tmp_path, scripted_plan):
    launchers, processes = [], []

    def make(generator="scripted", environment=None):
        config = scripted_plan().config.options
        hello = {"generator": generator, "config": config, "directory": str(tmp_path)}
        stem = tmp_path / "logs" / "slot"
        launchers.append(ProcessLauncher(hello, environment or {}, stem, partial(slot_command, None), preloads=True))

        def start(number=0, threads=1):
            slot = Slot(number, Shape(threads=threads), ("here",), ((),), ((),))
            processes.append(launchers[-1].start(slot))
            return processes[-1]

        return start

    yield make
    for process in processes:
        process.kill()
    for launcher in launchers:
        launcher.close()


def ready(process):
    message = process.receive(PATIENCE_S)
    assert message["event"] == "ready", message
    return message["pid"]


def test_slots_have_one_parent_that_has_done_their_imports(starter, tmp_path):
    start = starter()
    processes = [start(n) for n in range(3)]
    pids = [ready(process) for process in processes]
    (parent,) = {parent_of(pid) for pid in pids}
    assert program_of(parent) == "campaign.nursery"
    assert parent_of(parent) == os.getpid()
    assert [process.pid for process in processes] == pids
    assert len(list((tmp_path / "logs").glob("slot-00*.log"))) == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_how_a_forked_slot_ended_is_known(starter, number):
    process = starter()()
    os.kill(ready(process), number)
    assert process.wait() == -number
    assert not process.alive()


def test_slots_end_with_their_parent_and_the_next_ones_are_started_from_nothing(starter):
    start = starter()
    process = start()
    pid = ready(process)
    os.kill(parent_of(pid), signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    another = start()
    assert parent_of(ready(another)) == os.getpid()


def test_other_numbers_of_threads_have_another_parent(starter):
    start = starter()
    one, two = (start(n, threads=n + 1) for n in range(2))
    assert parent_of(ready(one)) != parent_of(ready(two))


def test_a_fork_that_is_refused_costs_nobody_else(starter, tmp_path):
    plugin(tmp_path, "os.fork = refuse")
    start = starter("own", {"PYTHONPATH": searched(tmp_path)})
    process = start()
    assert parent_of(ready(process)) == os.getpid()
    another = start(1)
    assert parent_of(ready(another)) == os.getpid()
    assert process.alive()


def test_a_start_that_waits_for_imports_can_be_cut_short(tmp_path):
    plugin(tmp_path, "time.sleep(60)")
    environment = {**os.environ, "PYTHONPATH": searched(tmp_path)}
    nursery = Nursery("own", environment, tmp_path / "log")
    begin = time.monotonic()
    threading.Timer(0.5, nursery.give_up).start()
    assert nursery.fork("", environment, tmp_path / "slot.log") is None
    assert time.monotonic() - begin < 20


UNSAFE = """
import os, subprocess, threading, time
from campaign.testing.scripted import Scripted

def refuse():
    raise OSError(11, "no process can be had")

class Own(Scripted):
    name = "own"

    def preload(self):
        {}
"""


def plugin(directory, body):
    (directory / "own_generator.py").write_text(UNSAFE.format(body))
    information = directory / "own-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[campaign.generators]\nown = own_generator:Own\n")


def searched(directory):
    return os.pathsep.join([str(directory), os.environ.get("PYTHONPATH", "")])


@pytest.mark.parametrize(
    "body",
    [
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        "subprocess.Popen(['sleep', '60'])",
        "raise RuntimeError('no')",
    ],
)
def test_a_process_that_may_not_be_forked_is_not(starter, tmp_path, body):
    plugin(tmp_path, body)
    process = starter("own", {"PYTHONPATH": searched(tmp_path)})()
    assert parent_of(ready(process)) == os.getpid()
