"""The examples of the document and what it says of each slice, over REST and MCP, on SQLite and PostgreSQL."""

from uuid import uuid4

import pytest

from tests.registry.conftest import RefusedError

EXAMPLE = {
    "name": "APS-2026-1 inconel fatigue campaign",
    "intent": "Series",
    "lead_actor_id": "f1e2d3c4-b5a6-4978-8869-7a6b5c4d3e2f",
    "subject_id": "11111111-2222-4333-8444-555555555555",
    "description": "Repeat tomograms every 30 minutes during in-situ tensile loading.",
    "tags": ["in-situ", "tomography", "fatigue"],
    "external_refs": [{"scheme": "proposal", "id": "GUP-89421"}, {"scheme": "btr", "id": "2026-1-APS-035"}],
}
KEY = "9a7d2c3e-4b1f-4f6a-8a2e-5c2c4f3a7b91"


@pytest.fixture
def campaign(ask):
    """The example, registered."""
    return ask("register_campaign", key=KEY, **EXAMPLE)["campaign_id"]


@pytest.fixture
def run(ask):
    return ask("register_run", name="first", directory="/data/first", host="n01")["run_id"]


def refusal(ask, name, /, **arguments):
    with pytest.raises(RefusedError) as caught:
        ask(name, **arguments)
    return caught.value.name, caught.value.status


def test_the_canonical_path(ask, campaign, run):
    def seen():
        return ask("get_campaign", campaign_id=campaign)

    listed = ask("list_campaigns")["campaigns"]
    assert [entry["campaign_id"] for entry in listed] == [campaign]
    assert seen()["status"] == "Planned"
    assert {key: seen()[key] for key in ("name", "intent", "lead_actor_id", "subject_id", "description")} == {
        key: EXAMPLE[key] for key in ("name", "intent", "lead_actor_id", "subject_id", "description")
    }
    assert sorted(seen()["tags"]) == sorted(EXAMPLE["tags"])
    assert sorted(ref["scheme"] for ref in seen()["external_refs"]) == ["btr", "proposal"]
    assert ask("start_campaign", campaign_id=campaign) == {}
    started = seen()["started_at"]
    assert (seen()["status"], started is not None) == ("Active", True)
    assert ask("add_run_to_campaign", campaign_id=campaign, run_id=run) == {}
    assert seen()["run_ids"] == [run]
    assert ask("list_campaigns")["campaigns"][0]["run_count"] == 1
    assert [entry["run_id"] for entry in ask("list_runs", campaign_id=campaign)["runs"]] == [run]
    assert ask("get_run", run_id=run)["campaign_id"] == campaign
    assert ask("close_campaign", campaign_id=campaign) == {}
    assert (seen()["status"], seen()["started_at"]) == ("Closed", started)
    for name, more in (("add_run_to_campaign", {}), ("remove_run_from_campaign", {"reason": "late"})):
        verb = name.partition("_")[0].title()
        assert refusal(ask, name, campaign_id=campaign, run_id=run, **more) == (f"CampaignCannot{verb}RunError", 409)
    assert ask("list_campaigns")["campaigns"] == []
    for status in (["all"], ["Closed"]):
        assert [entry["campaign_id"] for entry in ask("list_campaigns", status=status)["campaigns"]] == [campaign]


def test_why_it_was_held_stays_readable(ask, campaign):
    ask("start_campaign", campaign_id=campaign)
    started = ask("get_campaign", campaign_id=campaign)["started_at"]
    ask("hold_campaign", campaign_id=campaign, reason="  beam is down ")
    assert ask("get_campaign", campaign_id=campaign)["last_status_reason"] == "beam is down"
    ask("resume_campaign", campaign_id=campaign)
    for seen in (ask("get_campaign", campaign_id=campaign), ask("list_campaigns")["campaigns"][0]):
        assert (seen["status"], seen["last_status_reason"], seen["started_at"]) == ("Active", "beam is down", started)
    ask("abandon_campaign", campaign_id=campaign, reason="no beam time")
    seen = ask("list_campaigns", status=["Abandoned"])["campaigns"][0]
    assert (seen["last_status_reason"], seen["started_at"]) == ("no beam time", started)


