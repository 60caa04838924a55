"""Events -> summaries: the tables that lists are read from. Made again from the events at any time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from campaign.registry import events as e
from campaign.registry.events import Event
from campaign.registry.tables import CAMPAIGNS, RUNS
from campaign.registry.values import CampaignStatus, RunStatus

Handler = Callable[[sa.Connection, Any], None]


def apply(connection: sa.Connection, event: Event) -> None:
    """Let the summaries take in one event."""
    for handler in HANDLERS[type(event)]:
        handler(connection, event)


def apply_all(connection: sa.Connection, events: Sequence[Event]) -> None:
    """Let them take in events, in order."""
    for event in events:
        apply(connection, event)


def _register_campaign(connection: sa.Connection, event: e.CampaignRegistered) -> None:
    connection.execute(sa.insert(CAMPAIGNS), {
        "campaign_id": event.campaign_id, "name": event.name, "intent": event.intent, "status": CampaignStatus.PLANNED,
        "lead_actor_id": event.lead_actor_id, "subject_id": event.subject_id, "description": event.description,
        "tags": sorted(event.tags), "external_id": event.external_id, "run_count": 0, "registered_at": event.occurred_at,
        "updated_at": event.occurred_at,
    })  # fmt: skip


def _campaign_status(status: CampaignStatus, *, first: bool = False, reasoned: bool = False) -> Handler:
    """A handler by which the status changes: `first` for the first work, `reasoned` where the event has a reason."""

    def handle(connection: sa.Connection, event: Any) -> None:
        values: dict[str, Any] = {"status": status, "last_status_changed_at": event.occurred_at}
        if first:
            values["started_at"] = sa.func.coalesce(
                CAMPAIGNS.c.started_at, sa.literal(event.occurred_at, CAMPAIGNS.c.started_at.type)
            )
        if reasoned:
            values["last_status_reason"] = event.reason
        _update_campaign(connection, event, values)

    return handle


def _count_runs(by: int) -> Handler:
    def handle(connection: sa.Connection, event: Any) -> None:
        _update_campaign(connection, event, {"run_count": CAMPAIGNS.c.run_count + by})

    return handle


def _update_campaign(connection: sa.Connection, event: Any, values: dict[str, Any]) -> None:
    chosen = sa.update(CAMPAIGNS).where(CAMPAIGNS.c.campaign_id == event.campaign_id)
    connection.execute(chosen.values(**values, updated_at=event.occurred_at))


def _register_run(connection: sa.Connection, event: e.RunRegistered) -> None:
    connection.execute(sa.insert(RUNS), {
        "run_id": event.run_id, "name": event.name, "status": RunStatus.REGISTERED, "directory": event.directory,
        "host": event.host, "registered_at": event.occurred_at, "updated_at": event.occurred_at,
    })  # fmt: skip


def _start_run(connection: sa.Connection, event: e.RunStarted) -> None:
    joined = {} if event.campaign_id is None else {"campaign_id": event.campaign_id}
    _update_run(connection, event, {"status": RunStatus.RUNNING, "started_at": event.occurred_at, **joined})


def _end_run(status: RunStatus, *, reasoned: bool = True) -> Handler:
    def handle(connection: sa.Connection, event: Any) -> None:
        why = {"last_status_reason": event.reason} if reasoned else {}
        _update_run(connection, event, {"status": status, "ended_at": event.occurred_at, **why})

    return handle


def _assign_run(connection: sa.Connection, event: e.RunCampaignAssigned) -> None:
    _update_run(connection, event, {"campaign_id": event.campaign_id})


def _unassign_run(connection: sa.Connection, event: e.RunCampaignUnassigned) -> None:
    _update_run(connection, event, {"campaign_id": None})


def _update_run(connection: sa.Connection, event: Any, values: dict[str, Any]) -> None:
    chosen = sa.update(RUNS).where(RUNS.c.run_id == event.run_id)
    connection.execute(chosen.values(**values, updated_at=event.occurred_at))


HANDLERS: dict[type[Any], tuple[Handler, ...]] = {
    e.CampaignRegistered: (_register_campaign,),
    e.CampaignStarted: (_campaign_status(CampaignStatus.ACTIVE, first=True),),
    e.CampaignHeld: (_campaign_status(CampaignStatus.HELD, reasoned=True),),
    e.CampaignResumed: (_campaign_status(CampaignStatus.ACTIVE),),
    e.CampaignClosed: (_campaign_status(CampaignStatus.CLOSED),),
    e.CampaignAbandoned: (_campaign_status(CampaignStatus.ABANDONED, reasoned=True),),
    e.CampaignRunAdded: (_count_runs(1),),
    e.CampaignRunRemoved: (_count_runs(-1),),
    e.RunRegistered: (_register_run,),
    e.RunStarted: (_start_run,),
    e.RunCompleted: (_end_run(RunStatus.COMPLETED, reasoned=False),),
    e.RunStopped: (_end_run(RunStatus.STOPPED),),
    e.RunAborted: (_end_run(RunStatus.ABORTED),),
    e.RunCampaignAssigned: (_assign_run,),
    e.RunCampaignUnassigned: (_unassign_run,),
}
"""What each event changes; a test sees that none is missing."""
