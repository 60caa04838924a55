"""The warm parent of a node's slots: imports once what all of them need, and forks one for each that is asked for.

Started by a supervisor as `python -m campaign.nursery --parent PID --socket FD --generator NAME`; not meant to be typed. It has no
thread but its own: where an import starts one, it says so and ends, and slots are started from nothing. In: channel,
environment and log of a slot. Out: `ready` or `unsafe`, then of each slot `forked` (pid) or `refused`, and `ended` (pid,
status).
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from campaign import slot
from campaign.garbage import keep
from campaign.generators import find
from campaign.ports import Preloading
from campaign.wire import decode, encode

MESSAGE_BYTES = 1 << 20
"""No message is longer: the environment of a slot is the longest part of one."""


def trouble() -> str:
    """Why this process may not be forked; empty where it may. Threads and children of libraries would be lost, or be ours."""
    threads = list(Path("/proc/self/task").iterdir())
    if len(threads) > 1:
        return f"there are {len(threads)} threads after the imports"
    return "there are children after the imports" if (threads[0] / "children").read_text().strip() else ""


def fork(message: Mapping[str, Any], *ours: int) -> int:
    """A new slot; returns its process identifier. It keeps none of the descriptors that are `ours`."""
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        slot.end_with_parent()
        if os.getppid() != parent:  # it ended before the kernel knew
            os._exit(1)
        for descriptor in ours:
            os.close(descriptor)
        _become_slot(message)
    return pid


def _become_slot(message: Mapping[str, Any]) -> NoReturn:
    """What a program that is started anew would have: a session, a log, an environment, signals, random numbers."""
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(message["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.close(log)
        os.environ.clear()
        os.environ.update(message["environment"])
        np.random.seed()  # noqa: NPY002 - the one stream that a fork shares with its brothers
        slot.begin(message["channel"])
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - as at the end of any program
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def reap() -> list[tuple[int, int]]:
    """(pid, status) of the slots that have ended since; a negative status is a signal. What they started ends with them."""
    found: list[tuple[int, int]] = []
    with suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(ended.si_pid, signal.SIGKILL)  # as long as the number is its own
            pid, status = os.waitpid(ended.si_pid, 0)
            found.append((pid, os.waitstatus_to_exitcode(status)))
    return found


def serve(channel: socket.socket) -> None:
    """Fork and reap until the supervisor is gone."""
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, so that the wake-up is written
    while True:
        ready, _, _ = select.select([channel.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            for pid, status in reap():
                channel.send(encode({"event": "ended", "pid": pid, "status": status}))
        if channel.fileno() in ready:
            message = channel.recv(MESSAGE_BYTES)
            if not message:
                return
            try:
                pid = fork(decode(message), channel.fileno(), woken, wake)
                answer = {"event": "forked", "pid": pid}
            except OSError as error:  # no memory, or too many processes: the slots that are there go on
                answer = {"event": "refused", "why": str(error)}
            channel.send(encode(answer))


def main() -> None:
    """Entry point of the warm parent."""
    parser = argparse.ArgumentParser(prog="python -m campaign.nursery", description=__doc__)
    parser.add_argument(
        "--socket", type=int, required=True, help="descriptor of a socket whose other end a supervisor has"
    )
    parser.add_argument("--parent", type=int, required=True, help="process identifier of the supervisor")
    parser.add_argument("--generator", required=True, help="name of the generator whose jobs the slots will run")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    slot.end_with_parent()
    if os.getppid() != arguments.parent:
        return
    channel = socket.socket(fileno=arguments.socket)
    channel.set_inheritable(False)
    try:
        generator = find(arguments.generator)
        if isinstance(generator, Preloading):
            generator.preload()
        why = trouble()
    except Exception as error:  # noqa: BLE001 - a slot that is started from nothing says it better
        why = f"{type(error).__name__}: {error}"
    channel.send(encode({"event": "unsafe", "why": why} if why else {"event": "ready"}))
    if not why:
        keep()  # pages that are shared stay shared
        serve(channel)


if __name__ == "__main__":
    main()
