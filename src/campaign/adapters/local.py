"""One machine: its clock, its cores and memory, and slot servers as plain child processes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EXIT_GRACE_S = 5.0
EXIT_ENDED_BY_US = 1
LAUNCHERS_VARIABLES = ("PMI_", "PMIX_", "OMPI_", "HYDRA_", "MPI_LOCAL")
"""Variables of an MPI launcher that a slot must not inherit: it would take itself for one of the coordinator's ranks."""


class SystemClock:
    """The clock of this machine."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds since boot."""
        return time.monotonic()


def usable_cores() -> int:
    """Cores that this process may use: affinity, not the machine's total."""
    return len(os.sched_getaffinity(0))


class ChildProcess:
    """A slot server on this machine, in a session of its own, reached through a socket pair."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self._process, self._channel, self._buffer = process, channel, b""
        self.pid = process.pid

    def send(self, message: Mapping[str, Any]) -> None:
        """Hand over one message; OSError where the process is gone."""
        self._channel.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout_s: float) -> Mapping[str, Any] | None:
        """The next message, None if none came in time; EOFError where the process is gone."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            data = self._read(max(0.0, deadline - time.monotonic()))
            if data is None:
                return None
            if not data:
                raise EOFError(f"slot process {self.pid} is gone")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: Mapping[str, Any] = json.loads(line)
        return message

    def _read(self, timeout_s: float) -> bytes | None:
        """Some bytes; None if none came in time, nothing at all where the channel is closed on either side."""
        try:
            ready, _, _ = select.select([self._channel], [], [], timeout_s)
            return self._channel.recv(1 << 16) if ready else None
        except (ConnectionResetError, ValueError):  # ValueError: another thread has closed it
            return b""

    def kill(self) -> None:
        """End the whole process group at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Exit status: negative for a signal. A process that gave up its channel and goes on is ended."""
        self._channel.close()
        try:
            return self._process.wait(EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            return EXIT_ENDED_BY_US

    def alive(self) -> bool:
        """Whether the process itself still runs, whatever its children do."""
        return self._process.poll() is None

    def memory_bytes(self) -> int:
        """Resident memory of the process now; 0 when it is gone."""
        try:
            resident = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(resident) * os.sysconf("SC_PAGE_SIZE")


class LocalLauncher:
    """Starts slot servers as children of this process; what they print goes to a log file for each slot."""

    def __init__(self, hello: Mapping[str, Any], environment: Mapping[str, str], threads: int, log_stem: Path) -> None:
        self._hello = dict(hello)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS_VARIABLES)}
        self._environment = {**inherited, **_thread_limits(threads), **environment}
        self._log_stem = log_stem

    def start(self, slot: int) -> ChildProcess:
        """A new slot server; its first message says that it is ready."""
        ours, theirs = socket.socketpair()
        log = self._log_stem.with_name(f"{self._log_stem.name}-{slot:03d}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "campaign.slot", "--channel", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={**self._environment, "CAMPAIGN_SLOT": str(slot)},
            )
        theirs.close()
        child = ChildProcess(process, ours)
        child.send({"op": "hello", **self._hello})
        return child


def _thread_limits(threads: int) -> dict[str, str]:
    """Bound every library's thread pool."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {name: str(threads) for name in names}
