"""The `registry` section: where runs are reported, and as members of which campaign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field

from campaign.config.section import STRICT
from campaign.core.model import Registration

if TYPE_CHECKING:
    from campaign.config.schema import CampaignSection


class RefSection(BaseModel):
    """A record elsewhere, such as a proposal."""

    model_config = STRICT

    scheme: Annotated[str, Field(min_length=1, max_length=50)]
    id: Annotated[str, Field(min_length=1, max_length=200)]


Identifier = Annotated[
    str, Field(pattern=r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", description="a UUID")
]


class RegistrySection(BaseModel):
    """Where runs are reported, and as members of which campaign; may change from one start to the next."""

    model_config = STRICT

    url: Annotated[
        str | None, Field(max_length=1000, description="http://HOST:PORT of a server, or a database; unset: nowhere")
    ] = None
    token_file: Annotated[str | None, Field(description="file with a token of the server, readable by you alone")] = (
        None
    )
    campaign_id: Annotated[Identifier | None, Field(description="campaign to join; unset: one of its own")] = None
    intent: Literal["Series", "Sweep", "Coordinated", "Block"] = "Sweep"
    lead_actor_id: Annotated[Identifier | None, Field(description="who leads it; unset: you")] = None
    subject_id: Identifier | None = None
    tags: Annotated[list[Annotated[str, Field(min_length=1, max_length=50)]], Field(max_length=100)] = []
    external_refs: Annotated[list[RefSection], Field(max_length=100)] = []


def registration(section: RegistrySection, campaign: CampaignSection) -> Registration | None:
    """Where runs are reported, and what a campaign of its own is registered with; None where they are not."""
    if section.url is None:
        return None
    declared = {
        "name": f"{campaign.name} {campaign.version}"[:200], "intent": section.intent, "lead_actor_id": section.lead_actor_id,
        "subject_id": section.subject_id, "description": campaign.description[:2000] or None, "tags": section.tags,
        "external_refs": [ref.model_dump() for ref in section.external_refs],
    }  # fmt: skip
    kept = {key: value for key, value in declared.items() if value}
    return Registration(section.url, section.token_file or "", section.campaign_id or "", kept)
