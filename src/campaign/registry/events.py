"""What has happened: events of the two streams. Their names and fields are stored, so they are only ever added to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeAlias, get_args
from uuid import UUID

from campaign.registry.errors import RegistrySchemaError
from campaign.registry.values import CampaignIntent, ExternalRef


@dataclass(frozen=True, slots=True)
class CampaignRegistered:
    """A campaign is declared; it is planned."""

    campaign_id: UUID
    name: str
    intent: CampaignIntent
    lead_actor_id: UUID
    subject_id: UUID | None
    description: str | None
    tags: frozenset[str]
    external_refs: frozenset[ExternalRef]
    external_id: str | None
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class CampaignStarted:
    """It is active."""

    campaign_id: UUID
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class CampaignHeld:
    """It is held."""

    campaign_id: UUID
    reason: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class CampaignResumed:
    """It is active again."""

    campaign_id: UUID
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class CampaignClosed:
    """It is over."""

    campaign_id: UUID
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class CampaignAbandoned:
    """It was given up."""

    campaign_id: UUID
    reason: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class CampaignRunAdded:
    """A run is a member of it."""

    campaign_id: UUID
    run_id: UUID
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class CampaignRunRemoved:
    """A run is no member of it any more."""

    campaign_id: UUID
    run_id: UUID
    reason: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class RunRegistered:
    """A run is declared; it has not begun."""

    run_id: UUID
    name: str
    directory: str | None  # of its results
    host: str | None
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class RunStarted:
    """It runs; from now on as a member of a campaign, where one is named."""

    run_id: UUID
    campaign_id: UUID | None
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class RunCompleted:
    """It has done what it was for."""

    run_id: UUID
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class RunStopped:
    """It ended in order, with work left."""

    run_id: UUID
    reason: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class RunAborted:
    """It was broken off."""

    run_id: UUID
    reason: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class RunCampaignAssigned:
    """It is a member of a campaign."""

    run_id: UUID
    campaign_id: UUID
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class RunCampaignUnassigned:
    """It is no member of a campaign any more."""

    run_id: UUID
    campaign_id: UUID
    reason: str
    occurred_at: datetime


CampaignEvent: TypeAlias = (
    CampaignRegistered | CampaignStarted | CampaignHeld | CampaignResumed | CampaignClosed | CampaignAbandoned
    | CampaignRunAdded | CampaignRunRemoved
)  # fmt: skip
RunEvent: TypeAlias = (
    RunRegistered | RunStarted | RunCompleted | RunStopped | RunAborted | RunCampaignAssigned | RunCampaignUnassigned
)
Event: TypeAlias = CampaignEvent | RunEvent

KINDS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in get_args(Event)}
"""Events by the names under which they are stored."""


def payload(event: Event) -> dict[str, Any]:
    """The fields of an event as JSON knows them."""
    return {field.name: _plain(getattr(event, field.name)) for field in fields(event)}


def event_of(kind: str, stored: Mapping[str, Any]) -> Event:
    """The event that was stored under a name; RegistrySchemaError for a name that this version does not know."""
    if kind not in KINDS:
        raise RegistrySchemaError(
            f"the registry holds {kind}, which this version does not know", action="use a newer version of campaign"
        )
    known = KINDS[kind]
    found: Event = known(**{field.name: _read(field.name, stored.get(field.name)) for field in fields(known)})
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, ExternalRef):
        return {"scheme": str(value.scheme), "id": str(value.id)}
    if isinstance(value, frozenset):
        return [_plain(entry) for entry in sorted(value)]
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None else str(value)


def _read(name: str, value: Any) -> Any:
    """A field of a payload as it was."""
    return _READ[name](value) if name in _READ else value


def _uuid(value: str | None) -> UUID | None:
    return None if value is None else UUID(value)


_READ: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("campaign_id", "run_id", "lead_actor_id", "subject_id"), _uuid),
    "occurred_at": datetime.fromisoformat,
    "intent": CampaignIntent,
    "tags": frozenset,
    "external_refs": lambda listed: frozenset(ExternalRef(**ref) for ref in listed),
}
