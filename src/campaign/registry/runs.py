"""The Run aggregate, pure. A run is a member of one campaign at most; a campaign never decides about its life."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from campaign.registry import errors
from campaign.registry.errors import RegistryError
from campaign.registry.events import (
    RunAborted,
    RunCampaignAssigned,
    RunCampaignUnassigned,
    RunCompleted,
    RunEvent,
    RunRegistered,
    RunStarted,
    RunStopped,
)
from campaign.registry.values import RunName, RunReason, RunStatus

S = RunStatus

MOVES: Mapping[tuple[RunStatus, str], RunStatus] = {
    (S.REGISTERED, "start"): S.RUNNING,
    (S.RUNNING, "complete"): S.COMPLETED,
    (S.RUNNING, "stop"): S.STOPPED,
    (S.RUNNING, "abort"): S.ABORTED,
    (S.REGISTERED, "abort"): S.ABORTED,
}
"""The legal moves; everything else is refused."""

REFUSALS: Mapping[str, type[RegistryError]] = {
    "start": errors.RunCannotStartError,
    "complete": errors.RunCannotCompleteError,
    "stop": errors.RunCannotStopError,
    "abort": errors.RunCannotAbortError,
}


ENDS: Mapping[type[Any], RunStatus] = {RunCompleted: S.COMPLETED, RunStopped: S.STOPPED, RunAborted: S.ABORTED}
"""The state after each event that ends a run."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is known of a run."""

    run_id: UUID
    name: str
    directory: str | None
    host: str | None
    registered_at: datetime
    status: RunStatus = S.REGISTERED
    campaign_id: UUID | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    last_status_reason: str | None = None


def fold(events: Iterable[RunEvent]) -> Run | None:
    """The state after events; None after none."""
    state = None
    for event in events:
        state = evolve(state, event)
    return state


def evolve(state: Run | None, event: RunEvent) -> Run:
    """The state after one more event."""
    if isinstance(event, RunRegistered):
        return Run(event.run_id, event.name, event.directory, event.host, event.occurred_at)
    assert state is not None, "a stream begins with RunRegistered"
    match event:
        case RunStarted(campaign_id=joined, occurred_at=at):
            return replace(state, status=S.RUNNING, started_at=at, campaign_id=joined or state.campaign_id)
        case RunCampaignAssigned(campaign_id=campaign_id):
            return replace(state, campaign_id=campaign_id)
        case RunCampaignUnassigned():
            return replace(state, campaign_id=None)
    reason = None if isinstance(event, RunCompleted) else event.reason
    return replace(state, status=ENDS[type(event)], ended_at=event.occurred_at, last_status_reason=reason)


def register(
    state: Run | None, run_id: UUID, name: str, now: datetime, *, directory: str | None = None, host: str | None = None
) -> RunRegistered:
    """Declare a run."""
    if state is not None:
        raise errors.RunAlreadyExistsError(f"run {run_id} exists")
    return RunRegistered(run_id, RunName(name), directory, host, now)


def start(state: Run, campaign_id: UUID | None, now: datetime) -> RunStarted:
    """Begin, as a member of a campaign where one is named."""
    _move(state, "start")
    if campaign_id is not None:
        _refuse_other(state, campaign_id)
    return RunStarted(state.run_id, campaign_id, now)


def complete(state: Run, now: datetime) -> RunCompleted:
    """End with everything done."""
    _move(state, "complete")
    return RunCompleted(state.run_id, now)


def stop(state: Run, reason: str, now: datetime) -> RunStopped:
    """End in order, with work left."""
    words = RunReason(reason)
    _move(state, "stop")
    return RunStopped(state.run_id, words, now)


def abort(state: Run, reason: str, now: datetime) -> RunAborted:
    """Break off."""
    words = RunReason(reason)
    _move(state, "abort")
    return RunAborted(state.run_id, words, now)


def assign(state: Run, campaign_id: UUID, now: datetime) -> RunCampaignAssigned:
    """Make it a member of a campaign."""
    _refuse_other(state, campaign_id)
    return RunCampaignAssigned(state.run_id, campaign_id, now)


def unassign(state: Run, campaign_id: UUID, reason: str, now: datetime) -> RunCampaignUnassigned:
    """End its membership."""
    return RunCampaignUnassigned(state.run_id, campaign_id, reason, now)


def _refuse_other(state: Run, campaign_id: UUID) -> None:
    if state.campaign_id not in (None, campaign_id):
        raise errors.RunAlreadyAssignedToCampaignError(
            f"run {state.run_id} is a member of campaign {state.campaign_id}", action="remove it there first"
        )


def _move(state: Run, verb: str) -> None:
    """Refuse a move that the table does not have."""
    if (state.status, verb) not in MOVES:
        allowed = " or ".join(source for source, known in MOVES if known == verb)
        raise REFUSALS[verb](f"run {state.run_id} is {state.status}; to {verb} it, it must be {allowed}")
