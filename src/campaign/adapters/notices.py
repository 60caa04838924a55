"""Tells people: by a command of theirs, and by the services that apprise knows. Never in the way of a run."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import queue
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from campaign.private import read_private

logger = logging.getLogger("campaign")

PATIENCE_S = 10.0
"""How long one notice may take. The end of a run waits for one that is under way, and for the last one."""


class Notifier:
    """Sends notices one after another, in a thread of its own."""

    def __init__(self, command: Sequence[str], urls_file: str | None = None) -> None:
        """`command` gets each notice as JSON on standard input; the file has URLs of apprise. UsageError where others may read it."""
        self._command, self._urls = list(command), _urls(urls_file) if urls_file else []
        self._waiting: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._send_all, daemon=True, name="notices")
        self._thread.start()

    def send(self, notice: Mapping[str, Any]) -> None:
        """Have a notice sent."""
        self._waiting.put(dict(notice))

    def close(self) -> None:
        """Wait a while for those that are not sent yet; if one of them hangs, the last one is still sent."""
        self._waiting.put(None)
        self._thread.join(PATIENCE_S)
        with contextlib.suppress(queue.Empty):
            while self._waiting.qsize() > 2:
                dropped = self._waiting.get_nowait()
                logger.warning("notify: not sent, others take too long: %s", dropped and dropped["words"])
        self._thread.join(1.5 * PATIENCE_S)

    def _send_all(self) -> None:
        while (notice := self._waiting.get()) is not None:
            for send in (self._by_command, self._by_apprise):
                try:
                    send(notice)
                except Exception as error:  # noqa: BLE001 - a notice is in nobody's way
                    logger.warning("notify: %s", error)

    def _by_command(self, notice: Mapping[str, Any]) -> None:
        if not self._command:
            return
        done = subprocess.run(
            self._command, input=json.dumps(notice), text=True, timeout=PATIENCE_S, check=False, capture_output=True,
            env={**os.environ, "CAMPAIGN_NOTICE": str(notice["kind"])},
        )  # fmt: skip
        if done.returncode:
            logger.warning(
                "notify: %s ended with %d: %s", self._command[0], done.returncode, done.stderr.strip()[-300:]
            )

    def _by_apprise(self, notice: Mapping[str, Any]) -> None:
        if not self._urls:
            return
        if importlib.util.find_spec("apprise") is None:
            logger.warning("notify.urls_file needs apprise: pip install 'campaign[notify]'")
            self._urls.clear()
            return
        import apprise

        service = apprise.Apprise()
        for url in self._urls:
            service.add(url)
        if not service.notify(title=f"campaign {notice['campaign']}: {notice['kind']}", body=str(notice["words"])):
            logger.warning("notify: not every service took the notice")


def _urls(file: str) -> list[str]:
    """The lines of a file, without those that are empty or comments."""
    content = read_private(
        Path(file), "notify.urls_file", "write a URL that apprise knows into each line, and chmod 600 it"
    )
    lines = [line.strip() for line in content.decode(errors="replace").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
