"""Metrics of a run for Prometheus, on the scheduler's own endpoint (`/metrics`, where the dashboard is)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from campaign.core.model import State
from campaign.ports import Look, Scene


class RunMetrics(Collector):
    """What a scene shows, collected when it is asked for."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def describe(self) -> Iterable[Metric]:
        """Nothing: a scene is looked at only when somebody asks."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One look as metrics; times in seconds, sizes in bytes."""
        look = self._scene.look()
        yield InfoMetricFamily("campaign", "Version and name of the campaign", value={"title": self._scene.title})
        yield _jobs(look)
        yield from _attempts(look)
        for name, help_text, value in _gauges(look):
            if value is not None:
                yield GaugeMetricFamily(f"campaign_{name}", help_text, value=value)
        phases = GaugeMetricFamily(
            "campaign_phase_seconds", "Mean time of each phase of the jobs that completed in this run", labels=["phase"]
        )
        for name, seconds in (look.phases_s or {}).items():
            phases.add_metric([name], seconds)
        yield phases


def _jobs(look: Look) -> Metric:
    jobs = GaugeMetricFamily("campaign_jobs", "Jobs of the campaign in each state", labels=["state"])
    for state in State:
        jobs.add_metric([state.word], look.progress.counts[state])
    return jobs


def _attempts(look: Look) -> Iterator[Metric]:
    completed = CounterMetricFamily(
        "campaign_attempts_completed", "Attempts of this run that completed", labels=["node"]
    )
    failed = CounterMetricFamily("campaign_attempts_failed", "Attempts of this run that did not", labels=["node"])
    for node in look.nodes:
        completed.add_metric([node.name], node.completed)
        failed.add_metric([node.name], node.failed)
    yield completed
    yield failed


def _gauges(look: Look) -> Iterator[tuple[str, str, float | None]]:
    progress = look.progress
    yield "rate_per_second", "Attempts that ended a second, over the last minutes", progress.rate_per_s
    yield "elapsed_seconds", "Time since the run began", progress.elapsed_s
    yield "remaining_seconds", "Time that the work will still take", progress.remaining_s
    yield "allocation_left_seconds", "Time until the allocation ends", progress.allocation_left_s
    yield "slots", "Slots that the nodes hold", progress.slots
    yield "nodes", "Nodes that take jobs", progress.nodes
    yield "nodes_gone", "Nodes that take none any more", sum(bool(node.gone) for node in look.nodes)
    yield "cpus_busy", "CPUs in slots that have a job", sum(node.busy for node in look.nodes)
    yield "held", "1 where no job is started: draining or paused", float(bool(progress.held_by))
    yield "coordinator_memory_bytes", "Resident memory of the coordinator", look.memory_bytes


@contextlib.contextmanager
def exported(scene: Scene) -> Iterator[None]:
    """Let the scheduler's endpoint show the metrics of a run."""
    collector = RunMetrics(scene)
    REGISTRY.register(collector)
    try:
        yield
    finally:
        REGISTRY.unregister(collector)
