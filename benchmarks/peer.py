"""One engine on one kind of jobs, in the engines' own environment: python peer.py ENGINE KIND JOBS; used by peers.py

Prints the seconds that JOBS jobs take on two workers that are up and warm, results gathered, as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import jobs

WORKERS = 2
WARM = 8
"""Jobs before the clock is started."""

Run = Callable[[int], object]
"""Runs so many jobs and waits for them."""


def command(kind: str, number: int) -> list[str]:
    """The job as a program, for engines that start one a job."""
    programs = {"noop": ["true"], "nap": ["sleep", f"{jobs.nap_s(number):.4f}"]}
    return programs.get(kind, [sys.executable, jobs.__file__, str(number)])


@contextmanager
def dask_client() -> Iterator[object]:
    """A local cluster as the documentation starts one, a process for each core."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def dask_map(kind: str) -> Iterator[Run]:
    """`client.map`, then `gather`."""
    with dask_client() as client:
        yield lambda n: client.gather(client.map(getattr(jobs, kind), range(n), pure=False))


@contextmanager
def dask_graph(kind: str) -> Iterator[Run]:
    """One graph of delayed calls, computed at once."""
    import dask

    call = dask.delayed(getattr(jobs, kind), pure=False)
    with dask_client():
        yield lambda n: dask.compute(*[call(number) for number in range(n)])


@contextmanager
def parsl(kind: str) -> Iterator[Run]:
    """HighThroughputExecutor with a local provider; for jobs of no length it fetches ahead, as its documentation says."""
    import parsl as library
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    executor = HighThroughputExecutor(
        address="127.0.0.1", max_workers_per_node=WORKERS, cores_per_worker=1,
        prefetch_capacity=100 if kind == "noop" else 0, provider=LocalProvider(init_blocks=1, max_blocks=1),
    )  # fmt: skip
    with (
        tempfile.TemporaryDirectory() as scratch,
        library.load(Config([executor], run_dir=scratch, strategy="none", initialize_logging=False)),
    ):
        app = library.python_app(getattr(jobs, kind))
        yield lambda n: [future.result() for future in [app(number) for number in range(n)]]


@contextmanager
def executorlib(kind: str) -> Iterator[Run]:
    """SingleNodeExecutor with block allocation, which its documentation recommends for many short functions."""
    from executorlib import SingleNodeExecutor

    call = getattr(jobs, kind)
    with SingleNodeExecutor(max_workers=WORKERS, block_allocation=True, disable_dependencies=True) as pool:
        yield lambda n: [future.result() for future in [pool.submit(call, number) for number in range(n)]]


@contextmanager
def xyzpy(kind: str) -> Iterator[Run]:
    """A Runner in parallel; it gives a labelled dataset."""
    from xyzpy import Runner

    runner = Runner(getattr(jobs, kind), var_names=["result"], fn_args=["number"])
    yield lambda n: runner.run_combos({"number": range(n)}, parallel=True, num_workers=WORKERS, verbosity=0)


@contextmanager
def hyperqueue(kind: str) -> Iterator[Run]:
    """A server and a worker of two cores; programs as tasks, their output not kept, as its documentation recommends for many."""
    from hyperqueue import Job, LocalCluster
    from hyperqueue.cluster import WorkerConfig

    with LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=WORKERS))
        client = cluster.client()

        def run(n: int) -> None:
            job = Job()
            for number in range(n):
                job.program(command(kind, number), stdout=None, stderr=None)
            client.wait_for_jobs([client.submit(job)])

        yield run


@contextmanager
def gnu_parallel(kind: str) -> Iterator[Run]:
    """GNU parallel, its default settings but for the number of jobs at once."""

    def run(n: int) -> None:
        lines = "\n".join(" ".join(command(kind, number)) for number in range(n))
        subprocess.run(["parallel", "--jobs", str(WORKERS)], input=lines, text=True, check=True, capture_output=True)

    yield run


@contextmanager
def processes(kind: str) -> Iterator[Run]:
    """A process for each job, two at once."""

    def run(n: int) -> None:
        start = partial(subprocess.run, check=True, capture_output=True)
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(start, [command(kind, number) for number in range(n)]))

    yield run


ENGINES = {
    "dask_map": dask_map, "dask_graph": dask_graph, "parsl": parsl, "executorlib": executorlib, "xyzpy": xyzpy,
    "hyperqueue": hyperqueue, "gnu_parallel": gnu_parallel, "processes": processes,
}  # fmt: skip


def main() -> None:
    """Measure one engine."""
    engine, kind, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    starts_one_each = engine in ("hyperqueue", "gnu_parallel", "processes")
    with ENGINES[engine](kind) as run:
        run(WORKERS if starts_one_each else WARM)
        begin = time.perf_counter()
        run(count)
        print(json.dumps({"seconds": time.perf_counter() - begin}))


if __name__ == "__main__":
    main()
