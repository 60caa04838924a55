"""A run that was typed under `srun`: rank 0 coordinates, the first rank of every other node is its Dask worker."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from campaign.adapters.dask.cluster import configure
from campaign.adapters.dask.tls import Credentials
from campaign.errors import Code, StoppedError

FILE_WAIT_S = 300.0
PAUSE_S = 0.2


def follow(scheduler_file: Path, threads: int, scratch: str) -> None:
    """Be a worker of the coordinator that writes `scheduler_file`; returns, or exits with 0, when it is done with us.

    StoppedError where no coordinator appears.
    """
    from dask_jobqueue.slurm import SLURMRunner

    deadline = time.monotonic() + FILE_WAIT_S
    while not scheduler_file.exists():
        if time.monotonic() > deadline:
            raise StoppedError(
                Code.CLUSTER_UNREADY, f"rank 0 did not start a scheduler in {FILE_WAIT_S:g} s",
                action="see what rank 0 says",
            )  # fmt: skip
        time.sleep(PAUSE_S)
    known = json.loads(scheduler_file.read_text())
    if known["address"] is None:  # nothing to do
        return
    configure()
    os.environ["DASK_LOGGING__DISTRIBUTED"] = "error"  # the nanny's child reads it
    SLURMRunner(
        scheduler=False,
        client=False,
        scheduler_file=str(scheduler_file),
        worker_class="distributed.Nanny",
        worker_options={
            "nthreads": threads, "memory_limit": 0, "local_directory": scratch, "dashboard_address": "127.0.0.1:0",
            "security": Credentials(Path(known["tls"])).security,
        },
    )  # fmt: skip
