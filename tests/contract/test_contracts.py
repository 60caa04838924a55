"""Our own implementations against the contracts that we publish."""

import asyncio
from functools import partial

import pytest

from campaign.adapters.local import SystemClock, this_node
from campaign.assemble import SlotSpec, make_slots
from campaign.attempt import run_attempt
from campaign.core.model import JobCall, Lease
from campaign.generators import find
from campaign.ports import LeaseLost, NodeLost
from campaign.testing.contracts import ClusterContract, GeneratorContract, example_task
from campaign.testing.inline import InlineCluster


class TestScripted(GeneratorContract):
    @pytest.fixture(params=["scripted", "staged", "measuring"])
    def generator(self, request):
        return find(request.param)

    @pytest.fixture
    def config(self, generator):
        return generator.options().model_dump(mode="json")

    @pytest.fixture
    def point(self):
        return {"realization": 0, "redshift": 1.0}


class TestGalaxies(GeneratorContract):
    @pytest.fixture
    def generator(self):
        pytest.importorskip("diffsky")
        return find("galaxies")

    @pytest.fixture
    def config(self, generator, tmp_path):
        synthetic = {"box_size": 40.0}
        return generator.options(simulation_root=str(tmp_path / "inputs"), synthetic=synthetic).model_dump(mode="json")

    @pytest.fixture
    def point(self):
        return {"realization": 0, "redshift": 1.0}


def tasks(n):
    generator = find("scripted")
    config = generator.options().model_dump(mode="json")
    return [example_task(generator, config, {"realization": job}, job) for job in range(n)]


class TestInlineCluster(ClusterContract):
    def with_cluster(self, use, tmp_path):
        run = lambda task: run_attempt(task, find("scripted"), tmp_path, SystemClock())  # noqa: E731
        return asyncio.run(use(InlineCluster(run), tasks))


class TestDaskCluster(ClusterContract):
    def with_cluster(self, use, tmp_path):
        from campaign.adapters.dask import DaskCluster, NannyWorker

        spec = SlotSpec(
            str(tmp_path),
            "scripted",
            find("scripted").options().model_dump(mode="json"),
            str(tmp_path / "staging" / "journal"),
        )

        async def main():
            source = NannyWorker(4, None)
            cluster = await DaskCluster.open(source, partial(make_slots, spec), this_node)
            try:
                return await use(cluster, tasks)
            finally:
                await cluster.close()

        return asyncio.run(main())

    def test_each_job_is_a_delayed_call(self, tmp_path):
        """One `dask.delayed` call a job, in one layer, under keys of one prefix; computed as any Dask graph."""
        from campaign.adapters.dask import delayed_jobs

        async def use(cluster, make_tasks):
            (slot,) = await self.slots_of(cluster, 1)
            calls = delayed_jobs([JobCall(task) for task in make_tasks(3)], slot)
            assert [call.key for call in calls] == [("job", 0), ("job", 1), ("job", 2)]
            futures = cluster._client.compute(calls, optimize_graph=False)
            return await cluster._client.gather(futures)

        assert self.with_cluster(use, tmp_path) == [1, 1, 1]
        assert sorted(p.name for p in (tmp_path / "catalogs").iterdir()) == [
            "job_0000.txt",
            "job_0001.txt",
            "job_0002.txt",
        ]

    def test_a_node_without_its_worker_gives_its_leases_up(self, tmp_path):
        async def use(cluster, make_tasks):
            (slot,) = await self.slots_of(cluster, 1)
            await cluster._source.cluster.scale(0)
            events = []
            async with asyncio.timeout(30):
                while not any(isinstance(event, NodeLost) for event in events):
                    events.append(await cluster.next_event(0.1))
                cluster.submit([Lease(0, (JobCall(make_tasks(1)[0]),), slot)])
                while not isinstance(event := await cluster.next_event(0.1), LeaseLost):
                    pass
            return event

        assert self.with_cluster(use, tmp_path) == LeaseLost(0, "")

    def test_a_worker_whose_slots_can_not_be_made_says_why(self, tmp_path):
        (tmp_path / "staging").write_text("a file where a directory must be")

        async def use(cluster, make_tasks):
            async with asyncio.timeout(30):
                while not isinstance(event := await cluster.next_event(0.1), LeaseLost):
                    pass
            return event

        assert "its slots can't be made" in self.with_cluster(use, tmp_path).error
