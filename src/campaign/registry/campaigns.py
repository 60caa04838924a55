"""The Campaign aggregate, pure: events fold into a state, commands are decided on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from campaign.registry import errors
from campaign.registry.errors import RegistryError
from campaign.registry.events import (
    CampaignAbandoned,
    CampaignClosed,
    CampaignEvent,
    CampaignHeld,
    CampaignRegistered,
    CampaignResumed,
    CampaignRunAdded,
    CampaignRunRemoved,
    CampaignStarted,
)
from campaign.registry.values import (
    OPEN,
    AbandonReason,
    CampaignDescription,
    CampaignExternalId,
    CampaignIntent,
    CampaignName,
    CampaignStatus,
    CampaignTag,
    ExternalRef,
    HoldReason,
    RunRemoveReason,
)

S = CampaignStatus

MOVES: Mapping[tuple[CampaignStatus, str], CampaignStatus] = {
    (S.PLANNED, "start"): S.ACTIVE,
    (S.ACTIVE, "hold"): S.HELD,
    (S.HELD, "resume"): S.ACTIVE,
    (S.ACTIVE, "close"): S.CLOSED,
    (S.HELD, "close"): S.CLOSED,
    (S.PLANNED, "abandon"): S.ABANDONED,
    (S.ACTIVE, "abandon"): S.ABANDONED,
    (S.HELD, "abandon"): S.ABANDONED,
}
"""The legal moves; everything else is refused."""

REFUSALS: Mapping[str, type[RegistryError]] = {
    "start": errors.CampaignCannotStartError,
    "hold": errors.CampaignCannotHoldError,
    "resume": errors.CampaignCannotResumeError,
    "close": errors.CampaignCannotCloseError,
    "abandon": errors.CampaignCannotAbandonError,
}

EFFECTS: Mapping[type[Any], CampaignStatus] = {
    CampaignStarted: S.ACTIVE,
    CampaignHeld: S.HELD,
    CampaignResumed: S.ACTIVE,
    CampaignClosed: S.CLOSED,
    CampaignAbandoned: S.ABANDONED,
}
"""The state after each event that changes it."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is known of a campaign."""

    campaign_id: UUID
    name: str
    intent: CampaignIntent
    lead_actor_id: UUID
    subject_id: UUID | None
    description: str | None
    tags: frozenset[str]
    external_refs: frozenset[ExternalRef]
    external_id: str | None
    registered_at: datetime
    status: CampaignStatus = S.PLANNED
    run_ids: frozenset[UUID] = frozenset()
    started_at: datetime | None = None
    last_status_changed_at: datetime | None = None
    last_status_reason: str | None = None


def fold(events: Iterable[CampaignEvent]) -> Campaign | None:
    """The state after events; None after none."""
    state, runs = None, set[UUID]()
    for event in events:
        if isinstance(event, CampaignRunAdded):
            runs.add(event.run_id)
        elif isinstance(event, CampaignRunRemoved):
            runs.discard(event.run_id)
        else:
            state = evolve(state, event)
    return None if state is None else replace(state, run_ids=frozenset(runs))


def evolve(state: Campaign | None, event: CampaignEvent) -> Campaign:
    """The state after one more event."""
    if isinstance(event, CampaignRegistered):
        return Campaign(
            campaign_id=event.campaign_id,
            name=event.name,
            intent=event.intent,
            lead_actor_id=event.lead_actor_id,
            subject_id=event.subject_id,
            description=event.description,
            tags=event.tags,
            external_refs=event.external_refs,
            external_id=event.external_id,
            registered_at=event.occurred_at,
        )
    assert state is not None, "a stream begins with CampaignRegistered"
    if isinstance(event, CampaignRunAdded):
        return replace(state, run_ids=state.run_ids | {event.run_id})
    if isinstance(event, CampaignRunRemoved):
        return replace(state, run_ids=state.run_ids - {event.run_id})
    reason = event.reason if isinstance(event, CampaignHeld | CampaignAbandoned) else state.last_status_reason
    began = event.occurred_at if isinstance(event, CampaignStarted) and state.started_at is None else state.started_at
    return replace(
        state,
        status=EFFECTS[type(event)],
        started_at=began,
        last_status_changed_at=event.occurred_at,
        last_status_reason=reason,
    )


def register(
    state: Campaign | None,
    campaign_id: UUID,
    name: str,
    intent: CampaignIntent,
    lead_actor_id: UUID,
    now: datetime,
    *,
    subject_id: UUID | None = None,
    description: str | None = None,
    tags: Iterable[str] = (),
    external_refs: Iterable[ExternalRef] = (),
    external_id: str | None = None,
) -> CampaignRegistered:
    """Declare a campaign."""
    if state is not None:
        raise errors.CampaignAlreadyExistsError(f"campaign {campaign_id} exists")
    return CampaignRegistered(
        campaign_id=campaign_id,
        name=CampaignName(name),
        intent=intent,
        lead_actor_id=lead_actor_id,
        subject_id=subject_id,
        description=None if description is None else CampaignDescription(description),
        tags=frozenset(CampaignTag(tag) for tag in tags),
        external_refs=frozenset(external_refs),
        external_id=None if external_id is None else CampaignExternalId(external_id),
        occurred_at=now,
    )


def start(state: Campaign, now: datetime) -> CampaignStarted:
    """Begin work."""
    _move(state, "start")
    return CampaignStarted(state.campaign_id, now)


def hold(state: Campaign, reason: str, now: datetime) -> CampaignHeld:
    """Let work rest."""
    words = HoldReason(reason)
    _move(state, "hold")
    return CampaignHeld(state.campaign_id, words, now)


def resume(state: Campaign, now: datetime) -> CampaignResumed:
    """Go on; why it was held stays readable."""
    _move(state, "resume")
    return CampaignResumed(state.campaign_id, now)


def close(state: Campaign, now: datetime) -> CampaignClosed:
    """End it: members are frozen."""
    _move(state, "close")
    return CampaignClosed(state.campaign_id, now)


def abandon(state: Campaign, reason: str, now: datetime) -> CampaignAbandoned:
    """Give it up: members are frozen."""
    words = AbandonReason(reason)
    _move(state, "abandon")
    return CampaignAbandoned(state.campaign_id, words, now)


def add_run(state: Campaign, run_id: UUID, now: datetime) -> CampaignRunAdded:
    """Make a run a member."""
    if state.status not in OPEN:
        raise errors.CampaignCannotAddRunError(
            f"campaign {state.campaign_id} is {state.status}: its members are frozen"
        )
    if run_id in state.run_ids:
        raise errors.CampaignRunAlreadyMemberError(f"run {run_id} is a member of campaign {state.campaign_id}")
    return CampaignRunAdded(state.campaign_id, run_id, now)


def remove_run(state: Campaign, run_id: UUID, reason: str, now: datetime) -> CampaignRunRemoved:
    """End a run's membership."""
    words = RunRemoveReason(reason)
    if state.status not in OPEN:
        raise errors.CampaignCannotRemoveRunError(
            f"campaign {state.campaign_id} is {state.status}: its members are frozen"
        )
    if run_id not in state.run_ids:
        raise errors.CampaignRunNotMemberError(f"run {run_id} is no member of campaign {state.campaign_id}")
    return CampaignRunRemoved(state.campaign_id, run_id, words, now)


def _move(state: Campaign, verb: str) -> None:
    """Refuse a move that the table does not have."""
    if (state.status, verb) not in MOVES:
        allowed = ", ".join(source for source, known in MOVES if known == verb)
        raise REFUSALS[verb](f"campaign {state.campaign_id} is {state.status}; to {verb} it, it must be {allowed}")
