"""What the registry refuses, by the names that its clients know; `status` is that of HTTP."""

from __future__ import annotations

from typing import ClassVar

from campaign.errors import CampaignError, Code


class RegistryError(CampaignError):
    """Root of what the registry refuses."""

    status: ClassVar[int] = 400
    exit_code = 2

    def __init__(self, message: str, *, action: str = "") -> None:
        super().__init__(Code.REGISTRY_REFUSED, message, action=action)

    def __reduce__(self) -> tuple[object, ...]:
        return (_again, (type(self), self.message, self.action))


def _again(kind: type[RegistryError], message: str, action: str) -> RegistryError:
    return kind(message, action=action)


# Who asks.


class Unauthorized(RegistryError):  # noqa: N818 - its name is the interface
    """Nobody is known to ask, or somebody who may not."""

    status = 403


# What is asked for.


class InvalidRequestError(RegistryError):
    """An argument is missing, unknown, or of the wrong type."""

    status = 422


class InvalidCursorError(RegistryError):
    """A cursor that this registry did not give, or gave for another question."""

    status = 422


class InvalidCampaignNameError(RegistryError):
    """A name that is empty or too long."""

    status = 422


class InvalidCampaignDescriptionError(RegistryError):
    """A description that is empty or too long."""

    status = 422


class InvalidCampaignTagError(RegistryError):
    """A tag that is empty or too long."""

    status = 422


class InvalidCampaignExternalIdError(RegistryError):
    """An identifier elsewhere that is empty or too long."""

    status = 422


class InvalidCampaignExternalRefError(RegistryError):
    """A reference elsewhere whose scheme or id is empty or too long."""

    status = 422


class InvalidCampaignHoldReasonError(RegistryError):
    """A reason that is empty or too long."""

    status = 422


class InvalidCampaignAbandonReasonError(RegistryError):
    """A reason that is empty or too long."""

    status = 422


class InvalidCampaignRunRemoveReasonError(RegistryError):
    """A reason that is empty or too long."""

    status = 422


class InvalidRunNameError(RegistryError):
    """A name that is empty or too long."""

    status = 422


class InvalidRunReasonError(RegistryError):
    """A reason that is empty or too long."""

    status = 422


# What is not there.


class CampaignNotFoundError(RegistryError):
    """There is no such campaign."""

    status = 404


class RunNotFoundError(RegistryError):
    """There is no such run."""

    status = 404


# What does not fit the state that things are in.


class CampaignAlreadyExistsError(RegistryError):
    """There is a campaign of this id already."""

    status = 409


class CampaignCannotStartError(RegistryError):
    """It is not planned."""

    status = 409


class CampaignCannotHoldError(RegistryError):
    """It is not active."""

    status = 409


class CampaignCannotResumeError(RegistryError):
    """It is not held."""

    status = 409


class CampaignCannotCloseError(RegistryError):
    """It is neither active nor held."""

    status = 409


class CampaignCannotAbandonError(RegistryError):
    """It is closed or abandoned."""

    status = 409


class CampaignCannotAddRunError(RegistryError):
    """Its members are frozen."""

    status = 409


class CampaignCannotRemoveRunError(RegistryError):
    """Its members are frozen."""

    status = 409


class CampaignRunAlreadyMemberError(RegistryError):
    """The run is a member of it."""

    status = 409


class CampaignRunNotMemberError(RegistryError):
    """The run is no member of it."""

    status = 409


class RunAlreadyExistsError(RegistryError):
    """There is a run of this id already."""

    status = 409


class RunAlreadyAssignedToCampaignError(RegistryError):
    """The run is a member of another campaign."""

    status = 409


class RunCannotStartError(RegistryError):
    """It has been started."""

    status = 409


class RunCannotCompleteError(RegistryError):
    """It is not running."""

    status = 409


class RunCannotStopError(RegistryError):
    """It is not running."""

    status = 409


class RunCannotAbortError(RegistryError):
    """It has ended."""

    status = 409


class OptimisticConcurrencyError(RegistryError):
    """Somebody else changed it in the meantime: ask again."""

    status = 409


class IdempotencyKeyReusedError(RegistryError):
    """The key was used for something else."""

    status = 409


class BodyTooLargeError(RegistryError):
    """More than anybody means."""

    status = 413


# What is wrong on our side.


class RegistryUnavailableError(RegistryError):
    """The database, or the server, can't be reached."""

    status = 503
    exit_code = 3
    transient = True


class RegistrySchemaError(RegistryError):
    """The database was made by another version."""

    status = 503
    exit_code = 3
