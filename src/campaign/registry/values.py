"""Values of the registry: bounded texts, closed words, references elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Self

from campaign.registry import errors
from campaign.registry.errors import RegistryError


class BoundedText(str):
    """A text without blanks at its ends, of 1 to `MOST` characters that any database holds."""

    __slots__ = ()
    WHAT: ClassVar[str] = "text"
    MOST: ClassVar[int] = 200
    REFUSAL: ClassVar[type[RegistryError]] = RegistryError

    def __new__(cls, text: str) -> Self:
        """The text, trimmed; the error of its kind where it is empty, too long, or holds what can't be stored."""
        trimmed = text.strip()
        if not 1 <= len(trimmed) <= cls.MOST:
            raise cls.REFUSAL(f"{cls.WHAT} has {len(trimmed)} characters, 1 to {cls.MOST} are allowed")
        if "\0" in trimmed or any("\ud800" <= character <= "\udfff" for character in trimmed):
            raise cls.REFUSAL(f"{cls.WHAT} holds a character that is no text")
        return super().__new__(cls, trimmed)


class CampaignName(BoundedText):
    """What a campaign is called."""

    WHAT, MOST, REFUSAL = "name", 200, errors.InvalidCampaignNameError


class CampaignDescription(BoundedText):
    """What it is about."""

    WHAT, MOST, REFUSAL = "description", 2000, errors.InvalidCampaignDescriptionError


class CampaignTag(BoundedText):
    """One of its tags."""

    WHAT, MOST, REFUSAL = "tag", 50, errors.InvalidCampaignTagError


class CampaignExternalId(BoundedText):
    """Its persistent identifier elsewhere, such as a DOI."""

    WHAT, MOST, REFUSAL = "external_id", 200, errors.InvalidCampaignExternalIdError


class HoldReason(BoundedText):
    """Why it is held."""

    WHAT, MOST, REFUSAL = "reason", 500, errors.InvalidCampaignHoldReasonError


class AbandonReason(BoundedText):
    """Why it is abandoned."""

    WHAT, MOST, REFUSAL = "reason", 500, errors.InvalidCampaignAbandonReasonError


class RunRemoveReason(BoundedText):
    """Why a run is no member any more."""

    WHAT, MOST, REFUSAL = "reason", 500, errors.InvalidCampaignRunRemoveReasonError


class RunName(BoundedText):
    """What a run is called."""

    WHAT, MOST, REFUSAL = "name", 200, errors.InvalidRunNameError


class RunReason(BoundedText):
    """Why it was stopped or aborted."""

    WHAT, MOST, REFUSAL = "reason", 500, errors.InvalidRunReasonError


class RefScheme(BoundedText):
    """Where a reference leads."""

    WHAT, MOST, REFUSAL = "scheme of an external reference", 50, errors.InvalidCampaignExternalRefError


class RefId(BoundedText):
    """Which record it is there."""

    WHAT, MOST, REFUSAL = "id of an external reference", 200, errors.InvalidCampaignExternalRefError


@dataclass(frozen=True, slots=True, order=True)
class ExternalRef:
    """A reference to a record elsewhere."""

    scheme: str
    id: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "scheme", RefScheme(self.scheme))
        object.__setattr__(self, "id", RefId(self.id))


class CampaignIntent(StrEnum):
    """What kind of study it is."""

    SERIES = "Series"
    SWEEP = "Sweep"
    COORDINATED = "Coordinated"
    BLOCK = "Block"


class CampaignStatus(StrEnum):
    """Where a campaign is in its life."""

    PLANNED = "Planned"
    ACTIVE = "Active"
    HELD = "Held"
    CLOSED = "Closed"
    ABANDONED = "Abandoned"


OPEN = frozenset({CampaignStatus.PLANNED, CampaignStatus.ACTIVE, CampaignStatus.HELD})
"""States in which members come and go, and that lists show unless they are asked for others."""


class RunStatus(StrEnum):
    """Where a run is in its life."""

    REGISTERED = "Registered"
    RUNNING = "Running"
    COMPLETED = "Completed"
    STOPPED = "Stopped"
    ABORTED = "Aborted"
