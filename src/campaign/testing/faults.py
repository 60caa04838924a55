"""The faults of the real world as data: what is done to a job, to a process, to a file, and by what name.

What a job does is in `scripted.OUTCOMES`, where a process dies in `crashpoints.POINTS`; here is what happens to files,
and a launcher whose slots start, fail or die by a script.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import uuid
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.core.model import Failure, Record, Slot, Task
from campaign.wire import decode, encode

Inflict = Callable[[Path, random.Random], bool]


@dataclass(frozen=True)
class Fault:
    """Something that happens to the files of a campaign between two runs."""

    name: str
    inflict: Inflict  # (directory of the campaign, stream) -> whether there was anything to spoil


def _pick(paths: Iterable[Path], stream: random.Random) -> Path | None:
    found = sorted(paths)
    return stream.choice(found) if found else None


def _flip(path: Path, stream: random.Random) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    place = stream.randrange(len(data))
    data[place] ^= 1 << stream.randrange(8)
    path.write_bytes(data)


def _flip_record(path: Path, stream: random.Random) -> None:
    """Change one bit of a record in an artifact: not every bit of a zip's headers means something."""
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("records.jsonl")
    begin = member.header_offset + 30 + len(member.filename)
    data = bytearray(path.read_bytes())
    data[begin + stream.randrange(member.file_size)] ^= 1 << stream.randrange(8)
    path.write_bytes(data)


def _copy_of_batch(root: Path, stream: random.Random) -> Path | None:
    """A copy of a committed artifact, waiting in staging/ as a second writer would leave it."""
    batch = _pick((root / "batches").glob("*/batch_*.zip"), stream)
    if batch is None:
        return None
    staged = root / "staging" / f"{batch.stem}_{uuid.UUID(int=stream.getrandbits(128)).hex}.zip"
    shutil.copy(batch, staged)
    return staged


def duplicate_artifact(root: Path, stream: random.Random) -> bool:
    """A committed batch is staged once more."""
    return _copy_of_batch(root, stream) is not None


def torn_artifact(root: Path, stream: random.Random) -> bool:
    """A staged artifact ends in the middle."""
    staged = _copy_of_batch(root, stream)
    if staged is not None:
        os.truncate(staged, stream.randrange(1, staged.stat().st_size))
    return staged is not None


def flipped_artifact(root: Path, stream: random.Random) -> bool:
    """A bit of a staged artifact has changed."""
    staged = _copy_of_batch(root, stream)
    if staged is not None:
        _flip_record(staged, stream)
    return staged is not None


def flipped_batch(root: Path, stream: random.Random) -> bool:
    """A bit of a committed artifact has changed: its records are lost, its jobs must run again."""
    batch = _pick((root / "batches").glob("*/batch_*.zip"), stream)
    if batch is not None:
        _flip_record(batch, stream)
    return batch is not None


def artifact_without_fingerprints(root: Path, stream: random.Random) -> bool:
    """A staged artifact whose records do not say what they are of."""
    staged = _copy_of_batch(root, stream)
    if staged is None:
        return False
    with zipfile.ZipFile(staged) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    lines = [json.loads(line) for line in members["records.jsonl"].splitlines()]
    for entry in lines:
        del entry["task_fingerprint"]
    members["records.jsonl"] = "".join(json.dumps(entry) + "\n" for entry in lines).encode()
    with zipfile.ZipFile(staged, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return True


def damaged_chunk(root: Path, stream: random.Random) -> bool:
    """A bit of a chunk of the dataset has changed."""
    chunk = _pick((path for path in (root / "results.zarr").glob("*/c/**/*") if path.is_file()), stream)
    if chunk is not None:
        _flip(chunk, stream)
    return chunk is not None


def deleted_ledger(root: Path, _stream: random.Random) -> bool:
    """The ledger is gone."""
    ledger = root / "metadata" / "campaign.db"
    existed = ledger.exists()
    for path in (ledger, ledger.with_name("campaign.db-journal")):
        path.unlink(missing_ok=True)
    return existed


def damaged_ledger(root: Path, stream: random.Random) -> bool:
    """The ledger's first page is nonsense."""
    ledger = root / "metadata" / "campaign.db"
    if not ledger.exists():
        return False
    with ledger.open("r+b") as file:
        file.write(stream.randbytes(4096))
    return True


def deleted_dataset(root: Path, _stream: random.Random) -> bool:
    """The dataset is gone."""
    dataset = root / "results.zarr"
    existed = dataset.exists()
    shutil.rmtree(dataset, ignore_errors=True)
    return existed


def damaged_product(root: Path, stream: random.Random) -> bool:
    """A bit of a product has changed."""
    product = _pick((path for path in (root / "catalogs").rglob("*") if path.is_file()), stream)
    if product is not None:
        _flip(product, stream)
    return product is not None


FAULTS = tuple(
    Fault(function.__name__, function)
    for function in (
        duplicate_artifact, torn_artifact, flipped_artifact, artifact_without_fingerprints, flipped_batch, damaged_chunk,
        deleted_ledger, damaged_ledger, deleted_dataset, damaged_product,
    )
)  # fmt: skip
"""Everything that may happen to the files of a campaign."""

HARMLESS = tuple(f for f in FAULTS if f.inflict not in (flipped_batch, damaged_chunk, deleted_dataset, damaged_product))
"""Faults that a reader of the dataset never notices, and after which no finished job runs again."""


@contextmanager
def small_disk(path: Path, size: str = "2m") -> Iterator[Path]:
    """A file system of `size` at a new directory `path`; PermissionError where we may not mount one."""
    path.mkdir()
    with _mounted("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path), on=path):
        yield path


@contextmanager
def unwritable(path: Path) -> Iterator[None]:
    """A directory in which nobody can write, not even root; PermissionError where we may not mount it so."""
    with _mounted("mount", "--bind", str(path), str(path), on=path):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(path)], check=True)
        yield


