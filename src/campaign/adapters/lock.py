"""One coordinator a campaign: an advisory lock that the kernel drops when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from campaign.errors import Code, LockedError

FILE = "coordinator.lock"
PAUSE_S = 0.05


class CampaignLock:
    """Held by the coordinator for as long as it lives."""

    def __init__(self, metadata: Path, file: str = FILE, wait_s: float = 1.0) -> None:
        """Take the lock; LockedError, naming host, process and time, where another holds it for longer than `wait_s`.

        Less than a second is not enough to tell: somebody who only looks holds the lock for an instant.
        """
        path = metadata / file
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not self._take(wait_s):
            os.close(self._handle)
            who = holder(metadata, file) or {}
            raise LockedError(
                Code.CAMPAIGN_LOCKED,
                f"{metadata.parent} is held by another coordinator: process {who.get('pid', '?')} on "
                f"{who.get('host', '?')}, since {who.get('since', '?')}",
                action="wait for it, or stop it there with Ctrl-C or `kill PID`; `campaign status` shows how far it is",
            )
        me = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, json.dumps(me).encode(), 0)

    def _take(self, wait_s: float) -> bool:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(PAUSE_S)
            else:
                return True

    def release(self) -> None:
        """Give the lock back."""
        os.ftruncate(self._handle, 0)
        os.close(self._handle)


def holders(metadata: Path, pattern: str) -> dict[str, dict[str, Any]]:
    """Who holds which of the locks whose names match, now: stem of the name -> holder."""
    found = {path.stem: holder(metadata, path.name) for path in sorted(metadata.glob(pattern))}
    return {name: who for name, who in found.items() if who is not None}


def holder(metadata: Path, file: str = FILE) -> dict[str, Any] | None:
    """Who holds a lock of a campaign; None where nobody does."""
    path = metadata / file
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            who: dict[str, Any] = json.loads(path.read_text())
        except ValueError:
            return {}
        return who
    finally:
        os.close(handle)
    return None
