"""Where Dask workers come from: a nanny on this machine, steps of an allocation, jobs of a queue."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from distributed import LocalCluster
from distributed.deploy.adaptive import Adaptive
from distributed.security import Security

from campaign.adapters.dask.tls import Credentials
from campaign.core.model import Slot

LOOK_S = 5.0
"""Time between two questions about the jobs of the queue."""

STILLBORN_ALLOWED = 5
RETIRE_S = 10.0
"""How long workers may take to say good-bye."""


class WorkerSource(Protocol):
    """Brings workers to a scheduler in this process, and looks after them."""

    cluster: Any
    security: Security | None
    shows_dashboard: bool

    async def open(self) -> None:
        """Start the scheduler."""

    async def bring(self) -> None:
        """Ask for the first workers."""

    async def tend(self, present: Collection[str]) -> str:
        """Replace what is missing; `present` are the nodes whose workers are there. Says what can't be mended."""

    def expects_nodes(self) -> bool:
        """Whether workers may still come without anybody's help."""

    def release(self, nodes: Sequence[str]) -> None:
        """Give nodes back."""

    def sweep(self, slots: Sequence[Slot]) -> None:
        """End what slots left behind whose worker is gone."""

    def demand(self, slots: int) -> None:
        """So many slots could be busy now."""

    async def retire(self) -> None:
        """Send the workers home."""

    async def close(self) -> None:
        """End workers and scheduler."""


class Steps(Protocol):
    """Brings workers into an allocation; knows nothing of Dask but how its worker is typed."""

    def bring(self, scheduler: str, options: Sequence[str]) -> None:
        """One worker on each node."""

    def tend(self, present: Collection[str]) -> str:
        """Replace the workers of nodes that are ours and not present. Says what can't be mended."""

    def expects_nodes(self) -> bool:
        """Whether workers may still come."""

    def release(self, nodes: Sequence[str]) -> None:
        """Give nodes back."""

    def sweep(self, slots: Sequence[Slot]) -> None:
        """End the steps of slots."""

    def close(self) -> None:
        """End the workers."""


class _InProcessScheduler:
    """A scheduler in this process, for workers that come by themselves."""

    def __init__(self, host: str, dashboard: str | None, credentials: Credentials | None) -> None:
        self._host, self._dashboard, self._credentials = host, dashboard, credentials
        self.shows_dashboard = dashboard is not None
        self.security = credentials.security if credentials else None
        self.cluster: Any = None
        self._scratch = tempfile.TemporaryDirectory(prefix="campaign-", ignore_cleanup_errors=True)

    async def _listen(self, threads: int) -> None:
        self.cluster = await LocalCluster(
            n_workers=0,
            processes=True,
            threads_per_worker=threads,
            host=self._host,
            protocol="tls://" if self.security else "tcp://",
            security=self.security,
            dashboard_address=self._dashboard or "127.0.0.1:0",
            scheduler_kwargs={"dashboard": self._dashboard is not None},
            memory_limit=0,
            local_directory=self._scratch.name,
            silence_logs=40,
            asynchronous=True,
        )

    def demand(self, slots: int) -> None:
        """The nodes are what they are."""

    async def retire(self) -> None:
        """Send the workers home."""
        scheduler = self.cluster.scheduler
        try:
            async with asyncio.timeout(RETIRE_S):
                await scheduler.retire_workers(workers=list(scheduler.workers), close_workers=True, remove=True)
        except TimeoutError:
            logging.getLogger("campaign").warning("some workers did not answer; they end with their scheduler")

    async def _shut(self) -> None:
        await self.cluster.close()
        self._scratch.cleanup()
        if self._credentials is not None:
            self._credentials.remove()


class NannyWorker(_InProcessScheduler):
    """One worker on this machine, under a nanny that starts it again when it dies, on the loopback interface."""

    def __init__(self, threads: int, dashboard: str | None, credentials: Credentials | None = None) -> None:
        super().__init__("127.0.0.1", dashboard, credentials)
        self._threads = threads

    async def open(self) -> None:
        """Start the scheduler."""
        await self._listen(self._threads)

    async def bring(self) -> None:
        """Ask for the worker."""
        self.cluster.scale(1)

    async def tend(self, present: Collection[str]) -> str:
        """The nanny does that."""
        return ""

    def expects_nodes(self) -> bool:
        """The nanny brings it back soon, or not at all."""
        return False

    def release(self, nodes: Sequence[str]) -> None:
        """Nobody lent this machine."""

    def sweep(self, slots: Sequence[Slot]) -> None:
        """Slots die with their worker here."""

    async def retire(self) -> None:
        """The cluster does that when it closes."""

    async def close(self) -> None:
        """End worker and scheduler."""
        await self._shut()