@contextmanager
def _mounted(*command: str, on: Path) -> Iterator[None]:
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise PermissionError(1, "mounting needs root", str(on))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(on)], check=True)


class ScriptedLauncher:
    """Implements `ports.Launcher` without processes: each start does what the script says, the last entry repeats.

    `ok` runs tasks by `run`, `refuse` can't be started, `unready` says that it can't be warmed up, `dies` ends before it
    is ready, `dies_at_work` under its first task, with the exit status of `status`; `dies_unheard` has stages; of three tasks
    that it is sent at once it does two and is gone under the third, but is heard only of the first until it is sent more. `killing` is called when one is ended.
    """

    def __init__(
        self,
        run: Callable[[Task], Record],
        script: Iterable[str] = ("ok",),
        status: int = -9,
        killing: Callable[[], None] = lambda: None,
    ) -> None:
        self._run, self._script, self._status, self._killing = run, deque(script), status, killing
        self.started: list[str] = []

    def start(self, slot: Slot) -> ScriptedProcess:
        """A new slot server for one slot."""
        outcome = self._script.popleft() if len(self._script) > 1 else self._script[0]
        self.started.append(outcome)
        if outcome == "refuse":
            raise OSError(11, "Resource temporarily unavailable")
        return ScriptedProcess(self._run, outcome, self._status, len(self.started), self._killing)

    def give_up(self) -> None:
        """A start takes no time."""

    def close(self) -> None:
        """Nothing is left behind."""


class ScriptedProcess:
    """Implements `ports.Process`."""

    def __init__(
        self, run: Callable[[Task], Record], outcome: str, status: int, pid: int, killing: Callable[[], None]
    ) -> None:
        self._run, self._outcome, self._status, self.pid, self._killing = run, outcome, status, pid, killing
        self._gone = outcome == "dies"
        self._out: deque[Mapping[str, Any]] = deque()
        if outcome == "unready":
            self._out.append({"event": "unready", "failure": {"message": "the script says so"}})
        elif not self._gone:
            self._out.append({"event": "ready", "version": "1", "staged": outcome == "dies_unheard"})
        self._unheard: list[Mapping[str, Any]] = []

    def send(self, message: Mapping[str, Any]) -> None:
        """Run the tasks at once; BrokenPipeError where the process is gone."""
        if self._outcome == "dies_at_work":
            self._gone = True
            return
        if self._unheard:
            self._out.extend(self._unheard)
            self._gone = True
            raise BrokenPipeError("the script says so")
        told: list[Mapping[str, Any]] = []
        for task in message.get("tasks", ()):
            told.append({"event": "begun", "job": task.job})
            told.append({"event": "end", "record": decode(encode(self._run(task)))})
        if self._outcome == "dies_unheard" and len(told) == 6:
            told, self._unheard = told[:3], told[3:5]
        self._out.extend(told)

    def receive(self, timeout_s: float) -> Mapping[str, Any] | None:
        """The next message; EOFError where the process is gone."""
        if self._out:
            return self._out.popleft()
        if self._gone:
            raise EOFError("the script says so")
        return None

    def kill(self) -> None:
        """End it."""
        self._killing()
        self._gone = True

    def wait(self) -> int:
        """Exit status."""
        return self._status

    def alive(self) -> bool:
        """Whether it still runs."""
        return not self._gone

    def memory_bytes(self) -> int:
        """It uses none."""
        return 0

    def said(self) -> str:
        """It prints nothing."""
        return ""

    def last_words(self) -> Failure | None:
        """It leaves none."""
        return None
