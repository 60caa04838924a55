"""The nouns of a campaign as frozen values, and their JSON forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

Scalar = int | float | str
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
    REQUEUED = "requeued"  # no attempt: a person sent the job back to pending after the attempt of this number


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the design and one dimension of the dataset."""

    name: str
    values: tuple[Scalar, ...]
    units: str = "1"
    long_name: str = ""


@dataclass(frozen=True, slots=True)
class Variable:
    """An array that a generator measures for each job, as it stands in the dataset after the design's axes."""

    name: str
    dtype: str  # numpy type code, such as "f4" or "i8"
    units: str = "1"
    long_name: str = ""
    dims: tuple[Axis, ...] = ()


@dataclass(frozen=True, slots=True)
class Product:
    """A file that an attempt made, validated after it was closed."""

    path: str  # relative to the campaign's directory
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not complete."""

    error_class: str  # name of the exception's class, or of the signal
    code: str  # errors.Code
    message: str
    traceback: str = ""
    phase: str = ""  # prepare, generate, verify
    transient: bool = True  # whether another attempt may help
    blames_job: bool = True  # False when the infrastructure is at fault


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


@dataclass(frozen=True, slots=True)
class Record:
    """What one attempt reports. `schema` names the version of this layout."""

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
    verdict: str = ""  # state of the job that the coordinator concluded from this attempt; empty until it did

    def to_json(self) -> dict[str, Any]:
        """The record as it stands in a journal and in `records.jsonl`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """The record of a JSON object; KeyError or TypeError where it is not one of ours."""
        failure = data["failure"]
        return cls(
            **{
                **data,
                "outcome": Outcome(data["outcome"]),
                "products": tuple(Product(**p) for p in data["products"]),
                "failure": None if failure is None else Failure(**failure),
                "notes": tuple(data["notes"]),
            }
        )


def task_to_json(task: Task) -> dict[str, Any]:
    """The task as it travels to a slot."""
    return asdict(task)


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


@dataclass(frozen=True, slots=True)
class JobOverride:
    """Settings for the jobs whose point matches `where`."""

    where: Mapping[str, tuple[Scalar, ...]]  # axis -> values; all axes must match
    config: Mapping[str, Any]  # generator options
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Execution:
    """How jobs are run; may change from one start to the next."""

    batch_size: int
    max_retries: int
    retry_backoff: str  # exponential, linear, constant
    retry_delay_s: float  # before the first retry
    retry_delay_max_s: float
    timeout_s: float
    order: str  # shuffled, block, or "<axis>_major"
    missing_input: str  # skip_job, skip_first_axis, refuse
    flush_interval_s: float


@dataclass(frozen=True, slots=True)
class Resources:
    """What one job may use, and how many run side by side."""

    slots: int
    threads_per_slot: int
    memory_per_slot_bytes: int | None
    job_type: str
    memory_requirement: str
    account: str
    machine: str


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
    directory: str  # absolute path of the campaign
    naming_scheme: str
    document: Mapping[str, Any]  # the merged YAML with every default, as frozen into the campaign
