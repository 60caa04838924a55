"""The registry over many campaigns: python benchmarks/registry.py [--campaigns N] [--json]

On SQLite, and on a PostgreSQL that is started for it where it is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import sqlalchemy as sa
from figures import Figure, machine, report

from campaign.registry import campaigns
from campaign.registry.events import payload
from campaign.registry.operations import OPERATIONS, Role
from campaign.registry.service import Principal, Registry
from campaign.registry.store import EventStore
from campaign.registry.tables import EVENTS
from campaign.registry.values import CampaignIntent

sys.path.append(str(Path(__file__).parents[1]))
ME = Principal(UUID(int=7), Role.ADMIN)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SLICE, READS, PAGES, WRITERS, REBUILT = 5_000, 1_000, 50, 50, 10_000


def filled(url: str, count: int) -> tuple[EventStore, list[UUID]]:
    """A registry with so many campaigns, and their identifiers."""
    store, made = EventStore(url), [uuid4() for _ in range(count)]
    for start in range(0, count, SLICE):
        events = [
            campaigns.register(
                None, campaign_id, f"campaign {n}", CampaignIntent.SWEEP, ME.principal_id, BEGIN + timedelta(seconds=n)
            )
            for n, campaign_id in enumerate(made[start : start + SLICE], start)
        ]
        rows = [
            {"stream_id": event.campaign_id, "version": 1, "kind": "CampaignRegistered", "payload": payload(event),
             "principal_id": ME.principal_id, "occurred_at": event.occurred_at} for event in events
        ]  # fmt: skip
        with store.writing() as unit:
            unit.connection.execute(sa.insert(EVENTS), rows)
            unit.catch_up()
    return store, made


def reads_per_s(registry: Registry, made: list[UUID]) -> float:
    """get_campaign, one after another."""
    begin = time.perf_counter()
    for n in range(READS):
        registry.call(OPERATIONS["get_campaign"], ME, {"campaign_id": str(made[n * 7919 % len(made)])})
    return READS / (time.perf_counter() - begin)


def page_ms(registry: Registry) -> float:
    """A page of 50, the slowest of the first ones and of some in the middle."""
    slowest, cursor = 0.0, None
    for _ in range(PAGES):
        begin = time.perf_counter()
        cursor = registry.call(
            OPERATIONS["list_campaigns"], ME, {"limit": 50, **({"cursor": cursor} if cursor else {})}
        )["next_cursor"]
        slowest = max(slowest, time.perf_counter() - begin)
        if cursor is None:
            break
    return 1000 * slowest


def rebuild_s(store: EventStore) -> float:
    """Projections made again from 10,000 events, by the time that all take."""
    begin = time.perf_counter()
    count = store.rebuild()
    return REBUILT * (time.perf_counter() - begin) / count


def writes_per_s(registry: Registry) -> float:
    """Runs added to one campaign by 50 threads at once; RuntimeError where one is lost or counted twice."""
    campaign = registry.call(
        OPERATIONS["register_campaign"], ME, {"name": "x", "intent": "Block", "lead_actor_id": str(ME.principal_id)}
    )
    runs = [registry.call(OPERATIONS["register_run"], ME, {"name": f"r{n}"}) for n in range(4 * WRITERS)]
    begin = time.perf_counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda run: registry.call(OPERATIONS["add_run_to_campaign"], ME, {**campaign, **run}), runs))
    seconds = time.perf_counter() - begin
    members = registry.call(OPERATIONS["get_campaign"], ME, campaign)["run_ids"]
    if sorted(members) != sorted(run["run_id"] for run in runs):
        raise RuntimeError("a member was lost")
    return len(runs) / seconds


@contextlib.contextmanager
def databases(root: Path) -> Iterator[dict[str, str]]:
    """URLs of empty databases by their name."""
    from tests.registry.postgres import Postgres, installed

    found = {"SQLite": f"sqlite:///{root}/registry.db"}
    if not installed():
        yield found
        return
    with Postgres.started() as server:
        yield {**found, "PostgreSQL": server.database()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--campaigns", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    facts, figures, times = machine(), [], range(arguments.repeats)
    with tempfile.TemporaryDirectory() as scratch, databases(Path(scratch)) as urls:
        for name, url in urls.items():
            store, made = filled(url, arguments.campaigns)
            registry = Registry(store)
            figures += [
                Figure(f"{name}: `get_campaign`", [reads_per_s(registry, made) for _ in times], "/s", at_least=1000),
                Figure(
                    f"{name}: a page of 50, the slowest of {PAGES}",
                    [page_ms(registry) for _ in times],
                    "ms",
                    at_most=10,
                ),
                Figure(f"{name}: rebuilding 10,000 events", [rebuild_s(store) for _ in times], "s", at_most=5),
                Figure(
                    f"{name}: runs added to one campaign by {WRITERS} at once",
                    [writes_per_s(registry) for _ in times],
                    "/s",
                ),
            ]
            store.close()
    words = f"{arguments.campaigns:,} campaigns. No member was lost or counted twice."
    report(facts, figures, words, as_json=arguments.json)


if __name__ == "__main__":
    main()
