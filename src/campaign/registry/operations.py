"""The one table of operations: what each is called, asks, answers, refuses, and does. REST, MCP and command line are made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import BaseModel, ValidationError

from campaign.registry import campaigns, errors, runs
from campaign.registry.campaigns import Campaign
from campaign.registry.errors import RegistryError
from campaign.registry.messages import (
    AbandonCampaign,
    CampaignPage,
    CampaignRef,
    CampaignSummary,
    CampaignView,
    EndRun,
    HoldCampaign,
    ListCampaigns,
    ListRuns,
    Membership,
    OfCampaign,
    OfRun,
    Reference,
    RegisterCampaign,
    RegisterRun,
    RemoveRun,
    RunPage,
    RunRef,
    RunView,
    StartRun,
)
from campaign.registry.runs import Run
from campaign.registry.values import ExternalRef

if TYPE_CHECKING:
    from campaign.registry.store import Stream, Unit


class Role(StrEnum):
    """What a principal may do: each may what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: Role) -> bool:
        """Whether it is enough."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)


class Category(StrEnum):
    """What an operation does to a stream."""

    NEW = "NEW"
    MODIFIED = "MODIFIED"
    QUERY = "QUERY"


# What is done.


@dataclass(frozen=True, slots=True)
class Context:
    """What an operation has beside what it is asked."""

    unit: Unit  # one transaction; of a query, one look
    principal_id: UUID
    now: datetime
    new_id: Callable[[], UUID]
    secret: bytes  # of the cursors


def _campaign(context: Context, campaign_id: UUID) -> tuple[Stream, Campaign]:
    stream = context.unit.stream(campaign_id)
    state = campaigns.fold(stream.events) if _is_of(stream, "Campaign") else None  # type: ignore[arg-type]
    if state is None:
        raise errors.CampaignNotFoundError(f"there is no campaign {campaign_id}")
    return stream, state


def _run(context: Context, run_id: UUID) -> tuple[Stream, Run]:
    stream = context.unit.stream(run_id)
    state = runs.fold(stream.events) if _is_of(stream, "Run") else None  # type: ignore[arg-type]
    if state is None:
        raise errors.RunNotFoundError(f"there is no run {run_id}")
    return stream, state


def _is_of(stream: Stream, kind: str) -> bool:
    """Whether the stream is that of a campaign, or of a run."""
    return bool(stream.events) and type(stream.events[0]).__name__ == f"{kind}Registered"


def register_campaign(context: Context, asked: RegisterCampaign) -> CampaignRef:
    """Declare a campaign; it is planned."""
    campaign_id = context.new_id()
    stream = context.unit.stream(campaign_id)
    event = campaigns.register(
        campaigns.fold(stream.events),  # type: ignore[arg-type]
        campaign_id, asked.name, asked.intent, asked.lead_actor_id, context.now, subject_id=asked.subject_id,
        description=asked.description, tags=asked.tags,
        external_refs=[ExternalRef(ref.scheme, ref.id) for ref in asked.external_refs], external_id=asked.external_id,
    )  # fmt: skip
    context.unit.append_streams([(stream, [event])], context.principal_id)
    return CampaignRef(campaign_id=campaign_id)


def start_campaign(context: Context, asked: OfCampaign) -> None:
    """Begin work: planned -> active."""
    stream, state = _campaign(context, asked.campaign_id)
    context.unit.append_streams([(stream, [campaigns.start(state, context.now)])], context.principal_id)


def hold_campaign(context: Context, asked: HoldCampaign) -> None:
    """Let it rest: active -> held."""
    stream, state = _campaign(context, asked.campaign_id)
    context.unit.append_streams([(stream, [campaigns.hold(state, asked.reason, context.now)])], context.principal_id)


def resume_campaign(context: Context, asked: OfCampaign) -> None:
    """Go on: held -> active."""
    stream, state = _campaign(context, asked.campaign_id)
    context.unit.append_streams([(stream, [campaigns.resume(state, context.now)])], context.principal_id)


def close_campaign(context: Context, asked: OfCampaign) -> None:
    """End it: active or held -> closed; its members are frozen."""
    stream, state = _campaign(context, asked.campaign_id)
    context.unit.append_streams([(stream, [campaigns.close(state, context.now)])], context.principal_id)


def abandon_campaign(context: Context, asked: AbandonCampaign) -> None:
    """Give it up, from any open state; its members are frozen."""
    stream, state = _campaign(context, asked.campaign_id)
    context.unit.append_streams([(stream, [campaigns.abandon(state, asked.reason, context.now)])], context.principal_id)


def add_run_to_campaign(context: Context, asked: Membership) -> None:
    """Make a run a member."""
    stream, state = _campaign(context, asked.campaign_id)
    run_stream, run = _run(context, asked.run_id)
    added = campaigns.add_run(state, asked.run_id, context.now)
    assigned = runs.assign(run, asked.campaign_id, context.now)
    context.unit.append_streams([(stream, [added]), (run_stream, [assigned])], context.principal_id)


def remove_run_from_campaign(context: Context, asked: RemoveRun) -> None:
    """End a run's membership."""
    stream, state = _campaign(context, asked.campaign_id)
    removed = campaigns.remove_run(state, asked.run_id, asked.reason, context.now)
    run_stream, run = _run(context, asked.run_id)
    unassigned = runs.unassign(run, asked.campaign_id, removed.reason, context.now)
    context.unit.append_streams([(stream, [removed]), (run_stream, [unassigned])], context.principal_id)


