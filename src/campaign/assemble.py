"""Where we are, and what to run on there: chooses the adapters that bring nodes, and makes the slots on each of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from campaign import durable
from campaign.adapters import local
from campaign.adapters.slurm import allocation
from campaign.adapters.slurm.allocation import AllocationWatch
from campaign.adapters.slurm.ask import scrubbed
from campaign.adapters.slurm.steps import RankStep, StepNames, TypedSteps, WorkerSteps
from campaign.core.model import Config, Node, Shape, Slot
from campaign.core.packing import capacity, widened
from campaign.errors import Code, UsageError
from campaign.generators import find
from campaign.layout import Layout
from campaign.plan import Plan
from campaign.ports import Preloading

if TYPE_CHECKING:
    from campaign.adapters.dask import DaskCluster, WorkerSource
    from campaign.adapters.slots import SlotPool

LOCAL, ALLOCATION, PROVISIONED = "local", "allocation", "provisioned"


@dataclass(frozen=True, slots=True)
class SlotSpec:
    """What a worker needs to know to make its slots; travels to it."""

    directory: str
    generator: str
    config: Mapping[str, Any]
    journals: str  # directory
    ranks: RankStep | None = None  # None: no SLURM, ranks by mpiexec


@dataclass(slots=True)
class Place:
    """Where a run takes place."""

    kind: str  # local, allocation, provisioned
    nodes: tuple[Node, ...]  # those that are known before it begins
    watch: AllocationWatch | None = None

    def left_s(self) -> float | None:
        """Seconds until it ends; None where nothing ends it."""
        return None if self.watch is None else self.watch.left_s()

    def capacity(self, config: Config) -> int:
        """Slots of the usual shape that it holds."""
        most = capacity(config.resources.shape, self.nodes)
        return most if config.resources.slots is None else min(most, config.resources.slots)


def find_place(config: Config, environment: Mapping[str, str] = os.environ) -> Place:
    """Where the run of a configuration takes place; UsageError where it demands an allocation and there is none."""
    wanted, job = config.resources.cluster, allocation.job_here(environment)
    if wanted == PROVISIONED:
        return Place(PROVISIONED, tuple(_provisioned_nodes(config)))
    if wanted == ALLOCATION and job is None:
        raise UsageError(
            Code.ALLOCATION_MISSING,
            "resources.cluster is `allocation`, and this is no allocation of SLURM",
            action="start it inside salloc or sbatch, let `campaign submit` do that, or set resources.cluster: local",
        )
    if job is None or wanted == LOCAL:
        shape, slots = config.resources.shape, config.resources.slots
        node = local.this_node()
        return Place(LOCAL, (node if slots is None else widened(node, shape, slots),))
    watch = AllocationWatch(allocation.read_allocation(job))
    nodes = watch.current.nodes
    if allocation.typed_step(environment):
        mine = set(allocation.hostnames(environment["SLURM_STEP_NODELIST"]))
        nodes = tuple(node for node in nodes if node.name in mine)
    return Place(ALLOCATION, nodes, watch)


def slots_asked_for(config: Config) -> int:
    """Jobs side by side where a configuration would run: in the allocation that it asks for, of nodes like this one where there is none yet."""
    place = find_place(config)
    nodes = config.slurm.nodes if place.kind == LOCAL and config.resources.cluster != LOCAL else 1
    return nodes * place.capacity(config)


def _provisioned_nodes(config: Config) -> list[Node]:
    asked = config.slurm
    node = Node("job", asked.cpus_per_node or 1, config.resources.shape.gpus_per_node, asked.memory_per_node_bytes)
    return [node] * asked.nodes


def require_room(place: Place, shapes: Sequence[Shape]) -> None:
    """UsageError where a job does not fit into what there is."""
    nodes = place.nodes if place.kind != PROVISIONED else place.nodes[:1]  # ranks of a job never span two of them
    for shape in shapes:
        if not capacity(shape, nodes):
            have = {f"{n.cpus} CPUs, {n.gpus} GPUs{_memory(n.memory_bytes)}" for n in nodes}
            needs = f"{shape}{_memory(shape.memory_bytes)}"
            raise UsageError(
                Code.ALLOCATION_TOO_SMALL,
                f"a job needs {needs}; here are {len(nodes)} node(s) of {' or '.join(sorted(have))}",
                action="ask for more (salloc, slurm.nodes), or for less a job (resources.*_per_job, *_per_rank, memory_per_slot)",
            )


def _memory(size_bytes: int | None) -> str:
    return f", {size_bytes / 2**30:.3g} GiB" if size_bytes else ""


async def open_cluster(plan: Plan, place: Place, layout: Layout, dashboard: str | None) -> DaskCluster:
    """The cluster on which a plan runs there."""
    from campaign.adapters.dask import Credentials, DaskCluster, NannyWorker

    source: WorkerSource
    describe: Callable[[], Node]
    config = plan.config
    names = StepNames.of(str(layout.root), f"{os.getpid():x}")
    overlaps = 0 <= int(os.environ.get("SLURM_STEP_ID", "-1")) < allocation.OWN_STEPS
    ranks = None if place.kind == LOCAL else RankStep(names, config.slurm.mpi, overlaps)
    spec = SlotSpec(str(layout.root), config.generator, config.options, str(layout.journals), ranks)
    if place.kind == PROVISIONED:
        source, describe = _queued(config, layout, dashboard), node_of_job
    elif place.watch is not None:
        source, describe = (
            _in_allocation(place, place.watch, layout, names, dashboard),
            partial(known_here, place.nodes),
        )
    else:
        (node,) = place.nodes
        source, describe = (
            NannyWorker(2 * node.cpus, dashboard, Credentials.make(layout.metadata)),
            partial(_same, node),
        )
    return await DaskCluster.open(source, partial(make_slots, spec), describe)


def _in_allocation(
    place: Place, watch: AllocationWatch, layout: Layout, names: StepNames, dashboard: str | None
) -> WorkerSource:
    """Workers by one overlapping step, or by the ranks of the step that was typed."""
    from campaign.adapters.dask import Credentials, StepWorkers

    log = layout.logs / f"workers-{watch.current.job_id}.log"
    others = [node.name for node in place.nodes if node.name != os.environ.get("SLURMD_NODENAME")]
    host = allocation.address_towards((others or [place.nodes[0].name])[0])  # our own name may mean the loopback here
    credentials = Credentials.make(layout.metadata)
    threads, scratch = worker_threads(place), worker_scratch()
    if allocation.typed_step(os.environ):
        file = allocation.step_file(layout.metadata, os.environ)
        typed = TypedSteps(watch, names, log, threads, scratch, file=file, tls=str(credentials.directory))
        return StepWorkers(typed, host, dashboard, credentials)
    return StepWorkers(WorkerSteps(watch, names, log, threads, scratch), host, dashboard, credentials)


def worker_threads(place: Place) -> int:
    """Threads of a worker: each only waits for a slot."""
    return 2 * max(node.cpus for node in place.nodes)


def worker_scratch() -> str:
    """Where a worker puts its few files, on each node its own."""
    return os.environ.get("TMPDIR", "/tmp")  # noqa: S108 - Dask makes a directory of its own below


def _queued(config: Config, layout: Layout, dashboard: str | None) -> WorkerSource:
    """Workers as jobs of the queue, one node each."""
    from campaign.adapters.dask import Credentials, JobQueueWorkers

    slurm, shape = config.slurm, config.resources.shape
    (node, *_) = _provisioned_nodes(config)
    directives = [
        f"--{name}={value}" for name, value in (("qos", slurm.qos), ("constraint", slurm.constraint)) if value
    ]
    if shape.gpus_per_rank and not any("gpu" in option for option in slurm.options):
        directives.append(f"--gres=gpu:{shape.gpus_per_node}")
    memory = slurm.memory_per_node_bytes
    options = {
        "cores": node.cpus,
        "processes": 1,
        "memory": f"{memory}B" if memory else "1GiB",
        "job_directives_skip": [] if memory else ["--mem="],
        "queue": slurm.partition or None,
        "account": config.resources.account or None,
        "walltime": slurm.walltime,
        "job_extra_directives": [*directives, "--no-requeue", *slurm.options],
        "job_script_prologue": list(slurm.prologue),
        "log_directory": str(layout.logs),
        "local_directory": worker_scratch(),
        "worker_extra_args": ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"],
        "scheduler_options": {
            "host": allocation.address_towards(allocation.any_node(slurm.partition)),
            "dashboard_address": dashboard or "127.0.0.1:0",
            "dashboard": dashboard is not None,
        },
    }
    slots = max(capacity(shape, [node]), 1)
    credentials = Credentials.make(layout.metadata)
    return JobQueueWorkers(
        options, slurm.nodes_min, slurm.nodes, slots, credentials, allocation.jobs_in_queue,
        shows_dashboard=dashboard is not None,
    )  # fmt: skip


def node_of_job() -> Node:
    """The node that this worker is on, as its own batch job holds it."""
    return allocation.node_here(os.environ)


def follows(environment: Mapping[str, str]) -> bool:
    """Whether this process is a rank of a typed step that does not coordinate."""
    return bool(allocation.typed_step(environment)) and environment.get("SLURM_PROCID", "0") != "0"


def follow(config: Config) -> None:
    """Serve the coordinator of a typed step, if we are the first rank of a node that is not its own."""
    from campaign.adapters.dask.runner import follow

    first_here = os.environ.get("SLURM_LOCALID") == "0"
    if not first_here:
        return
    file = allocation.step_file(Layout(Path(config.directory)).metadata, os.environ)
    follow(file, worker_threads(find_place(config)), worker_scratch())


def dismiss_followers(layout: Layout) -> None:
    """Tell the other ranks of a typed step, if there are any, that nothing is to be done."""
    if allocation.typed_step(os.environ):
        durable.write_json(allocation.step_file(layout.metadata, os.environ), {"address": None, "tls": ""})


def _same(node: Node) -> Node:
    return node


def known_here(nodes: Sequence[Node]) -> Node:
    """The node that this worker is on, out of those that the coordinator knows."""
    return allocation.known_node({node.name: node for node in nodes}, os.environ)


def make_slots(spec: SlotSpec, worker: str) -> SlotPool:
    """The supervisor of the slots that the worker at an address launches, made there."""
    from campaign.adapters.journal import JournalDirectory, JournalFile
    from campaign.adapters.slots import SlotPool
    from campaign.attempt import blank_record

    layout, generator = Layout(Path(spec.directory)), find(spec.generator)
    launcher = local.ProcessLauncher(
        {"generator": spec.generator, "config": dict(spec.config), "directory": spec.directory},
        generator.environment(spec.directory),
        layout.logs / f"slot-{worker.rpartition('/')[2].replace(':', '_')}",
        partial(slot_command, spec.ranks),
        preloads=isinstance(generator, Preloading),
    )
    journal = JournalFile(JournalDirectory(Path(spec.journals)).file(worker))
    return SlotPool(launcher, journal, local.SystemClock(), blank_record)


def slot_command(ranks: RankStep | None, slot: Slot, program: tuple[str, ...]) -> local.Command:
    """How the program of a slot is started: a child, or one of many ranks."""
    import signal

    if slot.shape.ranks == 1 and ranks is None:
        return local.plain_command(program)
    if ranks is None:
        return local.mpiexec_command(slot, program)
    environment = scrubbed(os.environ)
    if slot.shape.ranks == 1:
        return local.Command(program, environment)
    return local.Command(ranks.argv(slot, program), environment, ends_by=signal.SIGTERM, swept_by=ranks.sweep(slot))
