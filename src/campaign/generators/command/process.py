"""One run of a program: no shell, no input, its output bounded."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from campaign.errors import Code, JobError

KEPT_BYTES = 1 << 20
"""Of what a program prints the first and the last of so many bytes are kept."""

QUIET_S = 1.0
"""How long a program that has ended may leave its output to a child that goes on."""


def run(argv: Sequence[str], directory: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """(exit status, what it printed on stdout and stderr); JobError where there is no such program.

    The program is in the process group of its slot and ends with it.
    """
    try:
        process = subprocess.Popen(
            argv, cwd=directory, env=dict(environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise JobError(
            Code.GENERATOR_UNAVAILABLE, f"{argv[0]} can't be started: {error}",
            action="correct `argv`, or bring the program into PATH (slurm.prologue loads modules)",
        ) from error  # fmt: skip
    assert process.stdout is not None
    output = _Output(process.stdout)
    status = process.wait()
    return status, output.text()


class _Output:
    """Reads what a program prints while it runs, so that it never waits for us."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._first, self._last, self._dropped = stream, bytearray(), bytearray(), 0
        self._thread = threading.Thread(target=self._read, daemon=True, name="output")
        self._thread.start()

    def _read(self) -> None:
        with self._stream as stream:
            while data := stream.read1(1 << 16):  # type: ignore[attr-defined]
                self._keep(data)

    def _keep(self, data: bytes) -> None:
        room = KEPT_BYTES - len(self._first)
        self._first += data[:room]
        self._last += data[room:]
        if (surplus := len(self._last) - KEPT_BYTES) > KEPT_BYTES:
            del self._last[:surplus]
            self._dropped += surplus

    def text(self) -> str:
        """What was printed until the program ended."""
        self._thread.join(QUIET_S)
        cut = f"\n... {self._dropped:,} bytes are left out ...\n".encode() if self._dropped else b""
        return bytes(self._first + cut + self._last).decode(errors="replace")
