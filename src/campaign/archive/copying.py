"""One file from one place to another: hashed while it is read, made durable, read again where it arrived, and only then given its name."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from campaign.crashpoints import reach
from campaign.errors import Code, ProductError, StorageError

BLOCK_BYTES = 1 << 20


class Pace:
    """So many bytes a second, all threads together."""

    def __init__(
        self,
        bytes_per_s: float | None,
        monotonic_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bytes_per_s, self._monotonic_s, self._sleep = bytes_per_s, monotonic_s, sleep
        self._free_s, self._lock = 0.0, threading.Lock()

    def wait(self, size_bytes: int) -> None:
        """Until it is the turn of these bytes."""
        if self._bytes_per_s is None:
            return
        with self._lock:
            start = max(self._free_s, self._monotonic_s())
            self._free_s = start + size_bytes / self._bytes_per_s
        self._sleep(max(start - self._monotonic_s(), 0.0))


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read what is copied."""

    gid: int | None = None  # None: as the process makes files

    def make_directory(self, path: Path, below: Path) -> None:
        """A directory and those between it and `below`, with the group that everything in them will have."""
        if path.is_dir():
            return
        if path != below:
            self.make_directory(path.parent, below)
        path.mkdir(exist_ok=True, parents=path == below)
        self.grant_directory(path)

    def grant_directory(self, path: Path) -> None:
        """Entered and read by the group, which what is made in it inherits (set-gid)."""
        if self.gid is not None:
            os.chown(path, -1, self.gid)
            path.chmod(0o2750)

    def grant_file(self, file: int | Path) -> None:
        """Read by the group."""
        if self.gid is not None:
            os.chown(file, -1, self.gid)
            os.chmod(file, 0o640)  # noqa: PTH101 - also of what is open


def copy(source: Path, target: Path, expected: str | None, pace: Pace, access: Access) -> str:
    """The SHA-256 of a file that stands whole and durable at `target` now.

    ProductError where the source is not as `expected`, StorageError where what arrived is not what was sent.
    """
    scratch = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with source.open("rb", buffering=0) as read, scratch.open("w+b", buffering=0) as written:
            digest = _stream(read, written, pace)
            if expected is not None and digest != expected:
                raise ProductError(Code.PRODUCT_INVALID, f"{source}: SHA-256 {digest}, recorded with {expected}")
            if _settled(written) != digest:
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


def _stream(read: FileIO, written: FileIO, pace: Pace) -> str:
    """Copy, and the SHA-256 of what was read."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(min(BLOCK_BYTES, os.fstat(read.fileno()).st_size + 1)))
    while count := read.readinto(buffer):
        pace.wait(count)
        digest.update(buffer[:count])
        left = buffer[:count]
        while left:
            left = left[written.write(left) :]
    return digest.hexdigest()


def _settled(written: FileIO) -> str:
    """The SHA-256 of what was written, as it is on the disk and not in memory."""
    os.fsync(written.fileno())
    os.posix_fadvise(written.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    written.seek(0)
    return hashlib.file_digest(written, "sha256").hexdigest()
