"""The jobs that every engine is given: nothing, a nap, a mock. Imported by the engines' workers."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

NAP_S, NAP_SPREAD = 0.1, 0.5
"""Mean time of a nap, and by which part of it one is longer or shorter."""

CONFIG = "BENCHMARK_MOCKS"
"""Variable that names the campaign of the mocks."""


def noop(number: int) -> int:
    """Nothing."""
    return number


def nap_s(number: int) -> float:
    """Seconds of the nap with this number."""
    return NAP_S * (1 + NAP_SPREAD * (2 * (number * 617 % 1009) / 1008 - 1))


def nap(number: int) -> int:
    """Sleep."""
    time.sleep(nap_s(number))
    return number


def mock(number: int) -> int:
    """Make, write and verify one mock of the campaign that `CONFIG` names; returns the number of its galaxies."""
    from campaign.adapters.local import SystemClock
    from campaign.attempt import run_attempt

    plan, generator = _campaign(os.environ[CONFIG])
    with tempfile.TemporaryDirectory() as into:
        record = run_attempt(plan.task(number, 1, 0), generator, Path(into), SystemClock())
    if record.failure is not None:
        raise RuntimeError(record.failure.message)
    return int(record.measurements["n_galaxies"])


@lru_cache(maxsize=1)
def _campaign(path: str) -> tuple[Any, Any]:
    from campaign import opening

    config, generator = opening.read_config(Path(path))
    return opening.lay_out(config, generator), generator


if __name__ == "__main__":
    mock(int(sys.argv[1]))
