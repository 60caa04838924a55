"""The resident program in a slot: takes jobs on a socket, runs the generator on them, stays warm in between.

Started by a supervisor as `python -m campaign.slot --channel PATH`, on one rank or on several, or forked from a warm parent; not
meant to be typed.
Rank 0 reads PATH.json (generator, directory, config), warms up, and speaks: one JSON object a line. In: `run` (tasks), `hold`.
Out: `ready` or `unready`; of each job `begun`, `phase` (empty between two stages) and `end` (record; `last` where the
ranks must be started anew); `returned` (jobs) after a `hold`. The other ranks follow rank 0 by MPI.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from campaign.adapters.local import SystemClock
from campaign.adapters.ranks import (
    LOCAL_RANK_VARIABLES,
    NODE_VARIABLES,
    RANK_VARIABLES,
    Ranks,
    join_ranks,
    launched_as,
)
from campaign.attempt import Attempt, explain
from campaign.core.model import Failure, Outcome, Record, Task
from campaign.errors import Code
from campaign.garbage import keep
from campaign.generators import find
from campaign.pipeline import Pipeline
from campaign.ports import Generator, Staged
from campaign.wire import convert, decode, encode

_PR_SET_PDEATHSIG = 1
_PARENT_POLL_S = 1.0
_MEMORY_POLL_S = 0.25
_OUT_OF_STEP_S = 5.0
"""How long a rank that failed waits for rank 0 to fail as well, and to say it better."""


class _Channel:
    """JSON lines over a connected socket."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)
        self._lines = self._socket.makefile("rb")
        self._sending = threading.Lock()

    def send(self, message: Mapping[str, Any]) -> None:
        line = encode(message) + b"\n"
        with self._sending:  # at once, so that whatever kills us next can't take it back
            self._socket.sendall(line)

    def receive(self) -> dict[str, Any] | None:
        line = self._lines.readline()
        return decode(line) if line else None

    def wait_for_hangup(self) -> None:
        """Return when the supervisor is gone."""
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLRDHUP)
        poll.poll()


def end_with_parent() -> None:
    """Let the kernel end this process with the thread that started it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def die_with_parent() -> None:
    """Let the kernel end this process with the thread that started it, and look ourselves as well."""
    parent = os.getppid()
    end_with_parent()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def share(environment: Mapping[str, str], allowed: set[int]) -> tuple[set[int], dict[str, str]]:
    """(CPUs, changes of the environment) of this rank, from what its slot was given.

    CPUs and GPUs are given as ordinals among those that are ours; `allowed` are the CPUs that this process may use. A
    launcher that has bound the rank already is left in peace, and so is a machine whose CPUs are only on paper.
    """
    node = launched_as(environment, NODE_VARIABLES)
    local = launched_as(environment, LOCAL_RANK_VARIABLES)
    threads = int(environment["CAMPAIGN_THREADS"])
    cpus = _part(environment["CAMPAIGN_CPU_ORDINALS"], node, local, threads)
    known = sorted(allowed)
    bound = {known[n] for n in cpus} if cpus and max(cpus) < len(known) else allowed
    per_rank = int(environment["CAMPAIGN_GPUS_PER_RANK"])
    if not per_rank:
        return bound, {"CUDA_VISIBLE_DEVICES": ""}  # or each rank would take the first one
    ordinals = _part(environment["CAMPAIGN_GPU_ORDINALS"], node, local, per_rank)
    visible = [word for word in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if word]
    if len(visible) == per_rank * _ranks_on_node(environment):  # the launcher gave the step its own
        ordinals = list(range(local * per_rank, (local + 1) * per_rank))
    devices = [visible[n] if n < len(visible) else str(n) for n in ordinals]
    return bound, {"CUDA_VISIBLE_DEVICES": ",".join(devices), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def _part(per_node: str, node: int, local: int, width: int) -> list[int]:
    """The ordinals of one rank out of `0,1;0,1`."""
    nodes = per_node.split(";")
    here = [int(word) for word in nodes[min(node, len(nodes) - 1)].split(",") if word]
    return here[local * width : (local + 1) * width]


def _ranks_on_node(environment: Mapping[str, str]) -> int:
    return int(environment["CAMPAIGN_RANKS"]) // len(environment["CAMPAIGN_NODES"].split(","))


class _Rank:
    """What any rank of a slot does."""

    def __init__(self, ranks: Ranks, generator: Generator, directory: Path) -> None:
        self.ranks, self.generator, self.directory = ranks, generator, directory
        self.staged = ranks.size == 1 and isinstance(generator, Staged)
        self._others: dict[str, Generator] = {}

    def follow(self) -> None:
        """Take part in the jobs that rank 0 tells of, until it tells no more."""
        while text := self.ranks.listen():
            message = json.loads(text)
            try:
                self.generator.generate(convert(message["task"], Task), Path(message["target"]), lambda _: None)
            except Exception as error:  # noqa: BLE001 - a generator may raise anything; the others may wait for us
                leave_word(explain(error, f"generate on rank {self.ranks.rank}", self.directory))
                time.sleep(_OUT_OF_STEP_S)
                self.ranks.abort()

    def _other(self, task: Task) -> Generator:
        """The generator of a stage, whose jobs come among ours."""
        if task.generator not in self._others:
            self._others[task.generator] = find(task.generator)
        return self._others[task.generator]

    def _call(self, task: Task, target: Path) -> None:
        """Let the other ranks begin a job."""
        if self.ranks.size > 1:
            self.ranks.tell(encode({"task": task, "target": str(target)}).decode())

    def lead(self, channel: _Channel) -> None:
        """Run jobs until the supervisor closes the channel."""
        clock = SystemClock()

        def make(task: Task) -> Attempt:
            own = not task.directory  # or it is of a stage
            return Attempt(
                task, self.generator if own else self._other(task), self.directory / task.directory, clock,
                report=lambda phase: channel.send({"event": "phase", "job": task.job, "phase": phase}),
                lead=partial(self._call, task),
                staged=self.staged and own,
            )  # fmt: skip

        def ended(record: Record) -> None:
            last = self.ranks.size > 1 and record.outcome is not Outcome.COMPLETED
            channel.send({"event": "end", "record": record, "last": last})
            if last:
                self.ranks.abort()

        pipeline = Pipeline(make, channel.send, ended, staged=self.staged)
        threading.Thread(target=_take_jobs, args=(channel, pipeline), daemon=True, name="channel").start()
        pipeline.work()
        self.ranks.tell("")


def _take_jobs(channel: _Channel, pipeline: Pipeline) -> None:
    """Do what the supervisor says, until it closes the channel."""
    while (message := channel.receive()) is not None:
        if message["op"] == "run":
            pipeline.put(convert(message["tasks"], list[Task]))
        else:
            channel.send({"event": "returned", "jobs": pipeline.take_back()})
    pipeline.close()


def leave_word(failure: Failure) -> None:
    """Write down why this rank ends, for a supervisor that it can't speak to."""
    path = Path(f"{os.environ['CAMPAIGN_TROUBLE']}.{launched_as(os.environ, RANK_VARIABLES)}")
    path.write_text(json.dumps(asdict(failure)))


