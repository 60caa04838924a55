"""The resident program in a slot: takes jobs on a socket, runs the generator on one at a time, stays warm between them.

Started by a supervisor as `python -m campaign.slot --channel FD`; not meant to be typed. The protocol is one JSON object
a line. In: `hello` (generator, directory, config), then `run` (task). Out: `ready` or `unready`, `phase`, `end` (record).
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from campaign.adapters.local import SystemClock
from campaign.attempt import explain, run_attempt, task_from_json
from campaign.generators import find

_PR_SET_PDEATHSIG = 1
_PARENT_POLL_S = 1.0


class _Channel:
    """JSON lines over a connected socket."""

    def __init__(self, fileno: int) -> None:
        self._stream = socket.socket(fileno=fileno).makefile("rwb")

    def send(self, message: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps(message).encode() + b"\n")
        self._stream.flush()

    def receive(self) -> dict[str, Any] | None:
        line = self._stream.readline()
        return json.loads(line) if line else None


def die_with_parent() -> None:
    """Let the kernel end this process with the thread that started it, and look ourselves as well."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def serve(channel: _Channel) -> None:
    """Greet, warm up, then run jobs until the supervisor closes the channel."""
    hello = channel.receive()
    if hello is None:
        return
    try:
        generator = find(hello["generator"])
        generator.warm_up(hello["config"])
    except Exception as error:  # noqa: BLE001 - whatever a plug-in's import raises
        failure = explain(error, "warm_up")
        channel.send({"event": "unready", "failure": {"message": failure.message, "traceback": failure.traceback}})
        return
    channel.send({"event": "ready", "pid": os.getpid(), "version": generator.version})
    directory, clock = Path(hello["directory"]), SystemClock()
    while (message := channel.receive()) is not None:
        task = task_from_json(message["task"])
        record = run_attempt(
            task, generator, directory, clock, lambda phase: channel.send({"event": "phase", "phase": phase})
        )
        channel.send({"event": "end", "record": record.to_json()})


def main() -> None:
    """Entry point of a slot process."""
    parser = argparse.ArgumentParser(prog="python -m campaign.slot", description=__doc__)
    parser.add_argument("--channel", type=int, required=True, help="file descriptor of a connected socket")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()  # a crash leaves its stack in the slot's log
    die_with_parent()
    serve(_Channel(arguments.channel))


if __name__ == "__main__":
    main()
