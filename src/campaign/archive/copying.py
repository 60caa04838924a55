"""One file from one place to another: hashed while it is read, made durable, read again where it arrived, and only then given its name."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path

from campaign.adapters.local import usable_cores
from campaign.crashpoints import reach
from campaign.errors import Code, ProductError, StoppedError, StorageError

BLOCK_BYTES = 1 << 20
THREADS_MAX = 32
PART = ".part"
"""How the name of a file ends that has not arrived."""

Told = Callable[[int, int], None]
"""Hears (files, bytes) so far."""


def threads() -> int:
    """Enough to keep a parallel file system busy."""
    return min(THREADS_MAX, 4 * usable_cores())


class Pace:
    """So many bytes a second, all threads together, until it is told to stop."""

    def __init__(
        self,
        bytes_per_s: float | None,
        monotonic_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bytes_per_s, self._monotonic_s, self._sleep = bytes_per_s, monotonic_s, sleep
        self._free_s, self._lock, self._stopped = 0.0, threading.Lock(), False

    def stop(self) -> None:
        """Nobody goes on."""
        self._stopped = True

    def wait(self, size_bytes: int) -> None:
        """Until it is the turn of these bytes; StoppedError once it is stopped."""
        if self._stopped:
            raise StoppedError(Code.INTERRUPTED, "the copy was stopped", action="the same command goes on")
        if self._bytes_per_s is None:
            return
        with self._lock:
            start = max(self._free_s, self._monotonic_s())
            self._free_s = start + size_bytes / self._bytes_per_s
        self._sleep(max(start - self._monotonic_s(), 0.0))


class Access:
    """Who may read what is copied."""

    def __init__(self, gid: int | None = None) -> None:
        self._gid = gid  # None: as the process makes files
        self._granted: set[Path] = set()

    @property
    def directories(self) -> set[Path]:
        """Those that were made or looked at."""
        return set(self._granted)

    def make_directory(self, path: Path, below: Path) -> None:
        """A directory and those between it and `below`; each belongs to the group, and so does what is made in it later (set-gid)."""
        if path in self._granted:
            return
        if path != below:
            self.make_directory(path.parent, below)
        path.mkdir(exist_ok=True, parents=path == below)
        if self._gid is not None:
            os.chown(path, -1, self._gid)
            path.chmod(0o2750)
        self._granted.add(path)

    def grant_file(self, file: int | Path) -> None:
        """Read by the group."""
        if self._gid is not None:
            os.chown(file, -1, self._gid)
            os.chmod(file, 0o640)  # noqa: PTH101 - also of what is open


def scratch_of(target: Path) -> Path:
    """Where a file is made that will be called `target`: one for each thread, whose name says nothing of the target, which may be long."""
    return target.with_name(f".{os.getpid()}.{threading.get_ident()}{PART}")


def copy(source: Path, target: Path, expected: str | None, pace: Pace, access: Access) -> str:
    """The SHA-256 of a file that stands whole and durable at `target` now.

    ProductError where the source can't be read or is not as `expected`, StorageError where what arrived is not what was sent.
    """
    scratch = scratch_of(target)
    try:
        with _opened(source) as read, scratch.open("w+b", buffering=0) as written:
            digest = _stream(read, written, pace)
            if expected is not None and digest != expected:
                raise ProductError(Code.PRODUCT_INVALID, f"{source}: SHA-256 {digest}, recorded with {expected}")
            if settled(written) != digest:
                raise StorageError(
                    Code.STORAGE_UNWRITABLE,
                    f"{target} does not read as it was written",
                    action="look at the file system; then start again: what has arrived whole stays",
                )
            access.grant_file(written.fileno())
            status = os.fstat(read.fileno())
            os.utime(written.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        scratch.replace(target)
        reach("archive.copied")
    except BaseException:
        with suppress(OSError):
            scratch.unlink()
        raise
    return digest


def _opened(source: Path) -> FileIO:
    try:
        return source.open("rb", buffering=0)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(source, error) from error


def _stream(read: FileIO, written: FileIO, pace: Pace) -> str:
    """Copy, and the SHA-256 of what was read."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(min(BLOCK_BYTES, os.fstat(read.fileno()).st_size + 1)))
    while count := _read_into(read, buffer):
        pace.wait(count)
        digest.update(buffer[:count])
        left = buffer[:count]
        while left:
            left = left[written.write(left) :]
    return digest.hexdigest()


def _read_into(read: FileIO, buffer: memoryview) -> int:
    try:
        return read.readinto(buffer) or 0
    except OSError as error:
        raise _unreadable(read.name, error) from error


def _unreadable(source: object, error: OSError) -> ProductError:
    return ProductError(Code.PRODUCT_INVALID, f"{source} can't be read: {error.strerror or error}")


def settled(written: FileIO) -> str:
    """The SHA-256 of what was written, as it is on the disk and not in memory."""
    os.fsync(written.fileno())
    os.posix_fadvise(written.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    written.seek(0)
    return hashlib.file_digest(written, "sha256").hexdigest()
