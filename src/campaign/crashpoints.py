"""Named points in commit, flush and resume at which a test lets a process die, as by SIGKILL. Nothing happens elsewhere."""

from __future__ import annotations

import os
import signal

VARIABLE = "CAMPAIGN_CRASH_AT"
"""Environment variable that arms a point: its name, or `name:n` for the n-th time that it is reached."""

POINTS = {
    "attempt.linked": "a slot has put a product in its place and has not said so",
    "journal.started": "a worker has noted that an attempt begins",
    "journal.ended": "a worker has noted how an attempt ended and has not said so",
    "seal.written": "a batch is written and does not have its name yet",
    "seal.renamed": "a batch is sealed in staging/",
    "commit.promoted": "a batch is in batches/ and the ledger does not know it",
    "ledger.recorded": "the ledger knows a batch that the dataset does not",
    "flush.payload": "cells are in the dataset and their status is not",
    "flush.status": "the status is in the dataset and the mark has not moved",
    "flush.marked": "the mark has moved",
    "recover.replayed": "the dataset is brought up to the ledger",
    "recover.adopted": "batches that nobody had indexed are indexed",
    "recover.settled": "journals are settled and still there",
    "recover.cleared": "journals are removed",
    "rebuild.created": "a new dataset is laid out and not shown",
    "rebuild.published": "a new dataset is shown and the mark has not moved",
    "archive.copied": "a file has its name in an archive that is not finished",
    "archive.described": "an archive is described and its manifest is the old one",
    "freeze.planned": "a new plan is written and the manifest is the old one",
}
"""Every point, and what has happened when it is reached."""

_NAME, _, _COUNT = os.environ.get(VARIABLE, "").partition(":")
_left = int(_COUNT or 1)


def reach(point: str) -> None:
    """Die here if this point is armed."""
    global _left  # noqa: PLW0603 - the one thing that a process remembers about it
    if point != _NAME:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