def get_campaign(context: Context, asked: OfCampaign) -> CampaignView:
    """All that is known of a campaign, its members included."""
    _, state = _campaign(context, asked.campaign_id)
    return CampaignView(
        campaign_id=state.campaign_id, name=state.name, intent=state.intent, status=state.status,
        lead_actor_id=state.lead_actor_id, subject_id=state.subject_id, description=state.description, tags=sorted(state.tags),
        external_id=state.external_id, run_count=len(state.run_ids), registered_at=state.registered_at,
        started_at=state.started_at, last_status_changed_at=state.last_status_changed_at,
        last_status_reason=state.last_status_reason,
        external_refs=[Reference(scheme=ref.scheme, id=ref.id) for ref in sorted(state.external_refs)],
        run_ids=sorted(state.run_ids),
    )  # fmt: skip


def list_campaigns(context: Context, asked: ListCampaigns) -> CampaignPage:
    """A page of campaigns in the order in which they were registered; those that are open, unless others are asked for."""
    if "all" in asked.status and len(asked.status) > 1:
        raise errors.InvalidRequestError("status: `all` can't be combined with others", action="leave the others out")
    from campaign.registry import lists

    rows, following = lists.campaigns(context.unit.connection, asked, context.secret)
    return CampaignPage(campaigns=[CampaignSummary(**row) for row in rows], next_cursor=following)


def register_run(context: Context, asked: RegisterRun) -> RunRef:
    """Declare a run that has not begun."""
    run_id = context.new_id()
    stream = context.unit.stream(run_id)
    event = runs.register(
        runs.fold(stream.events),  # type: ignore[arg-type]
        run_id, asked.name, context.now, directory=asked.directory, host=asked.host,
    )  # fmt: skip
    context.unit.append_streams([(stream, [event])], context.principal_id)
    return RunRef(run_id=run_id)


def start_run(context: Context, asked: StartRun) -> None:
    """Begin a run; where a campaign is named, it joins that one in the same moment."""
    run_stream, run = _run(context, asked.run_id)
    started = runs.start(run, asked.campaign_id, context.now)
    appends: list[tuple[Stream, list[Any]]] = [(run_stream, [started])]
    if asked.campaign_id is not None and run.campaign_id is None:
        stream, state = _campaign(context, asked.campaign_id)
        appends.append((stream, [campaigns.add_run(state, asked.run_id, context.now)]))
    context.unit.append_streams(appends, context.principal_id)


def complete_run(context: Context, asked: OfRun) -> None:
    """A run has done what it was for."""
    stream, run = _run(context, asked.run_id)
    context.unit.append_streams([(stream, [runs.complete(run, context.now)])], context.principal_id)


def stop_run(context: Context, asked: EndRun) -> None:
    """A run has ended in order, with work left."""
    stream, run = _run(context, asked.run_id)
    context.unit.append_streams([(stream, [runs.stop(run, asked.reason, context.now)])], context.principal_id)


def abort_run(context: Context, asked: EndRun) -> None:
    """A run was broken off, or never began."""
    stream, run = _run(context, asked.run_id)
    context.unit.append_streams([(stream, [runs.abort(run, asked.reason, context.now)])], context.principal_id)


def get_run(context: Context, asked: OfRun) -> RunView:
    """All that is known of a run."""
    _, run = _run(context, asked.run_id)
    return RunView(
        run_id=run.run_id, name=run.name, status=run.status, campaign_id=run.campaign_id, directory=run.directory, host=run.host,
        registered_at=run.registered_at, started_at=run.started_at, ended_at=run.ended_at,
        last_status_reason=run.last_status_reason,
    )  # fmt: skip


def list_runs(context: Context, asked: ListRuns) -> RunPage:
    """A page of runs in the order in which they were registered, such as those of a campaign."""
    from campaign.registry import lists

    rows, following = lists.runs(context.unit.connection, asked, context.secret)
    return RunPage(runs=[RunView(**row) for row in rows], next_cursor=following)


