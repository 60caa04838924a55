"""One machine: its clock, its cores and memory, and slot servers as process groups reached through a socket."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from campaign.adapters.forks import Fork, Nursery
from campaign.core.model import Failure, Node, Slot
from campaign.errors import Code, UsageError
from campaign.wire import decode, encode

EXIT_GRACE_S = 5.0
ORDERLY_END_S = 0.8
"""How long idle ranks may take to end by themselves."""

EXIT_ENDED_BY_US = 1
LAUNCHERS_VARIABLES = (
    "PMI_",
    "PMI2_",
    "PMIX_",
    "OMPI_",
    "HYDRA_",
    "MPI_LOCAL",
    "MPIR_",
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "SLURM_NODEID",
)
"""Variables of an MPI launcher that a slot must not inherit: it would take itself for one of the coordinator's ranks."""

SAID_LINES, SAID_BYTES = 15, 8192
SOCKET_PATH_MAX = 90
"""The kernel takes 107 bytes of a socket's path."""


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


def this_node() -> Node:
    """The node that this machine is: the cores that we may use, and the NVIDIA GPUs that are here. Memory is nobody's to count."""
    gpus = sum(re.fullmatch(r"nvidia\d+", path.name) is not None for path in Path("/dev").iterdir())
    return Node(socket.gethostname(), usable_cores(), gpus)


@dataclass(frozen=True, slots=True)
class Command:
    """How the program of a slot is started."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    ends_by: signal.Signals = signal.SIGKILL  # what ends all of it; SIGKILL follows where it does not
    swept_by: tuple[str, ...] = ()  # a command that ends what may be left of it elsewhere


Wrap = Callable[[Slot, tuple[str, ...]], Command]
"""How a slot's program is started, given the program itself."""


Start = Callable[[Command, Path], "subprocess.Popen[bytes] | Fork"]
"""Starts a command in a session of its own, whose output goes to a log file."""


