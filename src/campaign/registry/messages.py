"""What is asked and answered, as JSON knows it. The schemas of REST and MCP are made of these models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from campaign.registry.values import (
    AbandonReason,
    BoundedText,
    CampaignDescription,
    CampaignExternalId,
    CampaignIntent,
    CampaignName,
    CampaignStatus,
    CampaignTag,
    HoldReason,
    RefId,
    RefScheme,
    RunName,
    RunReason,
    RunRemoveReason,
    RunStatus,
)

MANY = 100
"""Tags, references and the like, at most."""


def _text(kind: type[BoundedText]) -> Any:
    """A text that the domain judges; the schema says what it will accept."""
    return WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": kind.MOST, "pattern": r"^[^\x00]*\S[^\x00]*$"}
    )


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Reference(_Model):
    """A record elsewhere: proposal, btr, visit, cycle, or another scheme."""

    scheme: Annotated[str, _text(RefScheme)]
    id: Annotated[str, _text(RefId)]


class RegisterCampaign(_Model):
    """A campaign to declare."""

    name: Annotated[str, _text(CampaignName), Field(description="what it is called")]
    intent: CampaignIntent
    lead_actor_id: Annotated[UUID, Field(description="who leads it; not checked against anybody")]
    subject_id: UUID | None = None
    description: Annotated[str, _text(CampaignDescription)] | None = None
    tags: Annotated[list[Annotated[str, _text(CampaignTag)]], Field(max_length=MANY)] = []
    external_refs: Annotated[list[Reference], Field(max_length=MANY)] = []
    external_id: Annotated[str, _text(CampaignExternalId)] | None = None


class OfCampaign(_Model):
    """One campaign."""

    campaign_id: UUID


class HoldCampaign(OfCampaign):
    """Why it is to rest."""

    reason: Annotated[str, _text(HoldReason)]


class AbandonCampaign(OfCampaign):
    """Why it is given up."""

    reason: Annotated[str, _text(AbandonReason)]


class Membership(OfCampaign):
    """A run in a campaign."""

    run_id: UUID


class RemoveRun(Membership):
    """Why a run is no member any more."""

    reason: Annotated[str, _text(RunRemoveReason)]


class _Page(_Model):
    """A part of a list."""

    limit: Annotated[int, Field(ge=1, le=200, description="entries of a page")] = 50
    cursor: Annotated[str | None, Field(max_length=2000, description="`next_cursor` of the page before")] = None


class ListCampaigns(_Page):
    """Which campaigns are wanted."""

    status: Annotated[
        list[CampaignStatus | Literal["all"]],
        Field(max_length=6, description="all, or those that are wanted; unless said, those that are open"),
    ] = []
    intent: CampaignIntent | None = None
    lead_actor_id: UUID | None = None
    subject_id: UUID | None = None
    tag: Annotated[str, _text(CampaignTag)] | None = None


class RegisterRun(_Model):
    """A run to declare."""

    name: Annotated[str, _text(RunName)]
    directory: (
        Annotated[str, Field(max_length=4096, pattern=r"^[^\x00]*$", description="where its results lie")] | None
    ) = None
    host: Annotated[str, Field(max_length=255, pattern=r"^[^\x00]*$")] | None = None


class OfRun(_Model):
    """One run."""

    run_id: UUID


class StartRun(OfRun):
    """A run that begins."""

    campaign_id: Annotated[UUID | None, Field(description="the campaign that it joins as it starts")] = None


class EndRun(OfRun):
    """Why a run ends."""

    reason: Annotated[str, _text(RunReason)]


class ListRuns(_Page):
    """Which runs are wanted."""

    campaign_id: UUID | None = None
    status: Annotated[list[RunStatus], Field(max_length=5)] = []


class CampaignRef(_Model):
    """A campaign that was declared."""

    campaign_id: UUID


class RunRef(_Model):
    """A run that was declared."""

    run_id: UUID


class CampaignSummary(_Model):
    """What a list tells of a campaign."""

    campaign_id: UUID
    name: str
    intent: CampaignIntent
    status: CampaignStatus
    lead_actor_id: UUID
    subject_id: UUID | None
    description: str | None
    tags: list[str]
    external_id: str | None
    run_count: int
    registered_at: datetime
    started_at: datetime | None
    last_status_changed_at: datetime | None
    last_status_reason: str | None


class CampaignView(CampaignSummary):
    """All that is known of a campaign."""

    external_refs: list[Reference]
    run_ids: list[UUID]


class CampaignPage(_Model):
    """A part of the campaigns."""

    campaigns: list[CampaignSummary]
    next_cursor: str | None


class RunView(_Model):
    """All that is known of a run."""

    run_id: UUID
    name: str
    status: RunStatus
    campaign_id: UUID | None
    directory: str | None
    host: str | None
    registered_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    last_status_reason: str | None


class RunPage(_Model):
    """A part of the runs."""

    runs: list[RunView]
    next_cursor: str | None