class StepWorkers(_InProcessScheduler):
    """Workers that come as steps of an allocation, to an address that its nodes can reach."""

    def __init__(self, steps: Steps, host: str, dashboard: str | None, credentials: Credentials) -> None:
        super().__init__(host, dashboard, credentials)
        self._steps, self._tls = steps, credentials

    async def open(self) -> None:
        """Start the scheduler."""
        await self._listen(1)

    async def bring(self) -> None:
        """Ask for the workers."""
        self._steps.bring(self.cluster.scheduler_address, self._tls.arguments())

    async def tend(self, present: Collection[str]) -> str:
        """Replace what is missing."""
        return await asyncio.to_thread(self._steps.tend, present)

    def expects_nodes(self) -> bool:
        """Whether workers may still come."""
        return self._steps.expects_nodes()

    def release(self, nodes: Sequence[str]) -> None:
        """Give nodes back."""
        self._steps.release(nodes)

    def sweep(self, slots: Sequence[Slot]) -> None:
        """End the steps of slots whose worker is gone."""
        self._steps.sweep(slots)

    async def close(self) -> None:
        """End workers and scheduler."""
        await self._shut()
        await asyncio.to_thread(self._steps.close)


class _ByDemand(Adaptive):
    """Scales by the jobs that wait, which Dask does not know of, and never closes a worker that is at work."""

    async def target(self) -> int:
        cluster: Any = self.cluster
        return int(cluster.wanted_jobs)

    async def workers_to_close(self, target: int) -> list[Any]:
        cluster: Any = self.cluster
        idle = {state.name for state in cluster.scheduler.workers.values() if not state.processing}
        return [name for name in await super().workers_to_close(target) if name in idle]


class JobQueueWorkers:
    """Workers that dask-jobqueue's SLURMCluster brings from the queue, each a job of its own; dead ones are replaced."""

    def __init__(
        self, options: Mapping[str, Any], least: int, most: int, slots_per_job: int, credentials: Credentials,
        alive: Callable[[Collection[str]], set[str] | None], *, shows_dashboard: bool,
    ) -> None:  # fmt: skip
        """`alive` tells which jobs, given by their numbers, are in the queue."""
        self._alive, self._looked_at, self._stillborn = alive, 0.0, 0
        self._options, self._least, self._most, self._tls = dict(options), least, most, credentials
        self._slots_per_job = slots_per_job
        self._appeared: set[Any] = set()
        self.security: Security | None = credentials.security
        self.shows_dashboard = shows_dashboard
        self.cluster: Any = None

    async def open(self) -> None:
        """Start the scheduler."""
        from dask_jobqueue.slurm import SLURMCluster

        self.cluster = await SLURMCluster(
            **self._options, security=self.security, protocol="tls://", asynchronous=True, silence_logs=40
        )

    async def bring(self) -> None:
        """Ask for workers, as many as there is work for between the bounds, and again for those that die."""
        self.cluster.wanted_jobs = self._least
        self.cluster.adapt(
            Adaptive=_ByDemand, minimum_jobs=self._least, maximum_jobs=self._most, interval="1s", wait_count=10
        )

    def demand(self, slots: int) -> None:
        """So many slots could be busy now."""
        self.cluster.wanted_jobs = -(-slots // self._slots_per_job)

    async def tend(self, present: Collection[str]) -> str:
        """Forget jobs that ended without saying so: adaptive scaling asks for others then.

        A job that is cancelled, or that dies before its worker appears, would count as one that is still to come.
        """
        loop = asyncio.get_running_loop()
        if loop.time() - self._looked_at < LOOK_S:
            return ""
        self._looked_at = loop.time()
        numbers = {str(job.job_id): name for name, job in self.cluster.workers.items() if job.job_id}
        alive = await asyncio.to_thread(self._alive, list(numbers)) if numbers else set()
        if alive is None:
            return ""
        connected = {state.name for state in self.cluster.scheduler.workers.values()}
        for name in [name for number, name in numbers.items() if number not in alive and name not in connected]:
            self._stillborn += name not in self._appeared
            self.cluster.worker_spec.pop(name, None)
        self._appeared |= connected
        self._stillborn = 0 if connected else self._stillborn
        await self.cluster._correct_state()  # noqa: SLF001 - what scale() calls as well
        if self._stillborn > STILLBORN_ALLOWED:
            return f"{self._stillborn} jobs of the queue ended before their worker appeared; see logs/dask-worker-*.err"
        return ""

    def expects_nodes(self) -> bool:
        """The queue may be long."""
        return True

    def release(self, nodes: Sequence[str]) -> None:
        """Adaptive scaling does that."""

    def sweep(self, slots: Sequence[Slot]) -> None:
        """Steps end with their job."""

    async def retire(self) -> None:
        """Jobs are cancelled when the cluster closes."""

    async def close(self) -> None:
        """Cancel the jobs, end the scheduler."""
        await self.cluster.close()
        self._tls.remove()