def spawn(command: Command, log: Path) -> subprocess.Popen[bytes]:
    """The program from nothing."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=dict(command.environment),
        )


class SlotProcess:
    """A slot server in a session of its own, reached through a socket that only we and it can open."""

    def __init__(
        self, command: Command, listener: socket.socket, log: Path, troubles: Sequence[Path], start: Start
    ) -> None:
        """`start` gives the process; `troubles` are the files in which its ranks leave their last words."""
        self._command, self._listener, self._log, self._troubles = command, listener, log, tuple(troubles)
        self._channel: socket.socket | None = None
        self._lines: deque[bytes] = deque()  # whole messages that were read
        self._rest = b""  # the beginning of another one
        with log.open("ab") as output:
            self._said_from = output.tell()
        self._process = start(command, log)
        self.pid = self._process.pid

    def send(self, message: Mapping[str, Any]) -> None:
        """Hand over one message; OSError where the process is gone."""
        if self._channel is None:
            raise ConnectionError(f"slot process {self.pid} has not opened its channel")
        self._channel.sendall(encode(message) + b"\n")

    def receive(self, timeout_s: float) -> Mapping[str, Any] | None:
        """The next message, None if none came in time; EOFError where the process is gone."""
        deadline = time.monotonic() + timeout_s
        if self._channel is None and not self._accepted(deadline):
            return None
        while not self._lines:
            data = self._read(max(0.0, deadline - time.monotonic()))
            if data is None:
                return None
            if not data:
                raise EOFError(f"slot process {self.pid} is gone")
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._lines.extend(lines)
        message: Mapping[str, Any] = decode(self._lines.popleft())
        return message

    def _accepted(self, deadline: float) -> bool:
        """Whether the process has opened the channel; EOFError where it never will."""
        with contextlib.suppress(ValueError, OSError):  # another thread has closed it: the process is gone below
            while not select.select([self._listener], [], [], 0.1)[0]:
                if not self.alive():
                    raise EOFError(f"slot process {self.pid} is gone")
                if time.monotonic() > deadline:
                    return False
            self._channel, _ = self._listener.accept()
            self._close_listener()
            return True
        raise EOFError(f"slot process {self.pid} is gone")

    def _close_listener(self) -> None:
        with contextlib.suppress(OSError):
            path = Path(self._listener.getsockname())
            path.unlink(missing_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)
        self._listener.close()

    def _read(self, timeout_s: float) -> bytes | None:
        """Some bytes; None if none came in time, nothing at all where the channel is closed on either side."""
        if self._channel is None:
            return b""
        try:
            ready, _, _ = select.select([self._channel], [], [], timeout_s)
            return self._channel.recv(1 << 16) if ready else None
        except (ConnectionResetError, OSError, ValueError):  # ValueError: another thread has closed it
            return b""

    def kill(self) -> None:
        """End the whole process group at once, and what it started elsewhere.

        Ranks that are idle end by themselves when their channel closes, sooner than their launcher would end them.
        """
        if self._command.ends_by is not signal.SIGKILL and self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(ORDERLY_END_S)
        gone = self._process.poll() is not None
        # Children of a process that is gone may live on; those of a fork are ended by its parent.
        if not gone or (self._command.ends_by is signal.SIGKILL and not isinstance(self._process, Fork)):
            self._signal(self._command.ends_by)
        self.wait()
        self.last_words()  # nobody asks for them any more

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def wait(self) -> int:
        """Exit status: negative for a signal. A process that gave up its channel and goes on is ended."""
        self._close_listener()
        if self._channel is not None:
            self._channel.close()
        try:
            return self._process.wait(EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
            if self._command.swept_by:
                subprocess.run(self._command.swept_by, capture_output=True, check=False)
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

    def said(self) -> str:
        """The last lines that it printed."""
        with contextlib.suppress(OSError), self._log.open("rb") as log:
            log.seek(max(self._said_from, self._log.stat().st_size - SAID_BYTES))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
            return "\n".join(lines[-SAID_LINES:])
        return ""

    def last_words(self) -> Failure | None:
        """What a rank that is gone left behind about its end; None where none left anything."""
        found = None
        for path in self._troubles:
            with contextlib.suppress(OSError, ValueError, TypeError):
                found = found or Failure(**json.loads(path.read_text()))
                path.unlink(missing_ok=True)
        return found


class ProcessLauncher:
    """Starts slot servers as children of this process; what they print goes to a log file for each that runs at once."""

    def __init__(
        self,
        hello: Mapping[str, Any],
        environment: Mapping[str, str],
        log_stem: Path,
        wrap: Wrap,
        *,
        preloads: bool = False,
    ) -> None:
        """`preloads`: whether the generator has imports that slots may share, so that they are forked."""
        self._hello, self._wrap, self._log_stem, self._preloads = dict(hello), wrap, log_stem, preloads
        self._environment = dict(environment)
        self._logs: dict[int, SlotProcess] = {}
        self._sockets = Path(tempfile.mkdtemp(prefix="campaign-", dir=_short_directory()))
        self._nurseries: dict[int, Nursery] = {}  # by the threads of a rank, which libraries ask for when loaded

    def start(self, slot: Slot) -> SlotProcess:
        """A new slot server; its first message says that it is ready."""
        index = next(n for n in range(len(self._logs) + 1) if n not in self._logs or not self._logs[n].alive())
        log = self._log_stem.with_name(f"{self._log_stem.name}-{index:03d}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = self._sockets / f"{slot.number}-{time.monotonic_ns()}"
        listener.bind(str(path))
        listener.listen(1)
        trouble = log.with_suffix(".trouble")
        program = (sys.executable, "-m", "campaign.slot", "--channel", str(path))
        command = self._wrap(slot, program)
        is_plain = command.argv == program
        common = {**command.environment, **thread_limits(slot.shape.threads), **self._environment}
        own = {"CAMPAIGN_TROUBLE": str(trouble), **slot_variables(slot, str(self._hello["directory"]))}
        command = Command(command.argv, {**common, **own}, command.ends_by, command.swept_by)
        path.with_suffix(".json").write_text(json.dumps(self._hello))
        ranks = slot.shape.ranks
        troubles = [trouble.with_name(f"{trouble.name}.{rank}") for rank in range(ranks)] if ranks > 1 else []
        may_fork = self._preloads and is_plain and slot.shape.warm and not slot.shape.gpus_per_rank
        start = partial(self._forked, slot.shape.threads, str(path), common) if may_fork else spawn
        process = SlotProcess(command, listener, log, troubles, start)
        self._logs[index] = process
        return process

    def _forked(
        self, threads: int, channel: str, common: Mapping[str, str], command: Command, log: Path
    ) -> subprocess.Popen[bytes] | Fork:
        """A slot of the warm parent, or one from nothing where there can be no such parent."""
        if threads not in self._nurseries:
            own_log = log.with_name(f"{self._log_stem.name}-nursery.log")
            self._nurseries[threads] = Nursery(str(self._hello["generator"]), common, own_log)
        return self._nurseries[threads].fork(channel, command.environment, log) or spawn(command, log)

    def give_up(self) -> None:
        """Let a start that waits for imports wait no longer; called by another thread."""
        for nursery in list(self._nurseries.values()):
            nursery.give_up()

    def close(self) -> None:
        """End the warm parents and remove the sockets."""
        for nursery in self._nurseries.values():
            nursery.close()
        shutil.rmtree(self._sockets, ignore_errors=True)


def _short_directory() -> str | None:
    """Where sockets lie: the temporary directory, unless its path is too long for one."""
    return None if len(tempfile.gettempdir()) < SOCKET_PATH_MAX - 40 else "/tmp"  # noqa: S108 - made by mkdtemp, for us alone


def plain_command(program: tuple[str, ...]) -> Command:
    """The program as a child of this process."""
    return Command(program, own_environment())


def mpiexec_command(slot: Slot, program: tuple[str, ...]) -> Command:
    """The program on as many ranks as the slot has, all on this machine, by MPICH's `mpiexec`."""
    found = Path(sysconfig.get_path("scripts")) / "mpiexec"
    mpiexec = str(found) if found.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        raise UsageError(
            Code.GENERATOR_UNAVAILABLE,
            "jobs of several ranks need mpiexec, which is not installed",
            action="pip install 'campaign[mpi]', or set resources.ranks_per_job: 1",
        )
    ranks = str(slot.shape.ranks)
    argv = ("setpriv", "--pdeathsig", "TERM", mpiexec, "-launcher", "fork", "-n", ranks, *program)
    return Command(argv, own_environment(), ends_by=signal.SIGTERM)


