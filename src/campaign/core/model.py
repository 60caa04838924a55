"""The nouns of a campaign as frozen values, and their JSON forms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from campaign.core.handover import Archiving, Cleanup
from campaign.core.notices import Notify

STAGE = "stage"
"""The generator of stages, whose jobs are executed among those of a campaign."""

Scalar = bool | int | float | str
Point = Mapping[str, Scalar]
"""One point of a design: axis name -> value."""


class State(IntEnum):
    """State of a job. The numbers are on disk: they are only ever appended."""

    PENDING = 0
    QUEUED = 1
    RUNNING = 2
    COMPLETED = 3
    FAILED = 4
    TIMEOUT = 5
    MISSING_INPUT = 6
    CANCELLED = 7

    @property
    def word(self) -> str:
        """The name used in files and on screens, such as `missing_input`."""
        return self.name.lower()


class Outcome(StrEnum):
    """How one attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    MISSING_INPUT = "missing_input"
    INTERRUPTED = "interrupted"  # the infrastructure ended it; the job is not to blame
    REVOKED = "revoked"  # no attempt: the product is lost, and what was committed before counts no more
    REQUEUED = "requeued"  # no attempt: a person sent the job back to pending after the attempt of this number


class Order(StrEnum):
    """What a person may say to a coordinator, from anywhere."""

    RESUME = "resume"
    PAUSE = "pause"  # start nothing more, until further orders
    STOP = "stop"  # let running jobs end, then end
    ABORT = "abort"  # end running jobs, then end


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the design and one dimension of the dataset.

    Where several parameters are varied together, as in a scattered design, its own values are the numbers of the cases,
    and `varies` holds the parameters, each with a value for every case.
    """

    name: str
    values: tuple[Scalar, ...]
    units: str = "1"
    long_name: str = ""
    varies: tuple[Axis, ...] = ()

    @property
    def parameters(self) -> tuple[Axis, ...]:
        """What changes along it: itself, or what is varied together."""
        return self.varies or (self,)


@dataclass(frozen=True, slots=True)
class Variable:
    """An array that a generator measures for each job, as it stands in the dataset after the design's axes."""

    name: str
    dtype: str  # numpy type code, such as "f4" or "i8"
    units: str = "1"
    long_name: str = ""
    dims: tuple[Axis, ...] = ()
    settings: str = ""  # what else decides its values, such as a threshold


@dataclass(frozen=True, slots=True)
class Product:
    """A file that an attempt made, validated after it was closed."""

    path: str  # relative to the campaign's directory
    size_bytes: int
    sha256: str


CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that would make a terminal do something, without the ends of lines and tabulators, and what is no text at all."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not complete, in words that a terminal shows as they are."""

    error_class: str  # name of the exception's class, or of the signal
    code: str  # errors.Code
    message: str
    traceback: str = ""
    phase: str = ""  # prepare, generate, verify
    transient: bool = True  # whether another attempt may help
    blames_job: bool = True  # False when the infrastructure is at fault

    def __post_init__(self) -> None:
        for name in ("error_class", "message", "traceback"):
            lines = getattr(self, name).replace("\r\n", "\n").replace("\r", "\n")
            shown = CONTROL.sub(lambda found: repr(found[0])[1:-1], lines)
            object.__setattr__(self, name, shown)

    @property
    def first_line(self) -> str:
        """Of its message: what fits into a line among others."""
        return self.message.partition("\n")[0]


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt to make: everything that a generator needs to know, as it travels to a slot."""

    job: int  # index in the design, C order
    name: str
    attempt: int  # 1 for the first
    batch: int
    point: Point
    seed: int  # of this job, 63 bits
    campaign_seed: int
    generator: str
    config: Mapping[str, Any]  # the resolved task configuration
    resolved_config_hash: str
    task_fingerprint: str
    product: str  # path of the main product, relative to the campaign's directory
    timeout_s: float
    directory: str = ""  # of the stage that it belongs to, below that of the campaign; empty: none


@dataclass(frozen=True, slots=True)
class Record:
    """What one attempt reports."""

    job: int
    name: str
    attempt: int
    batch: int
    outcome: Outcome
    task_fingerprint: str
    resolved_config_hash: str
    fingerprint_version: int
    config_fingerprint_schema: int
    seed: int
    point: Point
    generator: str
    generator_version: str
    started_ms: int  # milliseconds since 1970-01-01 UTC
    duration_s: float
    phases_s: Mapping[str, float] = field(default_factory=dict)  # time of each phase, seconds
    products: tuple[Product, ...] = ()
    measurements: Mapping[str, Any] = field(default_factory=dict)  # name -> number, or nested list
    failure: Failure | None = None
    node: str = ""
    pid: int = 0
    peak_memory_bytes: int = 0  # of the slot process, up to the end of this attempt
    notes: tuple[str, ...] = ()  # what a reader should know, such as "replaced an orphaned product"
    verdict: str = ""  # the state of the job that follows; the coordinator decides where the attempt did not complete

    def concluded(self, verdict: str) -> Record:
        """The record with a verdict; `replace` would look at every field anew."""
        if verdict == self.verdict:
            return self
        *values, _ = (getattr(self, name) for name in Record.__slots__)
        return Record(*[*values, verdict])


@dataclass(frozen=True, slots=True)
class Shape:
    """What one job runs on: ranks, spread evenly over whole shares of nodes."""

    ranks: int = 1
    nodes: int = 1
    threads: int = 1  # CPUs of one rank
    gpus_per_rank: int = 0
    memory_bytes: int | None = None  # of the whole job; None where nobody counts it
    warm: bool = True  # whether its process stays between jobs

    @property
    def ranks_per_node(self) -> int:
        """Ranks on each of its nodes."""
        return self.ranks // self.nodes

    @property
    def cpus_per_node(self) -> int:
        """CPUs on each of its nodes."""
        return self.ranks_per_node * self.threads

    @property
    def gpus_per_node(self) -> int:
        """GPUs on each of its nodes."""
        return self.ranks_per_node * self.gpus_per_rank

    @property
    def memory_per_node(self) -> int:
        """Bytes on each of its nodes; 0 where nobody counts them."""
        return -(-(self.memory_bytes or 0) // self.nodes)

    def __str__(self) -> str:
        gpus = f", {self.gpus_per_rank} GPU each" if self.gpus_per_rank else ""
        return f"{self.ranks} rank(s) of {self.threads} thread(s){gpus} on {self.nodes} node(s)"


@dataclass(frozen=True, slots=True)
class Node:
    """What of a node is ours."""

    name: str
    cpus: int
    gpus: int = 0
    memory_bytes: int | None = None  # None where nobody counts it
    allocation: str = ""  # the batch job that holds it: no slot spans two of them
    ends_ms: int | None = None  # when that ends, where it is not the coordinator's own, ms since 1970-01-01 UTC


@dataclass(frozen=True, slots=True)
class Slot:
    """A part of the allocation that runs one job at a time: a core set, GPUs, or a slice of nodes."""

    number: int  # unique in a run
    shape: Shape
    nodes: tuple[str, ...]  # the first one launches
    cpus: tuple[tuple[int, ...], ...]  # on each node: ordinals among the CPUs that are ours
    gpus: tuple[tuple[int, ...], ...]  # likewise


@dataclass(frozen=True, slots=True)
class JobCall:
    """The node of the graph that makes one attempt at one job."""

    task: Task

    @property
    def key(self) -> tuple[str, int]:
        """Key of the call. The constant first word keeps Dask from making a task prefix for each job."""
        return ("job", self.task.job)


@dataclass(frozen=True, slots=True)
class Lease:
    """Calls that run one after another in one slot: what the scheduler sees as one task."""

    number: int
    calls: tuple[JobCall, ...]
    slot: Slot
    evicted: tuple[Slot, ...] = ()  # idle slots that must be gone before this one can be made
    starts_until_ms: int | None = None  # no call of it may begin later than this, ms since 1970-01-01 UTC


@dataclass(frozen=True, slots=True)
class JobOverride:
    """Settings for the jobs whose point matches `where`."""

    where: Mapping[str, tuple[Scalar, ...]]  # axis -> values; all axes must match
    config: Mapping[str, Any]  # generator options
    timeout_s: float | None = None
    shape: Mapping[str, Any] = field(default_factory=dict)  # fields of Shape that differ


class FailureClass(StrEnum):
    """What kind of trouble ended an attempt: what follows depends on it, and on nothing else."""

    INFRASTRUCTURE = "infrastructure"  # storage, a slot that was taken away: nobody's fault among the jobs
    WORKER_LOST = "worker_lost"
    NODE = "node"  # no slot comes up on it
    KILLED = "killed"  # from outside: by the kernel when memory is short, by the batch system, by a person
    CRASH = "crash"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    BAD_PRODUCT = "bad_product"
    ERROR = "error"  # the generator raised something that another attempt may not
    USER_ERROR = "user_error"  # it will be the same next time
    MISSING_INPUT = "missing_input"


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows from a failure of one class."""

    blames_job: bool  # which budget it is charged to: the job's own, or the one for what happened to it
    max_retries: int | None = None  # None: that of `execution`
    waits: bool = True  # whether the next attempt is delayed
    time_factor: float = 1.0  # more time for each attempt that ended so
    memory_factor: float = 1.0  # more memory for each attempt that ended so
    another_node: bool = False  # whether the next attempt avoids the nodes of this one


