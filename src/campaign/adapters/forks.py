"""Slots that are forked from a warm parent, as a supervisor sees them."""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from campaign.wire import decode, encode

PATIENCE_S = 300.0
"""How long the imports of the warm parent may take, and a fork."""

LOOK_S = 1.0
"""How often it is looked whether the warm parent is still there."""

MESSAGE_BYTES = 1 << 16

logger = logging.getLogger("campaign")


class Fork:
    """A forked slot; has what we use of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = threading.Event()
        self._status = -signal.SIGKILL

    def end(self, status: int) -> None:
        """Its parent has seen it end."""
        self._status = status
        self._ended.set()

    def poll(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._status if self._ended.is_set() else None

    def wait(self, timeout: float | None = None) -> int:
        """Exit status; subprocess.TimeoutExpired where it runs on."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("slot", timeout or 0.0)
        return self._status


class Nursery:
    """A process that has imported what slots need, and forks them. Ends with the thread that made it.

    Its methods but `give_up` are called by that thread.
    """

    def __init__(self, generator: str, environment: Mapping[str, str], log: Path) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [
            sys.executable, "-m", "campaign.nursery",
            "--parent", str(os.getpid()), "--socket", str(theirs.fileno()), "--generator", generator,
        ]  # fmt: skip
        with log.open("ab") as output, theirs:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env=dict(environment), pass_fds=[theirs.fileno()],
            )  # fmt: skip
        self._forked: queue.SimpleQueue[Fork | None] = queue.SimpleQueue()
        self._running: dict[int, Fork] = {}
        self._safe: bool | None = None  # not known before its imports are done

    def fork(self, channel: str, environment: Mapping[str, str], log: Path) -> Fork | None:
        """A new slot; None where it can't be had from here."""
        if self._safe is None:
            self._wait_for_imports()
        if not self._safe:
            return None
        try:
            self._channel.send(encode({"channel": channel, "environment": dict(environment), "log": str(log)}))
            return self._forked.get(timeout=PATIENCE_S)
        except (OSError, queue.Empty):  # it is gone, or hangs: then nothing may come of it later
            self.close()
            return None

    def give_up(self) -> None:
        """Wait for its imports no longer."""
        if self._safe is None:
            self._kill()

    def close(self) -> None:
        """End the parent; its slots end with it."""
        self._safe = False
        self._kill()
        self._process.wait()
        self._channel.close()

    def _kill(self) -> None:
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _wait_for_imports(self) -> None:
        self._channel.settimeout(PATIENCE_S)
        self._safe = self._is_ready()
        if self._safe:
            self._channel.settimeout(LOOK_S)
            threading.Thread(target=self._listen, daemon=True, name="nursery").start()
        else:
            self.close()

    def _is_ready(self) -> bool:
        try:
            first = decode(self._channel.recv(MESSAGE_BYTES) or b'{"event": "unsafe", "why": "it ended"}')
        except OSError as error:
            first = {"event": "unsafe", "why": str(error)}
        if first["event"] != "ready":
            logger.info("slots are started one by one, not forked: %s", first["why"])
        return bool(first["event"] == "ready")

    def _listen(self) -> None:
        try:
            while message := self._receive():
                match message["event"]:
                    case "forked":
                        self._running[message["pid"]] = fork = Fork(message["pid"])
                        self._forked.put(fork)
                    case "refused":
                        logger.warning("a slot can't be forked and is started from nothing: %s", message["why"])
                        self._forked.put(None)
                    case "ended" if message["pid"] in self._running:
                        self._running.pop(message["pid"]).end(message["status"])
        finally:
            self._safe = False
            for fork in self._running.values():  # the kernel ends them with their parent
                fork.end(-signal.SIGKILL)
            self._forked.put(None)

    def _receive(self) -> dict[str, Any] | None:
        """The next message; None where the parent is gone, whoever else may still hold its end of the socket."""
        while True:
            try:
                data = self._channel.recv(MESSAGE_BYTES)
                return decode(data) if data else None
            except TimeoutError:
                if self._process.poll() is not None:
                    return None
            except OSError:  # closed by us
                return None