def test_members_come_and_go(ask, campaign, run):
    other = ask("register_campaign", **{**EXAMPLE, "name": "another"})["campaign_id"]
    ask("add_run_to_campaign", campaign_id=campaign, run_id=run)
    assert refusal(ask, "add_run_to_campaign", campaign_id=campaign, run_id=run) == (
        "CampaignRunAlreadyMemberError",
        409,
    )
    assert refusal(ask, "add_run_to_campaign", campaign_id=other, run_id=run) == (
        "RunAlreadyAssignedToCampaignError",
        409,
    )
    assert refusal(ask, "remove_run_from_campaign", campaign_id=other, run_id=run, reason="x") == (
        "CampaignRunNotMemberError",
        409,
    )
    ask("remove_run_from_campaign", campaign_id=campaign, run_id=run, reason="wrong sample")
    assert ask("get_campaign", campaign_id=campaign)["run_ids"] == []
    assert ask("get_campaign", campaign_id=campaign)["last_status_reason"] is None
    assert ask("list_runs", campaign_id=campaign)["runs"] == []
    ask("add_run_to_campaign", campaign_id=other, run_id=run)
    assert ask("get_run", run_id=run)["campaign_id"] == other


def test_a_run_joins_as_it_starts(ask, campaign, run):
    ask("start_run", run_id=run, campaign_id=campaign)
    assert ask("get_campaign", campaign_id=campaign)["run_ids"] == [run]
    seen = ask("get_run", run_id=run)
    assert (seen["status"], seen["campaign_id"]) == ("Running", campaign)
    assert refusal(ask, "start_run", run_id=run) == ("RunCannotStartError", 409)
    ask("stop_run", run_id=run, reason="the allocation ended")
    assert ask("get_run", run_id=run)["last_status_reason"] == "the allocation ended"
    assert refusal(ask, "complete_run", run_id=run) == ("RunCannotCompleteError", 409)


def test_a_closed_campaign_takes_no_run_that_starts(ask, campaign, run):
    ask("abandon_campaign", campaign_id=campaign, reason="over")
    assert refusal(ask, "start_run", run_id=run, campaign_id=campaign) == ("CampaignCannotAddRunError", 409)
    assert ask("get_run", run_id=run)["status"] == "Registered"
    ask("start_run", run_id=run)


def test_a_held_campaign_blocks_no_run(ask, campaign, run):
    ask("start_campaign", campaign_id=campaign)
    ask("hold_campaign", campaign_id=campaign, reason="pause")
    ask("start_run", run_id=run, campaign_id=campaign)
    ask("complete_run", run_id=run)
    assert ask("get_run", run_id=run)["status"] == "Completed"


MOVES = {
    "start_campaign": {},
    "hold_campaign": {"reason": "r"},
    "resume_campaign": {},
    "close_campaign": {},
    "abandon_campaign": {"reason": "r"},
}
NOWHERE = str(uuid4())


@pytest.mark.parametrize("name", MOVES)
def test_what_is_not_there(ask, name):
    assert refusal(ask, name, campaign_id=NOWHERE, **MOVES[name]) == ("CampaignNotFoundError", 404)


