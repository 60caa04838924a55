"""Which class a failure has, and the rule of each class."""

from __future__ import annotations

from collections.abc import Mapping

from campaign.core.model import Failure, FailureClass, Rule
from campaign.errors import Code

UNBLAMED_RETRIES = 10
"""Attempts of one job that may end by what it is not to blame for, whatever that was, before the job counts as failed."""

WARM_UP = "warm_up"
"""Phase of a failure that came before the job itself was begun."""

RULES: Mapping[FailureClass, Rule] = {
    FailureClass.INFRASTRUCTURE: Rule(blames_job=False, max_retries=UNBLAMED_RETRIES, waits=False),
    FailureClass.WORKER_LOST: Rule(blames_job=False, max_retries=UNBLAMED_RETRIES, waits=False),
    FailureClass.NODE: Rule(blames_job=False, max_retries=UNBLAMED_RETRIES, waits=False, another_node=True),
    FailureClass.KILLED: Rule(blames_job=False, max_retries=UNBLAMED_RETRIES, waits=False, another_node=True),
    FailureClass.CRASH: Rule(blames_job=True, another_node=True),
    FailureClass.TIMEOUT: Rule(blames_job=True, time_factor=1.5),
    FailureClass.OUT_OF_MEMORY: Rule(blames_job=True, memory_factor=1.5),
    FailureClass.BAD_PRODUCT: Rule(blames_job=True, another_node=True),
    FailureClass.ERROR: Rule(blames_job=True),
    FailureClass.USER_ERROR: Rule(blames_job=True, max_retries=0),
    FailureClass.MISSING_INPUT: Rule(blames_job=True, max_retries=0),
}
"""What follows from each class unless `execution.policy` says otherwise."""

CLASSES: Mapping[str, FailureClass] = {
    Code.INTERRUPTED: FailureClass.WORKER_LOST,
    Code.SLOT_UNREADY: FailureClass.NODE,
    Code.SLOT_KILLED: FailureClass.KILLED,
    Code.SLOT_CRASHED: FailureClass.CRASH,
    Code.TIMED_OUT: FailureClass.TIMEOUT,
    Code.MEMORY_EXCEEDED: FailureClass.OUT_OF_MEMORY,
    Code.INPUT_MISSING: FailureClass.MISSING_INPUT,
}
"""Codes that have a class of their own."""


def class_of(failure: Failure) -> FailureClass:
    """The class of a failure."""
    if not failure.blames_job and failure.phase == WARM_UP:
        return FailureClass.NODE
    if not failure.blames_job:
        known = CLASSES.get(failure.code)
        return known if known is not None and not RULES[known].blames_job else FailureClass.INFRASTRUCTURE
    if failure.code in CLASSES:
        return CLASSES[failure.code]
    if failure.error_class == "MemoryError" or "RESOURCE_EXHAUSTED" in failure.message:
        return FailureClass.OUT_OF_MEMORY
    if not failure.transient:
        return FailureClass.USER_ERROR
    return FailureClass.BAD_PRODUCT if failure.code == Code.PRODUCT_INVALID else FailureClass.ERROR
