"""A generator whose every attempt does what a script says: the faults of the real world as data.

Not installed as a generator; a test makes it one by an entry point of its own, as a user's plug-in would be.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from campaign.core.model import Axis, Point, Task, Variable
from campaign.errors import Code, InputError, JobError, ProductError

BIN = Axis("bin", (0.5, 1.5, 2.5, 3.5), "1", "bin centre")


class ScriptedOptions(BaseModel):
    """What the attempts do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    script: dict[str, list[str]] = {}
    """Job name -> outcome of each attempt; the last one repeats. A job that is not named succeeds."""
    seconds: float = 0.0
    """Time of a successful attempt."""
    truth: str = ""
    """File that gets a line from each attempt, written by the job itself: the oracle of a test."""
    rank_truth: str = ""
    """File that gets a line from each rank of each attempt: name, attempt, rank, size, node, begin, end (s, Unix), GPUs."""
    inputs: str = ""
    """Directory that must hold a file `<realization>_<redshift>` for each job, if set."""
    slot_fails: bool = False
    """Whether the generator can't be warmed up."""
    warm_up_kills: bool = False
    """Whether warming up ends in SIGKILL, as by the kernel when memory is short."""


class Scripted:
    """Writes a small text product; its measurements depend on the job's seed alone."""

    name = "scripted"
    version = "1"
    options: type[BaseModel] = ScriptedOptions
    incidental: tuple[str, ...] = ("script", "seconds", "truth", "rank_truth", "inputs", "slot_fails", "warm_up_kills")
    parallel = True

    def suffix(self, config: Mapping[str, Any]) -> str:
        return ".txt"

    def requires(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        return ()

    def check(self, config: Mapping[str, Any], point: Point) -> None:
        """Everything is possible."""

    def words(self, config: Mapping[str, Any], point: Point) -> dict[str, str]:
        return {}

    def inputs(self, config: Mapping[str, Any], point: Point) -> tuple[str, ...]:
        return (f"{config['inputs']}/{point['realization']}_{point['redshift']}",) if config["inputs"] else ()

    def variables(self, config: Mapping[str, Any]) -> tuple[Variable, ...]:
        return (
            Variable("count", "i8", "1", "a number"),
            Variable("mean", "f8", "1", "another"),
            Variable("spectrum", "f8", "1", "several", (BIN,)),
        )

    def environment(self, directory: str) -> dict[str, str]:
        return {}

    def preload(self) -> None:
        """There is nothing to import: its slots are forked none the less."""

    def warm_up(self, config: Mapping[str, Any]) -> None:
        if config["warm_up_kills"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if config["slot_fails"]:
            raise RuntimeError("this generator can't be warmed up")

    def generate(self, task: Task, target: Path, phase: Callable[[str], None]) -> dict[str, Any]:
        phase("act")
        rank, size = _join()
        if rank:
            return self._follow(task, rank, size)
        if task.config["truth"]:
            _append(task.config["truth"], f"{task.name} {task.attempt}\n")
        outcome = _outcome(task, task.name)
        target.write_text(f"{task.name} {task.seed} {task.task_fingerprint}\n")
        begin = time.time()
        measured = _act(outcome, task, target, _measured(task))
        _join(wait=True)
        _tell_rank(task, 0, size, begin)
        return measured

    def _follow(self, task: Task, rank: int, size: int) -> dict[str, Any]:
        """What every other rank does: as long as rank 0, or what the script says of `rank1`."""
        begin = time.time()
        outcome = _outcome(task, f"{task.name} rank{rank}")
        _act(outcome, task, Path("/dev/null"), {})
        _join(wait=True)
        _tell_rank(task, rank, size, begin)
        return {}

    def verify(self, task: Task, product: Path, measurements: Mapping[str, Any]) -> None:
        if not product.exists() or not product.read_text().startswith(f"{task.name} {task.seed} "):
            raise ProductError(Code.PRODUCT_INVALID, f"{product.name} is not what was made")


class Measuring(Scripted):
    """Measures like the scripted generator, and makes no product."""

    name = "measuring"

    def suffix(self, config: Mapping[str, Any]) -> str:
        return ""

    def generate(self, task: Task, target: Path, phase: Callable[[str], None]) -> dict[str, Any]:
        return _measured(task)

    def verify(self, task: Task, product: Path, measurements: Mapping[str, Any]) -> None:
        """There is nothing to prove."""


class IdleOptions(BaseModel):
    """How long the jobs take."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float = 0.0
    """Mean time of a job."""
    spread: float = 0.0
    """By which part of it a job takes longer or less, evenly distributed."""


class Idle(Measuring):
    """Sleeps, if it is told to, and measures one number: what an engine costs shows on such jobs."""

    name = "idle"
    options = IdleOptions
    incidental = ("seconds", "spread")
    parallel = True

    def inputs(self, config: Mapping[str, Any], point: Point) -> tuple[str, ...]:
        return ()

    def variables(self, config: Mapping[str, Any]) -> tuple[Variable, ...]:
        return (Variable("number", "i8", "1", "a number"),)

    def warm_up(self, config: Mapping[str, Any]) -> None:
        """There is nothing to warm up."""

    def generate(self, task: Task, target: Path, phase: Callable[[str], None]) -> dict[str, Any]:
        if task.config["seconds"]:
            time.sleep(idle_s(task.config["seconds"], task.config["spread"], task.seed))
        return {"number": task.seed % 1000}


def idle_s(seconds: float, spread: float, seed: int) -> float:
    """Time of a job that takes `seconds` on the average."""
    return seconds * (1 + spread * (2 * (seed % 1009) / 1008 - 1))


class StagedScripted(Scripted):
    """The scripted generator in stages; `seconds` is the time of `compute`.

    The script knows `<name> load` and `<name> compute` beside the job's own name, which stands for its writing.
    """

    name = "staged"

    def generate(self, task: Task, target: Path, phase: Callable[[str], None]) -> dict[str, Any]:
        return self.write(task, self.compute(task, self.load(task, phase), phase), target, phase)

    def load(self, task: Task, phase: Callable[[str], None]) -> str:
        """Read nothing."""
        self._perform("load", task)
        return f"input of {task.name}"

    def compute(self, task: Task, loaded: str, phase: Callable[[str], None]) -> str:
        """Compute nothing, for some time."""
        time.sleep(task.config["seconds"])
        self._perform("compute", task)
        return loaded.replace("input", "result")

    def write(self, task: Task, made: str, target: Path, phase: Callable[[str], None]) -> dict[str, Any]:
        """What the scripted generator does."""
        if made != f"result of {task.name}":
            raise JobError(Code.PRODUCT_INVALID, f"{task.name} was given the {made}")
        brief = replace(task, config={**task.config, "seconds": 0.0})
        return super().generate(brief, target, phase)

    def _perform(self, stage: str, task: Task) -> None:
        outcome = _outcome(task, f"{task.name} {stage}")
        if outcome != "ok":
            _act(outcome, task, Path("/dev/null"), {})


def _outcome(task: Task, key: str) -> str:
    """What the script says of this attempt under a key."""
    outcomes: list[str] = task.config["script"].get(key, ["ok"])
    return outcomes[min(task.attempt, len(outcomes)) - 1]


def _measured(task: Task) -> dict[str, Any]:
    return {
        "count": task.seed % 1000,
        "mean": (task.seed % 997) / 7,
        "spectrum": [float((task.seed >> n) % 101) for n in range(4)],
    }


def _join(*, wait: bool = False) -> tuple[int, int]:
    """(rank, size) of this process; with `wait` only when every rank is here."""
    if os.environ.get("CAMPAIGN_RANKS", "1") == "1":
        return 0, 1
    from mpi4py import MPI

    if wait:
        MPI.COMM_WORLD.Barrier()
    return MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()


def _tell_rank(task: Task, rank: int, size: int, begin: float) -> None:
    if task.config["rank_truth"]:
        node = os.environ.get("SLURMD_NODENAME", socket.gethostname())
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES") or "-"
        words = (task.name, task.attempt, rank, size, node, begin, time.time(), gpus)
        _append(task.config["rank_truth"], " ".join(map(str, words)) + "\n")


def _append(path: str, line: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(handle, line.encode())
    os.close(handle)


def _act(outcome: str, task: Task, target: Path, measured: dict[str, Any]) -> dict[str, Any]:
    """Do what the script says; returns the measurements where the attempt goes on."""
    actions: dict[str, Callable[[], Any]] = {
        "ok": lambda: time.sleep(task.config["seconds"]),
        "slow": lambda: time.sleep(1.0),
        "raise": lambda: _raise(ValueError("the script says so")),
        "fatal": lambda: _raise(JobError(Code.INPUT_NOT_FINITE, "a column is not finite")),
        "missing_input": lambda: _raise(InputError(Code.INPUT_MISSING, "the input went away")),
        "hang": lambda: time.sleep(3600),
        "segfault": lambda: ctypes.string_at(0),
        "fork_and_crash": _fork_and_crash,
        "unreadable": lambda: _raise(PermissionError(13, "Permission denied", "/root/of/somebody/else")),
        "too_large": lambda: measured.update(count=2**70),
        "text": lambda: measured.update(mean="much"),
        "complex": lambda: measured.update(mean=1 + 2j),
        "exit": lambda: os._exit(7),
        "sys_exit": lambda: sys.exit(7),
        "not_utf8": lambda: _raise(
            FileNotFoundError(2, "No such file", b"table\xff.dat".decode(errors="surrogateescape"))
        ),
        "half_a_character": lambda: _raise(ValueError(f"no halo in {os.fsdecode(bytes([255]))}")),
        "kill": lambda: os.kill(os.getpid(), 9),
        "leak": _leak,
        "garbage": lambda: target.write_text("garbage"),
        "no_product": target.unlink,
        "full_disk": lambda: _raise(OSError(28, "No space left on device")),
        "nan": lambda: measured.update(mean=float("nan"), spectrum=[1.0, float("nan"), 3.0, 4.0]),
        "wrong_shape": lambda: measured.update(spectrum=[1.0]),
    }
    actions[outcome]()
    return measured


def _raise(error: Exception) -> None:
    raise error


def _fork_and_crash() -> None:
    """Leave a child behind that holds every descriptor, and die."""
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    ctypes.string_at(0)


def _leak() -> None:
    held = []
    while True:
        held.append(bytearray(b"x" * 2**24))
        time.sleep(0.01)
