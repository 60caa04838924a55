"""Dask: an in-process scheduler, one worker a node that supervises slots, leases out and events back."""

from __future__ import annotations

from campaign.adapters.dask.cluster import DaskCluster, delayed_jobs
from campaign.adapters.dask.sources import JobQueueWorkers, NannyWorker, StepWorkers, WorkerSource
from campaign.adapters.dask.tls import Credentials
from campaign.adapters.dask.worker import MakeSupervisor, SlotsPlugin

__all__ = [
    "Credentials",
    "DaskCluster",
    "JobQueueWorkers",
    "MakeSupervisor",
    "NannyWorker",
    "SlotsPlugin",
    "StepWorkers",
    "WorkerSource",
    "delayed_jobs",
]
