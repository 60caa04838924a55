"""When Python looks for cyclic garbage: seldom in a process that makes many objects and hardly a cycle of them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = 50_000
"""Containers that are made between two looks at the young ones; Python's own number is 700."""


def keep() -> None:
    """What is there now stays: no collection need look at it again."""
    gc.collect()
    gc.freeze()


def collect_seldom() -> None:
    """Keep what is there now, and look at what comes after it only when there is much of it.

    Records and tasks hold no cycles, so that a look at them, with all that lives beside them, finds nothing.
    """
    keep()
    gc.set_threshold(SELDOM, *gc.get_threshold()[1:])


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """The same for a while, in a process that is not ours alone."""
    before = gc.get_threshold()
    collect_seldom()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