BOOKKEEPING = (
    "status", "attempt", "batch", "start_time", "duration", "node", "seed", "task_fingerprint", "product", "product_sha256", "error_code",
)  # fmt: skip
"""What the dataset says of each job beside what is measured."""


@dataclass(frozen=True, slots=True)
class Enough:
    """When a run may end although jobs are left."""

    realizations: int  # completed at each point of the other axes, at least
    metric: str = ""  # the variable whose mean counts
    tolerance: float | None = None  # its standard error over the realizations, relative to the mean; None: any


@dataclass(frozen=True, slots=True)
class Execution:
    """How jobs are run; may change from one start to the next."""

    batch_size: int | None  # None: so that a batch takes some tens of seconds
    max_retries: int
    retry_backoff: str  # exponential, linear, constant
    retry_delay_s: float  # before the first retry
    retry_delay_max_s: float
    timeout_s: float
    order: str  # shuffled, block, or "<axis>_major"
    missing_input: str  # skip_job, skip_realization, refuse
    flush_interval_s: float
    duration_axis: str  # along which run times are learned
    walltime_quantile: float
    max_failure_rate: float  # share of the latest jobs that may fail before the run stops
    rules: Mapping[FailureClass, Rule]
    enough: Enough | None = None  # None: every job is run


@dataclass(frozen=True, slots=True)
class Resources:
    """What one job runs on, where, and how many run side by side."""

    cluster: str  # auto, local, allocation, provisioned
    slots: int | None  # None: as many as the nodes hold
    shape: Shape
    job_type: str
    memory_requirement: str
    account: str
    machine: str


@dataclass(frozen=True, slots=True)
class Slurm:
    """How SLURM is asked for allocations and for steps."""

    nodes: int = 1
    nodes_min: int = 0
    walltime: str = "01:00:00"
    cpus_per_node: int | None = None
    memory_per_node_bytes: int | None = None
    partition: str = ""
    qos: str = ""
    constraint: str = ""
    options: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    mpi: str = "pmi2"
    launches_per_s: float = 8.0
    give_back: bool = False


@dataclass(frozen=True, slots=True)
class Registration:
    """Where runs are reported, and what is said of the campaign there."""

    url: str
    token_file: str  # empty where none is needed
    campaign_id: str  # empty: one of its own
    declared: Mapping[str, Any]  # what a campaign of its own is registered with


@dataclass(frozen=True, slots=True)
class Config:
    """A campaign as its author declared it: validated, complete, frozen."""

    name: str
    version: str
    description: str
    axes: tuple[Axis, ...]
    seed: int
    generator: str
    options: Mapping[str, Any]  # resolved generator options, before job overrides
    overrides: tuple[JobOverride, ...]
    execution: Execution
    resources: Resources
    slurm: Slurm
    directory: str  # absolute path of the campaign
    naming_scheme: str
    document: Mapping[str, Any]  # the merged YAML with every default, as frozen into the campaign
    registration: Registration | None = None  # None: runs are reported nowhere
    notify: Notify | None = None  # None: nobody is told
    archiving: Archiving = field(default_factory=Archiving)
    cleanup: Cleanup = field(default_factory=Cleanup)
    has_case_files: bool = False  # whether there are files for each case beside the dataset
    stages: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # what is made of its results: name -> declaration