# The table.


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked of the registry."""

    act: Callable[[Context, Any], BaseModel | None]
    category: Category
    method: str
    path: str
    request: type[BaseModel]
    response: type[BaseModel] | None
    raises: tuple[type[RegistryError], ...]

    @property
    def name(self) -> str:
        """The word for it, everywhere."""
        return self.act.__name__

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return (self.act.__doc__ or "").partition("\n")[0]

    @property
    def status(self) -> int:
        """Of HTTP, where it went well."""
        return 201 if self.category is Category.NEW else 204 if self.response is None else 200

    @property
    def role(self) -> Role:
        """Who may."""
        return Role.VIEWER if self.category is Category.QUERY else Role.OPERATOR

    @property
    def needs_key(self) -> bool:
        """Whether REST demands an idempotency key."""
        return self.category is Category.NEW


def _new(act: Any, path: str, request: Any, response: Any, *raises: type[RegistryError]) -> Operation:
    return Operation(act, Category.NEW, "POST", path, request, response, (*raises, errors.IdempotencyKeyReusedError))


def _modified(act: Any, path: str, request: Any, *raises: type[RegistryError]) -> Operation:
    return Operation(act, Category.MODIFIED, "POST", path, request, None, (*raises, errors.OptimisticConcurrencyError))


def _query(act: Any, path: str, request: Any, response: Any, *raises: type[RegistryError]) -> Operation:
    return Operation(act, Category.QUERY, "GET", path, request, response, raises)


_OF = "/campaigns/{campaign_id}"
_RUN = "/runs/{run_id}"
_NO_CAMPAIGN, _NO_RUN = errors.CampaignNotFoundError, errors.RunNotFoundError

OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for operation in (
        _new(
            register_campaign, "/campaigns", RegisterCampaign, CampaignRef, errors.CampaignAlreadyExistsError,
            errors.InvalidCampaignNameError, errors.InvalidCampaignDescriptionError, errors.InvalidCampaignTagError,
            errors.InvalidCampaignExternalIdError, errors.InvalidCampaignExternalRefError,
        ),
        _modified(start_campaign, f"{_OF}/start", OfCampaign, _NO_CAMPAIGN, errors.CampaignCannotStartError),
        _modified(
            hold_campaign, f"{_OF}/hold", HoldCampaign, _NO_CAMPAIGN, errors.CampaignCannotHoldError,
            errors.InvalidCampaignHoldReasonError,
        ),
        _modified(resume_campaign, f"{_OF}/resume", OfCampaign, _NO_CAMPAIGN, errors.CampaignCannotResumeError),
        _modified(close_campaign, f"{_OF}/close", OfCampaign, _NO_CAMPAIGN, errors.CampaignCannotCloseError),
        _modified(
            abandon_campaign, f"{_OF}/abandon", AbandonCampaign, _NO_CAMPAIGN, errors.CampaignCannotAbandonError,
            errors.InvalidCampaignAbandonReasonError,
        ),
        _modified(
            add_run_to_campaign, f"{_OF}/runs/{{run_id}}", Membership, _NO_CAMPAIGN, _NO_RUN, errors.CampaignCannotAddRunError,
            errors.CampaignRunAlreadyMemberError, errors.RunAlreadyAssignedToCampaignError,
        ),
        _modified(
            remove_run_from_campaign, f"{_OF}/runs/{{run_id}}/remove", RemoveRun, _NO_CAMPAIGN, errors.CampaignCannotRemoveRunError,
            errors.CampaignRunNotMemberError, errors.InvalidCampaignRunRemoveReasonError,
        ),
        _query(get_campaign, _OF, OfCampaign, CampaignView, _NO_CAMPAIGN),
        _query(
            list_campaigns, "/campaigns", ListCampaigns, CampaignPage, errors.InvalidCursorError, errors.InvalidCampaignTagError
        ),
        _new(register_run, "/runs", RegisterRun, RunRef, errors.RunAlreadyExistsError, errors.InvalidRunNameError),
        _modified(
            start_run, f"{_RUN}/start", StartRun, _NO_RUN, _NO_CAMPAIGN, errors.RunCannotStartError,
            errors.CampaignCannotAddRunError, errors.RunAlreadyAssignedToCampaignError,
        ),
        _modified(complete_run, f"{_RUN}/complete", OfRun, _NO_RUN, errors.RunCannotCompleteError),
        _modified(stop_run, f"{_RUN}/stop", EndRun, _NO_RUN, errors.RunCannotStopError, errors.InvalidRunReasonError),
        _modified(abort_run, f"{_RUN}/abort", EndRun, _NO_RUN, errors.RunCannotAbortError, errors.InvalidRunReasonError),
        _query(get_run, _RUN, OfRun, RunView, _NO_RUN),
        _query(list_runs, "/runs", ListRuns, RunPage, errors.InvalidCursorError),
    )
}  # fmt: skip

ALWAYS = (errors.Unauthorized, errors.InvalidRequestError, errors.RegistryUnavailableError)
"""What any operation may raise."""


MISTAKES_MAX = 20
"""Mistakes that are told of one request."""


def validated(operation: Operation, arguments: Mapping[str, Any]) -> Any:
    """What is asked; InvalidRequestError with the mistakes, many at once."""
    try:
        return operation.request.model_validate(dict(arguments))
    except ValidationError as error:
        mistakes = [
            f"{'.'.join(map(str, one['loc']))[:100] or 'request'}: {one['msg']}"
            for one in error.errors()[:MISTAKES_MAX]
        ]
        raise errors.InvalidRequestError("; ".join(mistakes)) from error
