"""The store: all of an append or nothing, no lost update, projections that follow the events, databases that fail."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from campaign.registry import campaigns
from campaign.registry.errors import (
    CampaignCannotStartError,
    CampaignRunAlreadyMemberError,
    OptimisticConcurrencyError,
    RegistryError,
    RegistrySchemaError,
    RegistryUnavailableError,
    RunAlreadyAssignedToCampaignError,
)
from campaign.registry.operations import OPERATIONS, Role
from campaign.registry.service import Principal, Registry
from campaign.registry.store import EventStore, Stream
from campaign.registry.tables import CAMPAIGNS, EVENTS, FACTS, RUNS
from campaign.registry.values import CampaignIntent
from tests.registry.conftest import ME

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def declared(call, **more):
    return call("register_campaign", name="x", intent="Series", lead_actor_id=str(ME), **more)["campaign_id"]


def projected(store):
    with store.reading() as connection:
        return [connection.execute(sa.select(table).order_by(*table.primary_key)).all() for table in (CAMPAIGNS, RUNS)]


def test_an_append_to_a_stream_that_has_grown_is_refused_whole(store, call):
    campaign, other = UUID(declared(call)), UUID(declared(call))
    with store.writing() as unit:
        old, fine = unit.stream(campaign), unit.stream(other)
    call("start_campaign", campaign_id=str(campaign))
    event = campaigns.start(campaigns.fold(old.events), NOW)
    also = campaigns.start(campaigns.fold(fine.events), NOW)
    with pytest.raises(OptimisticConcurrencyError), store.writing() as unit:
        unit.append_streams([(fine, [also]), (old, [event])], ME)
    assert call("get_campaign", campaign_id=str(other))["status"] == "Planned"
    assert [entry["status"] for entry in call("list_campaigns")["campaigns"]] == ["Active", "Planned"]


def test_who_did_it_stands_on_the_event(store, call):
    campaign, somebody = declared(call), uuid4()
    call("start_campaign", principal=Principal(somebody, Role.OPERATOR), campaign_id=campaign)
    with store.reading() as connection:
        rows = connection.execute(sa.select(EVENTS.c.kind, EVENTS.c.principal_id).order_by(EVENTS.c.position)).all()
    assert rows == [("CampaignRegistered", ME), ("CampaignStarted", somebody)]


def test_fifty_writers_on_one_campaign(registry, call):
    campaign = declared(call)
    members = [call("register_run", name=f"r{n}")["run_id"] for n in range(25)]

    def add(run_id):
        try:
            registry.call(
                OPERATIONS["add_run_to_campaign"],
                Principal(ME, Role.OPERATOR),
                {"campaign_id": campaign, "run_id": run_id},
            )
        except CampaignRunAlreadyMemberError:
            return 0
        return 1

    with ThreadPoolExecutor(50) as pool:
        done = list(pool.map(add, members * 2))
    assert sum(done) == 25
    assert sorted(call("get_campaign", campaign_id=campaign)["run_ids"]) == sorted(members)
    assert call("list_campaigns")["campaigns"][0]["run_count"] == 25


@pytest.mark.parametrize("repeat", range(3))
def test_one_of_two_wins(registry, call, repeat):
    first, second, run = declared(call), declared(call), call("register_run", name="r")["run_id"]
    gate = threading.Barrier(2)

    def race(name, **arguments):
        gate.wait()
        try:
            registry.call(OPERATIONS[name], Principal(ME, Role.OPERATOR), arguments)
        except RegistryError as error:
            return type(error)
        return None

    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(lambda c: race("add_run_to_campaign", campaign_id=c, run_id=run), [first, second]))
        assert set(ends) == {None, RunAlreadyAssignedToCampaignError}
        ends = list(pool.map(lambda _: race("start_campaign", campaign_id=first), range(2)))
        assert set(ends) == {None, CampaignCannotStartError}


def test_the_same_key_at_once_is_done_once(registry, call):
    asked = {"name": "x", "intent": "Block", "lead_actor_id": str(ME)}
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(
                lambda _: registry.call(OPERATIONS["register_campaign"], Principal(ME, Role.OPERATOR), asked, "k")[
                    "campaign_id"
                ],
                range(8),
            )
        )
    assert len(set(made)) == 1
    assert len(call("list_campaigns")["campaigns"]) == 1


def test_projections_are_made_again_from_the_events(url, store, call):
    campaign = declared(call, tags=["a"])
    call("start_campaign", campaign_id=campaign)
    call("hold_campaign", campaign_id=campaign, reason="r")
    run = call("register_run", name="r")["run_id"]
    call("start_run", run_id=run, campaign_id=campaign)
    before = projected(store)
    assert store.rebuild() == 6
    assert projected(store) == before
    with store.writing() as unit:  # as if a process had died before it could project the last two
        unit.put("projected", "3")
        unit.connection.execute(sa.delete(RUNS))
        unit.connection.execute(sa.update(CAMPAIGNS).values(run_count=0))
    again = EventStore(url)
    assert projected(again) == before
    again.close()


def test_positions_are_in_the_order_of_time(store, call):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: declared(call), range(40)))
    with store.reading() as connection:
        times = connection.execute(sa.select(EVENTS.c.occurred_at).order_by(EVENTS.c.position)).scalars().all()
    assert len(times) == 40
    assert times == sorted(times)


def test_the_columns_and_indexes_of_the_document(store):
    with store.reading() as connection:
        seen = sa.inspect(connection)
        columns = [column["name"] for column in seen.get_columns("proj_campaign_summary")]
        indexes = {index["name"] for index in seen.get_indexes("proj_campaign_summary")}
        partial = {index["name"] for index in seen.get_indexes("proj_run_summary")}
        if store.is_postgresql:
            types = {c["name"]: str(c["type"]) for c in seen.get_columns("proj_campaign_summary")}
            assert (types["campaign_id"], types["tags"], types["registered_at"]) == ("UUID", "ARRAY", "TIMESTAMP")
            gin = connection.execute(
                sa.text("SELECT indexdef FROM pg_indexes WHERE indexname LIKE '%tags_gin%'")
            ).scalar_one()
            assert "USING gin (tags)" in gin
    assert columns == [
        "campaign_id", "name", "intent", "status", "lead_actor_id", "subject_id", "description", "tags", "external_id", "run_count",
        "registered_at", "started_at", "last_status_changed_at", "last_status_reason", "updated_at",
    ]  # fmt: skip
    wanted = {
        "keyset_idx",
        "lead_actor_idx",
        "subject_idx",
        "open_idx",
        *(["tags_gin_idx"] if store.is_postgresql else []),
    }
    assert indexes == {f"proj_campaign_summary_{name}" for name in wanted}
    assert "proj_run_summary_campaign_idx" in partial


def test_words_that_are_none_are_refused_by_the_database_as_well(store, call):
    declared(call)
    for values in ({"status": "Sleeping"}, {"intent": "Holiday"}):
        with pytest.raises(sa.exc.IntegrityError), store.writing() as unit:
            unit.connection.execute(sa.update(CAMPAIGNS).values(**values))


def test_a_database_of_another_version_is_refused(url, store):
    with store.writing() as unit:
        unit.connection.execute(sa.update(FACTS).where(FACTS.c.name == "schema_version").values(value="7"))
    with pytest.raises(RegistrySchemaError, match="version 7"):
        EventStore(url)


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all.db", "postgresql://nobody@127.0.0.1:1/x?connect_timeout=2", "my registry"]
)
def test_a_database_that_is_not_there(url):
    with pytest.raises(RegistryUnavailableError):
        EventStore(url)


def test_a_database_that_goes_away_and_comes_back(postgres):
    store = EventStore(postgres.database())
    registry, me = Registry(store), Principal(ME, Role.OPERATOR)
    asked = {"name": "x", "intent": "Block", "lead_actor_id": str(ME)}
    registry.call(OPERATIONS["register_campaign"], me, asked)
    postgres.stop()
    try:
        for name, arguments in (("register_campaign", asked), ("list_campaigns", {})):
            with pytest.raises(RegistryUnavailableError):
                registry.call(OPERATIONS[name], me, arguments)
    finally:
        postgres.start()
    assert len(registry.call(OPERATIONS["list_campaigns"], me, {})["campaigns"]) == 1
    store.close()


def lose(postgres, store, event):
    """Append, and lose the server before the commit."""
    with store.writing() as unit:
        unit.append_streams([(Stream(event.campaign_id, ()), [event])], ME)
        postgres.stop()


def test_a_database_that_goes_away_in_mid_transaction(postgres):
    store = EventStore(postgres.database())
    event = campaigns.register(None, uuid4(), "x", CampaignIntent.BLOCK, ME, NOW)
    try:
        with pytest.raises(RegistryUnavailableError):
            lose(postgres, store, event)
    finally:
        postgres.start()
    assert projected(store) == [[], []]
    store.close()


class Life(RuleBasedStateMachine):
    """Whatever is asked in whatever order: the registry agrees with a model of a few lines, and projections with both."""

    url = ""  # of the database, set by the test
    campaigns, runs = Bundle("campaigns"), Bundle("runs")

    @initialize()
    def begin(self):
        self.store = EventStore(type(self).url)
        self.registry, self.me = Registry(self.store), Principal(ME, Role.ADMIN)
        with self.store.writing() as unit:
            for table in (EVENTS, CAMPAIGNS, RUNS):
                unit.connection.execute(sa.delete(table))
        self.status, self.member_of = {}, {}

    def ask(self, name, /, **arguments):
        return self.registry.call(OPERATIONS[name], self.me, arguments)

    def refused(self, name, /, **arguments):
        try:
            self.ask(name, **arguments)
        except RegistryError as error:
            return type(error).__name__
        return ""

    @rule(target=campaigns, intent=st.sampled_from(["Series", "Sweep", "Coordinated", "Block"]))
    def register_campaign(self, intent):
        made = self.ask("register_campaign", name="c", intent=intent, lead_actor_id=str(ME))["campaign_id"]
        self.status[made] = "Planned"
        return made

    @rule(target=runs)
    def register_run(self):
        made = self.ask("register_run", name="r")["run_id"]
        self.member_of[made] = None
        return made

    @rule(campaign=campaigns, verb=st.sampled_from(["start", "hold", "resume", "close", "abandon"]))
    def move(self, campaign, verb):
        reason = {"reason": "r"} if verb in ("hold", "abandon") else {}
        after = {
            ("Planned", "start"): "Active", ("Active", "hold"): "Held", ("Held", "resume"): "Active", ("Active", "close"): "Closed",
            ("Held", "close"): "Closed", ("Planned", "abandon"): "Abandoned", ("Active", "abandon"): "Abandoned",
            ("Held", "abandon"): "Abandoned",
        }.get((self.status[campaign], verb))  # fmt: skip
        expected = "" if after else f"CampaignCannot{verb.title()}Error"
        assert self.refused(f"{verb}_campaign", campaign_id=campaign, **reason) == expected
        self.status[campaign] = after or self.status[campaign]

    @rule(campaign=campaigns, run=runs)
    def add(self, campaign, run):
        if self.status[campaign] in ("Closed", "Abandoned"):
            expected = "CampaignCannotAddRunError"
        elif self.member_of[run] == campaign:
            expected = "CampaignRunAlreadyMemberError"
        else:
            expected = "RunAlreadyAssignedToCampaignError" if self.member_of[run] else ""
        assert self.refused("add_run_to_campaign", campaign_id=campaign, run_id=run) == expected
        if not expected:
            self.member_of[run] = campaign

    @rule(campaign=campaigns, run=runs)
    def remove(self, campaign, run):
        if self.status[campaign] in ("Closed", "Abandoned"):
            expected = "CampaignCannotRemoveRunError"
        else:
            expected = "" if self.member_of[run] == campaign else "CampaignRunNotMemberError"
        assert self.refused("remove_run_from_campaign", campaign_id=campaign, run_id=run, reason="r") == expected
        if not expected:
            self.member_of[run] = None

    @invariant()
    def agrees(self):
        if not hasattr(self, "store"):
            return
        listed = {
            entry["campaign_id"]: entry for entry in self.ask("list_campaigns", status=["all"], limit=200)["campaigns"]
        }
        assert {key: entry["status"] for key, entry in listed.items()} == self.status
        for campaign, entry in listed.items():
            members = {run for run, owner in self.member_of.items() if owner == campaign}
            seen = self.ask("get_campaign", campaign_id=campaign)
            assert set(seen["run_ids"]) == members
            assert entry["run_count"] == len(members)
            assert {key: seen[key] for key in entry} == entry

    def teardown(self):
        if hasattr(self, "store"):
            before = projected(self.store)
            self.store.rebuild()
            assert projected(self.store) == before
            self.store.close()


def test_the_whole_state_machine(url):
    machine = type("Life", (Life,), {"url": url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