def test_what_else_is_not_there(ask, campaign, run):
    assert refusal(ask, "get_campaign", campaign_id=NOWHERE) == ("CampaignNotFoundError", 404)
    assert refusal(ask, "get_campaign", campaign_id=run) == ("CampaignNotFoundError", 404)
    assert refusal(ask, "get_run", run_id=campaign) == ("RunNotFoundError", 404)
    assert refusal(ask, "add_run_to_campaign", campaign_id=NOWHERE, run_id=run) == ("CampaignNotFoundError", 404)
    assert refusal(ask, "add_run_to_campaign", campaign_id=campaign, run_id=NOWHERE) == ("RunNotFoundError", 404)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": "   "}, "InvalidCampaignNameError"),
        ({"name": "x" * 201}, "InvalidCampaignNameError"),
        ({"name": "a\0b"}, "InvalidCampaignNameError"),
        ({"name": 3}, "InvalidRequestError"),
        ({"name": None}, "InvalidRequestError"),
        ({"description": ""}, "InvalidCampaignDescriptionError"),
        ({"description": "x" * 2001}, "InvalidCampaignDescriptionError"),
        ({"tags": ["ok", " "]}, "InvalidCampaignTagError"),
        ({"tags": ["x" * 51]}, "InvalidCampaignTagError"),
        ({"tags": ["x"] * 101}, "InvalidRequestError"),
        ({"external_id": " "}, "InvalidCampaignExternalIdError"),
        ({"external_refs": [{"scheme": "", "id": "1"}]}, "InvalidCampaignExternalRefError"),
        ({"external_refs": [{"scheme": "btr"}]}, "InvalidRequestError"),
        ({"intent": "Holiday"}, "InvalidRequestError"),
        ({"lead_actor_id": "me"}, "InvalidRequestError"),
        ({"colour": "red"}, "InvalidRequestError"),
    ],
)
def test_what_can_not_be_registered(ask, change, error):
    assert refusal(ask, "register_campaign", **{**EXAMPLE, **change}) == (error, 422)


@pytest.mark.parametrize("reason", [" ", "x" * 501, "\n\t", "a\0"])
def test_reasons_are_given_in_words(ask, campaign, run, reason):
    ask("start_campaign", campaign_id=campaign)
    ask("add_run_to_campaign", campaign_id=campaign, run_id=run)
    for name, error in (
        ("hold_campaign", "InvalidCampaignHoldReasonError"),
        ("abandon_campaign", "InvalidCampaignAbandonReasonError"),
    ):
        assert refusal(ask, name, campaign_id=campaign, reason=reason) == (error, 422)
    removal = refusal(ask, "remove_run_from_campaign", campaign_id=campaign, run_id=run, reason=reason)
    assert removal == ("InvalidCampaignRunRemoveReasonError", 422)
    ask("hold_campaign", campaign_id=campaign, reason="  " + "x" * 500 + "  ")


def test_the_same_key_is_the_same_campaign(ask, campaign):
    assert ask("register_campaign", key=KEY, **EXAMPLE)["campaign_id"] == campaign
    assert refusal(ask, "register_campaign", key=KEY, **{**EXAMPLE, "name": "other"}) == (
        "IdempotencyKeyReusedError",
        409,
    )
    somebody = uuid4()
    assert ask("register_campaign", key=KEY, principal=somebody, **EXAMPLE)["campaign_id"] != campaign
    assert len(ask("list_campaigns")["campaigns"]) == 2


def test_who_is_nobody(ask, campaign):
    for name, more in (("get_campaign", {}), ("start_campaign", {})):
        assert refusal(ask, name, principal=None, campaign_id=campaign, **more) == ("Unauthorized", 403)
    assert refusal(ask, "get_campaign", principal="me", campaign_id=campaign) == ("Unauthorized", 403)


def test_pages(ask):
    made = [
        ask("register_campaign", **{**EXAMPLE, "name": f"c{n}", "tags": ["odd"] if n % 2 else []})["campaign_id"]
        for n in range(7)
    ]
    seen, cursor = [], None
    while True:
        page = ask("list_campaigns", limit=3, **({"cursor": cursor} if cursor else {}))
        seen += [entry["campaign_id"] for entry in page["campaigns"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made
    assert [entry["name"] for entry in ask("list_campaigns", tag="odd")["campaigns"]] == ["c1", "c3", "c5"]
    assert ask("list_campaigns", lead_actor_id=str(uuid4()))["campaigns"] == []
    first = ask("list_campaigns", limit=3)["next_cursor"]
    for forged in ("AAAA", first[:-4] + "AAAA", "not base 64!", "\u00e9"):
        assert refusal(ask, "list_campaigns", cursor=forged) == ("InvalidCursorError", 422)
    assert refusal(ask, "list_campaigns", cursor=first, tag="odd") == ("InvalidCursorError", 422)
    assert refusal(ask, "list_campaigns", status=["all", "Closed"]) == ("InvalidRequestError", 422)
    assert refusal(ask, "list_campaigns", limit=0) == ("InvalidRequestError", 422)