def own_environment() -> dict[str, str]:
    """The environment without what an MPI launcher put there for us."""
    return {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS_VARIABLES)}


def slot_variables(slot: Slot, directory: str) -> dict[str, str]:
    """What the programs of a slot, and those that they start, may want to know."""
    shape = slot.shape
    return {
        "CAMPAIGN_DIRECTORY": directory,
        "CAMPAIGN_SLOT": str(slot.number),
        "CAMPAIGN_NODES": ",".join(slot.nodes),
        "CAMPAIGN_RANKS": str(shape.ranks),
        "CAMPAIGN_THREADS": str(shape.threads),
        "CAMPAIGN_GPUS_PER_RANK": str(shape.gpus_per_rank),
        "CAMPAIGN_CPU_ORDINALS": _per_node(slot.cpus),
        "CAMPAIGN_GPU_ORDINALS": _per_node(slot.gpus),
        "CAMPAIGN_RANK_MEMORY_BYTES": str((shape.memory_bytes or 0) // shape.ranks),
    }


def _per_node(ordinals: tuple[tuple[int, ...], ...]) -> str:
    """`0,1;0,1` for two nodes."""
    return ";".join(",".join(map(str, numbers)) for numbers in ordinals)


def thread_limits(threads: int) -> dict[str, str]:
    """Bound every library's thread pool."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {name: str(threads) for name in names}
