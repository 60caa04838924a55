"""The contract of each port as a test class: inherit it, say how to make yours, and let pytest collect it.

class TestMine(GeneratorContract):
    @pytest.fixture
    def generator(self): return MyGenerator()
    @pytest.fixture
    def config(self): return MyOptions().model_dump(mode="json")
    @pytest.fixture
    def point(self): return {"realization": 0, "redshift": 1.0}
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np

from campaign.core.identity import job_seed, resolved_config_hash, task_fingerprint
from campaign.core.model import JobCall, Lease, Point, Shape, Slot, Task
from campaign.core.packing import SlotTable, widened
from campaign.errors import JobError
from campaign.ports import Cluster, Event, Generator, JobEnded, JobStarted, LeaseReturned, NodeJoined, Staged
from campaign.products import files_of


def example_task(generator: Generator, config: Mapping[str, Any], point: Point, job: int = 0) -> Task:
    """A task as the plan would make it."""
    seed = job_seed(1, point)
    config_hash = resolved_config_hash(config)
    suffix = generator.suffix(config)
    return Task(
        job=job,
        name=f"job_{job:04d}",
        attempt=1,
        batch=0,
        point=point,
        seed=seed,
        campaign_seed=1,
        generator=generator.name,
        config=config,
        resolved_config_hash=config_hash,
        task_fingerprint=task_fingerprint(generator.name, point, seed, config_hash),
        product=f"catalogs/job_{job:04d}{suffix}" if suffix else "",
        timeout_s=600.0,
    )


def _target(directory: Path, name: str, suffix: str) -> Path:
    """Where a product goes, as an attempt makes it."""
    target = directory / f"{name}{suffix}"
    if suffix == "/":
        target.mkdir()
    return target


class GeneratorContract:
    """What every generator must do. Fixtures to give: `generator`, `config`, `point`."""

    def test_it_is_found_by_its_entry_point(self, generator: Generator) -> None:
        found = {point.name: point for point in entry_points(group="campaign.generators")}
        assert generator.name in found, (
            f"no package is installed that has an entry point {generator.name!r}: pip install -e ."
        )
        assert isinstance(generator, found[generator.name].load())

    def test_its_options_have_defaults_survive_json_and_refuse_the_unknown(self, generator: Generator) -> None:
        schema = generator.options.model_json_schema()
        assert schema.get("additionalProperties") is False
        assert not schema.get("required"), "every option needs a default, or a campaign can't do without it"
        dumped = generator.options().model_dump(mode="json")
        assert json.loads(json.dumps(dumped)) == dumped
        assert set(generator.incidental) <= set(dumped)

    def test_names_and_inputs_are_pure_texts(
        self, generator: Generator, config: Mapping[str, Any], point: Point
    ) -> None:
        generator.check(config, point)
        for _ in range(2):
            assert all(isinstance(value, str) for value in generator.words(config, point).values())
            assert all(isinstance(path, str) for path in generator.inputs(config, point))
        suffix = generator.suffix(config)
        assert suffix in ("", "/") or suffix.startswith(".")

    def test_it_measures_what_it_declares(
        self, generator: Generator, config: Mapping[str, Any], point: Point, tmp_path: Path
    ) -> None:
        target = _target(tmp_path, "product", generator.suffix(config))
        generator.warm_up(config)
        measured = generator.generate(example_task(generator, config, point), target, lambda _: None)
        declared = {v.name: v for v in generator.variables(config)}
        assert set(measured) == set(declared)
        for name, value in measured.items():
            assert np.shape(value) == tuple(len(dim.values) for dim in declared[name].dims)
        generator.verify(example_task(generator, config, point), target, measured)

    def test_the_same_task_gives_the_same_bytes(
        self, generator: Generator, config: Mapping[str, Any], point: Point, tmp_path: Path
    ) -> None:
        task = example_task(generator, config, point)
        made = []
        for n in range(2):
            target = _target(tmp_path, str(n), generator.suffix(config))
            measured = generator.generate(replace(task, attempt=n + 1), target, lambda _: None)
            made.append([json.dumps(measured, default=str).encode(), *(path.read_bytes() for path in files_of(target))])
        assert made[0] == made[1]

    def test_its_stages_one_by_one_give_the_same_bytes(
        self, generator: Generator, config: Mapping[str, Any], point: Point, tmp_path: Path
    ) -> None:
        if not isinstance(generator, Staged):
            return
        task, whole, staged = example_task(generator, config, point), tmp_path / "whole", tmp_path / "staged"
        measured = generator.generate(task, whole, lambda _: None)
        made = generator.compute(task, generator.load(task, lambda _: None), lambda _: None)
        np.testing.assert_equal(generator.write(task, made, staged, lambda _: None), measured)
        assert staged.read_bytes() == whole.read_bytes()

    def test_it_refuses_a_torn_product(
        self, generator: Generator, config: Mapping[str, Any], point: Point, tmp_path: Path
    ) -> None:
        task, target = example_task(generator, config, point), _target(tmp_path, "product", generator.suffix(config))
        measured = generator.generate(task, target, lambda _: None)
        if not generator.suffix(config):
            return
        assert files_of(target), "generate returned without writing its target"
        for path in files_of(target):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 8])
        try:
            generator.verify(task, target, measured)
        except JobError:
            return
        raise AssertionError("verify accepted a product of which seven eighths were missing")


class ClusterContract:
    """What every cluster must do. Implement `with_cluster`, which runs a coroutine function on a fresh cluster."""

    def with_cluster(self, use: Any, tmp_path: Path) -> Any:
        """Run `await use(cluster, make_tasks)`; `make_tasks(n)` gives n tasks that succeed on it."""
        raise NotImplementedError

    async def slots_of(self, cluster: Cluster, count: int) -> list[Slot]:
        """Slots of one rank on the nodes that joined; TimeoutError where none does within a minute."""
        table = SlotTable()
        async with asyncio.timeout(60):
            while not table.nodes:
                event = await cluster.next_event(0.2)
                if isinstance(event, NodeJoined):
                    table.join(event.node)
        node = next(iter(table.nodes.values()))
        table.join(widened(node, Shape(), count))
        placed = [table.place(Shape(), 0.0, 0.0) for _ in range(count)]
        return [placement.slot for placement in placed if placement is not None]

    def test_every_job_is_started_ended_and_its_lease_returned(self, tmp_path: Path) -> None:
        async def use(cluster: Cluster, make_tasks: Any) -> list[Event]:
            tasks = make_tasks(5)
            one, other = await self.slots_of(cluster, 2)
            cluster.submit([_lease(0, tasks[:2], one), _lease(1, tasks[2:], other)])
            return await _until_returned(cluster, 2)

        events = self.with_cluster(use, tmp_path)
        ended = [e.record for e in events if isinstance(e, JobEnded)]
        assert sorted(r.job for r in ended) == [0, 1, 2, 3, 4]
        assert all(r.outcome == "completed" for r in ended)
        for record in ended:
            kinds = [type(e) for e in events if _job_of(e) == record.job]
            assert kinds in ([JobStarted, JobEnded], [JobEnded])

    def test_the_jobs_of_a_lease_run_in_their_order(self, tmp_path: Path) -> None:
        async def use(cluster: Cluster, make_tasks: Any) -> list[Event]:
            (slot,) = await self.slots_of(cluster, 1)
            cluster.submit([_lease(0, list(reversed(make_tasks(4))), slot)])
            return await _until_returned(cluster, 1)

        events = self.with_cluster(use, tmp_path)
        assert [e.record.job for e in events if isinstance(e, JobEnded)] == [3, 2, 1, 0]

    def test_a_drained_cluster_gives_leases_back_unbegun(self, tmp_path: Path) -> None:
        async def use(cluster: Cluster, make_tasks: Any) -> list[Event]:
            (slot,) = await self.slots_of(cluster, 1)
            cluster.drain()
            cluster.submit([_lease(0, make_tasks(3), slot)])
            return await _until_returned(cluster, 1)

        events = self.with_cluster(use, tmp_path)
        assert events == [LeaseReturned(0, None)]

    def test_no_job_begins_after_the_last_moment_for_it(self, tmp_path: Path) -> None:
        async def use(cluster: Cluster, make_tasks: Any) -> list[Event]:
            (slot,) = await self.slots_of(cluster, 1)
            cluster.submit([_lease(0, make_tasks(3), slot, until_ms=1)])
            return await _until_returned(cluster, 1)

        assert self.with_cluster(use, tmp_path) == [LeaseReturned(0, (0, 1, 2))]

    def test_a_slot_comes_after_those_that_it_evicts(self, tmp_path: Path) -> None:
        async def use(cluster: Cluster, make_tasks: Any) -> list[Event]:
            one, other = await self.slots_of(cluster, 2)
            tasks = make_tasks(2)
            cluster.submit([_lease(0, tasks[:1], one)])
            events = await _until_returned(cluster, 1)
            cluster.submit([replace(_lease(1, tasks[1:], other), evicted=(one,))])
            return events + await _until_returned(cluster, 1)

        events = self.with_cluster(use, tmp_path)
        assert [e.lease for e in events if isinstance(e, LeaseReturned)] == [0, 1]
        assert all(e.record.outcome == "completed" for e in events if isinstance(e, JobEnded))

    def test_nothing_happens_where_nothing_was_submitted(self, tmp_path: Path) -> None:
        async def use(cluster: Cluster, _: Any) -> Event | None:
            await self.slots_of(cluster, 1)
            return await cluster.next_event(0.05)

        assert self.with_cluster(use, tmp_path) is None


def _lease(number: int, tasks: list[Task], slot: Slot, until_ms: int | None = None) -> Lease:
    return Lease(number, tuple(JobCall(task) for task in tasks), slot, starts_until_ms=until_ms)


def _job_of(event: Event) -> int | None:
    match event:
        case JobStarted(job=job):
            return job
        case JobEnded(record=record):
            return record.job
    return None


async def _until_returned(cluster: Cluster, leases: int) -> list[Event]:
    """Events until so many leases came back; TimeoutError after a minute."""
    events: list[Event] = []
    async with asyncio.timeout(60):
        while sum(isinstance(e, LeaseReturned) for e in events) < leases:
            event = await cluster.next_event(0.2)
            if event is not None:
                events.append(event)
    return events