def watch_memory(limit_bytes: int, ranks: Ranks) -> None:
    """End this rank, and so the slot, when it takes more than its part."""

    def watch() -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while (used := int(Path("/proc/self/statm").read_text().split()[1]) * page) <= limit_bytes:
            time.sleep(_MEMORY_POLL_S)
        words = f"rank {ranks.rank}: {used / 2**20:.0f} MiB in use, the limit is {limit_bytes / 2**20:.0f} MiB"
        leave_word(Failure("MemoryError", Code.MEMORY_EXCEEDED, words))
        ranks.abort()

    threading.Thread(target=watch, daemon=True, name="memory-watch").start()


def watch_supervisor(channel: _Channel, ranks: Ranks) -> None:
    """End every rank when the supervisor is gone, also in the middle of a job."""

    def watch() -> None:
        channel.wait_for_hangup()
        time.sleep(_PARENT_POLL_S)  # an orderly end is quicker
        ranks.abort()

    threading.Thread(target=watch, daemon=True, name="supervisor-watch").start()


def serve(path: str) -> None:
    """Warm up, then lead or follow."""
    speaks = launched_as(os.environ, RANK_VARIABLES) == 0
    told = Path(path).with_suffix(".json").read_text() if speaks else ""  # the supervisor removes it with the socket
    channel = _Channel(path) if speaks else None
    try:
        ranks = join_ranks(int(os.environ["CAMPAIGN_RANKS"]))
        hello = _learn(told, ranks)
        generator = find(hello["generator"])
        generator.warm_up(hello["config"])
        keep()
    except Exception as error:  # noqa: BLE001 - whatever a plug-in's import raises
        _give_up(channel, error)
    limit = int(os.environ["CAMPAIGN_RANK_MEMORY_BYTES"])
    if limit and ranks.size > 1:
        watch_memory(limit, ranks)
    rank = _Rank(ranks, generator, Path(hello["directory"]))
    if channel is None:
        rank.follow()
        return
    watch_supervisor(channel, ranks)
    channel.send({"event": "ready", "pid": os.getpid(), "version": generator.version, "staged": rank.staged})
    rank.lead(channel)


def _learn(told: str, ranks: Ranks) -> dict[str, Any]:
    """What this slot is for: known on the node of the supervisor, told to the other ranks."""
    if ranks.rank:
        return dict(json.loads(ranks.listen()))
    ranks.tell(told)
    return dict(json.loads(told))


def _give_up(channel: _Channel | None, error: Exception) -> NoReturn:
    """Say why this slot can't be warmed up."""
    failure = explain(error, "warm_up")
    if channel is not None:
        channel.send({"event": "unready", "failure": {"message": failure.message, "traceback": failure.traceback}})
        channel.receive()  # until the supervisor has read it and hangs up
    else:
        leave_word(failure)
    os._exit(1)


def main() -> None:
    """Entry point of a slot process."""
    parser = argparse.ArgumentParser(prog="python -m campaign.slot", description=__doc__)
    parser.add_argument("--channel", required=True, help="path of a socket on which a supervisor listens")
    begin(parser.parse_args().channel)


def begin(channel: str) -> None:
    """Be the slot that a supervisor listens for on `channel`, as the environment describes it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()  # a crash leaves its stack in the slot's log
    if os.environ["CAMPAIGN_RANKS"] == "1":
        die_with_parent()
    cpus, changes = share(os.environ, os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus)
    os.environ.update(changes)
    serve(channel)


if __name__ == "__main__":
    main()
