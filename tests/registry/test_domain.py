"""The aggregates, pure: every pair of state and command, every guard."""

import dataclasses
import itertools
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.registry import campaigns, errors, events, runs
from campaign.registry.projections import HANDLERS
from campaign.registry.values import (
    BoundedText,
    CampaignIntent,
    CampaignName,
    CampaignStatus,
    ExternalRef,
    HoldReason,
    RunStatus,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
C, R, OTHER = (UUID(int=n) for n in (1, 2, 3))

REGISTERED = campaigns.register(None, C, "x", CampaignIntent.SWEEP, OTHER, NOW)
PATHS = {
    CampaignStatus.PLANNED: [],
    CampaignStatus.ACTIVE: ["start"],
    CampaignStatus.HELD: ["start", "hold"],
    CampaignStatus.CLOSED: ["start", "close"],
    CampaignStatus.ABANDONED: ["abandon"],
}
REASONED = {"hold", "abandon"}


def decide(state, verb, at=NOW):
    return getattr(campaigns, verb)(state, *(["because"] if verb in REASONED else []), at)


def campaign_in(status):
    state = campaigns.fold([REGISTERED])
    for verb in PATHS[status]:
        state = campaigns.evolve(state, decide(state, verb))
    assert state.status is status
    return state


@pytest.mark.parametrize(("status", "verb"), [*itertools.product(CampaignStatus, campaigns.REFUSALS)])
def test_every_pair_of_state_and_command(status, verb):
    state = campaign_in(status)
    if (status, verb) in campaigns.MOVES:
        assert campaigns.evolve(state, decide(state, verb)).status is campaigns.MOVES[status, verb]
    else:
        with pytest.raises(campaigns.REFUSALS[verb], match=f"is {status}"):
            decide(state, verb)


def test_the_table_is_that_of_the_document():
    assert {(str(source), verb, str(target)) for (source, verb), target in campaigns.MOVES.items()} == {
        ("Planned", "start", "Active"), ("Active", "hold", "Held"), ("Held", "resume", "Active"), ("Active", "close", "Closed"),
        ("Held", "close", "Closed"), ("Planned", "abandon", "Abandoned"), ("Active", "abandon", "Abandoned"),
        ("Held", "abandon", "Abandoned"),
    }  # fmt: skip


@pytest.mark.parametrize("status", CampaignStatus)
def test_members_come_and_go_while_it_is_open(status):
    state = campaign_in(status)
    if status in (CampaignStatus.CLOSED, CampaignStatus.ABANDONED):
        with pytest.raises(errors.CampaignCannotAddRunError):
            campaigns.add_run(state, R, NOW)
        with pytest.raises(errors.CampaignCannotRemoveRunError):
            campaigns.remove_run(state, R, "x", NOW)
        return
    with_run = campaigns.evolve(state, campaigns.add_run(state, R, NOW))
    assert with_run.run_ids == {R}
    with pytest.raises(errors.CampaignRunAlreadyMemberError):
        campaigns.add_run(with_run, R, NOW)
    without = campaigns.evolve(with_run, campaigns.remove_run(with_run, R, "x", NOW))
    assert without == state
    with pytest.raises(errors.CampaignRunNotMemberError):
        campaigns.remove_run(without, R, "x", NOW)


def test_when_and_why():
    state, seen = campaigns.fold([REGISTERED]), []
    for n, verb in enumerate(["start", "hold", "resume", "hold", "close"], 1):
        state = campaigns.evolve(state, decide(state, verb, NOW + timedelta(hours=n)))
        seen.append((state.started_at.hour, state.last_status_changed_at.hour, state.last_status_reason))
    assert seen == [(1, 1, None), (1, 2, "because"), (1, 3, "because"), (1, 4, "because"), (1, 5, "because")]


@pytest.mark.parametrize(("status", "verb"), [*itertools.product(RunStatus, runs.REFUSALS)])
def test_every_pair_of_a_run_s_state_and_command(status, verb):
    def decide_run(state, word):
        more = {"start": [None], "stop": ["why"], "abort": ["why"]}.get(word, [])
        return getattr(runs, word)(state, *more, NOW)

    state = runs.fold([runs.register(None, R, "r", NOW)])
    path = {
        "Registered": [],
        "Running": ["start"],
        "Completed": ["start", "complete"],
        "Stopped": ["start", "stop"],
        "Aborted": ["abort"],
    }
    for word in path[status]:
        state = runs.evolve(state, decide_run(state, word))
    if (status, verb) in runs.MOVES:
        assert runs.evolve(state, decide_run(state, verb)).status is runs.MOVES[status, verb]
    else:
        with pytest.raises(runs.REFUSALS[verb]):
            decide_run(state, verb)


def test_what_is_there_is_not_registered_again():
    with pytest.raises(errors.CampaignAlreadyExistsError):
        campaigns.register(campaigns.fold([REGISTERED]), C, "x", CampaignIntent.SWEEP, OTHER, NOW)
    run = runs.register(None, R, "r", NOW)
    with pytest.raises(errors.RunAlreadyExistsError):
        runs.register(runs.fold([run]), R, "r", NOW)


def test_one_campaign_a_run():
    state = runs.fold([runs.register(None, R, "r", NOW)])
    state = runs.evolve(state, runs.assign(state, C, NOW))
    with pytest.raises(errors.RunAlreadyAssignedToCampaignError):
        runs.assign(state, OTHER, NOW)
    with pytest.raises(errors.RunAlreadyAssignedToCampaignError):
        runs.start(state, OTHER, NOW)
    assert runs.evolve(state, runs.start(state, C, NOW)).campaign_id == C
    assert runs.evolve(state, runs.unassign(state, C, "x", NOW)).campaign_id is None


KINDS = [kind for kind in BoundedText.__subclasses__() if not kind.__name__.startswith("_")]


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_of_texts(kind):
    assert kind(f"\t{'x' * kind.MOST} ") == "x" * kind.MOST
    for text in ("", " \n", "x" * (kind.MOST + 1), "a\0", "\ud800"):
        with pytest.raises(kind.REFUSAL):
            kind(text)


@given(st.text(max_size=600))
def test_a_text_is_trimmed_and_bounded_or_refused(text):
    for kind in (CampaignName, HoldReason):
        try:
            made = kind(text)
        except kind.REFUSAL:
            trimmed = text.strip()
            assert (
                not 1 <= len(trimmed) <= kind.MOST
                or "\0" in text
                or not trimmed.isprintable()
                or trimmed != trimmed.encode("utf-8", "replace").decode()
            )
        else:
            assert made == text.strip()
            made.encode()


EXAMPLES = [
    dataclasses.replace(REGISTERED, tags=frozenset("ab"), external_refs=frozenset([ExternalRef("btr", "1")]), subject_id=R, description="d"),
    REGISTERED, events.CampaignStarted(C, NOW), events.CampaignHeld(C, "r", NOW), events.CampaignResumed(C, NOW),
    events.CampaignClosed(C, NOW), events.CampaignAbandoned(C, "r", NOW), events.CampaignRunAdded(C, R, NOW),
    events.CampaignRunRemoved(C, R, "r", NOW), events.RunRegistered(R, "n", "/d", "h", NOW), events.RunStarted(R, C, NOW),
    events.RunStarted(R, None, NOW), events.RunCompleted(R, NOW), events.RunStopped(R, "r", NOW), events.RunAborted(R, "r", NOW),
    events.RunCampaignAssigned(R, C, NOW), events.RunCampaignUnassigned(R, C, "r", NOW),
]  # fmt: skip


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_events_survive_json(event):
    assert events.event_of(type(event).__name__, events.payload(event)) == event


def test_every_event_is_known_to_the_projections_and_to_this_test():
    assert set(HANDLERS) == set(events.KINDS.values()) == {type(event) for event in EXAMPLES}


FIELDS = {
    "CampaignRegistered": "campaign_id name intent lead_actor_id subject_id description tags external_refs external_id occurred_at",
    "CampaignStarted": "campaign_id occurred_at", "CampaignHeld": "campaign_id reason occurred_at",
    "CampaignResumed": "campaign_id occurred_at", "CampaignClosed": "campaign_id occurred_at",
    "CampaignAbandoned": "campaign_id reason occurred_at", "CampaignRunAdded": "campaign_id run_id occurred_at",
    "CampaignRunRemoved": "campaign_id run_id reason occurred_at",
}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_events_have_the_fields_of_the_document(name):
    assert [field.name for field in dataclasses.fields(events.KINDS[name])] == FIELDS[name].split()
