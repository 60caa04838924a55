"""The shape of a campaign's YAML, as pydantic models: what is allowed, its defaults and its JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, model_validator

from campaign.config.handover import ArchiveSection, CleanupSection
from campaign.config.notify import NotifySection
from campaign.config.registration import RegistrySection
from campaign.config.section import PRINTED, PRINTED_LINES, STRICT
from campaign.config.sizes import Size
from campaign.config.stages import StageSection

SCHEMA_VERSION = 1
MAX_JOBS = 10_000_000


class _Section(BaseModel):
    model_config = STRICT


class CampaignSection(_Section):
    """What the campaign is called."""

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=PRINTED, description="name, in words")]
    version: Annotated[str, Field(pattern=r"^v\d+(\.\d+)*$", description="version, such as v1.0")] = "v1.0"
    description: Annotated[str, Field(max_length=2000, pattern=PRINTED_LINES)] = ""


Realization = Annotated[int, Field(ge=0, lt=2**32, description="number of a realization")]


class RealizationRange(_Section):
    """`start, count, step`, or `values`; `include` adds single ones."""

    start: Realization = 0
    count: Annotated[int | None, Field(ge=1, le=MAX_JOBS)] = None
    step: Annotated[int, Field(ge=1)] = 1
    values: Annotated[list[Realization] | None, Field(min_length=1)] = None
    include: list[Realization] = []

    @model_validator(mode="after")
    def _one_way(self) -> RealizationRange:
        if (self.count is None) == (self.values is None):
            raise ValueError("give either `count` (with `start` and `step`) or `values`")
        if self.count is not None and self.start + (self.count - 1) * self.step >= 2**32:
            raise ValueError("realizations are below 2**32")
        return self

    def numbers(self) -> list[int]:
        """The realizations that are meant, in the order given."""
        base = self.values or [self.start + i * self.step for i in range(self.count or 0)]
        known = set(base)
        return [*base, *(i for i in dict.fromkeys(self.include) if i not in known)]


def _kind_of(value: Any) -> str:
    if isinstance(value, dict | RealizationRange):
        return "range"
    return "values" if isinstance(value, list) else "count"


Realizations = Annotated[
    Annotated[int, Field(ge=1, le=MAX_JOBS), Tag("count")]
    | Annotated[list[Realization], Field(min_length=1), Tag("values")]
    | Annotated[RealizationRange, Tag("range")],
    Discriminator(_kind_of),
]


class ScienceSection(_Section):
    """What is computed: changing it makes another campaign."""

    realizations: Annotated[
        Realizations | None, Field(description="a count, a list, or start/count/step/values/include")
    ] = None
    redshifts: Annotated[list[Annotated[float, Field(ge=0, le=1100)]] | None, Field(min_length=1)] = None
    snapshots: Annotated[int | None, Field(ge=1, description="number of redshifts, checked against them")] = None
    seed: Annotated[int, Field(ge=0, lt=2**32, description="seed of the whole campaign")] = 0
    galaxy_model: Annotated[str | None, Field(description="passed to a generator that has this option")] = None
    simulation_suite: Annotated[str | None, Field(description="passed to a generator that has this option")] = None


Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$", description="a letter, then letters, digits, _")]
ScalarValue = bool | int | float | Annotated[str, Field(max_length=1000, pattern=PRINTED)]
GivenValues = (
    Annotated[str, Field(max_length=10_000, description="a rule, such as 0.001:0.01:10 or log:1e-12:1e-9:4")]
    | Annotated[list[ScalarValue], Field(min_length=1, max_length=MAX_JOBS)]
    | bool
    | int
    | float
)


class ParameterSection(_Section):
    """The values of a parameter, and what a reader of the dataset should know of it."""

    values: GivenValues
    units: Annotated[str, Field(max_length=100)] = "1"
    long_name: Annotated[str, Field(max_length=200)] = ""


class DesignSection(_Section):
    """Parameters that are varied, beside realizations and redshifts, and how they are combined."""

    method: Annotated[
        Literal["grid", "zip", "cases", "lhs", "sobol", "halton"],
        Field(description="grid: all combinations; zip: side by side; cases: as listed; else drawn between their ends"),
    ] = "grid"
    parameters: Annotated[
        dict[Name, ParameterSection | GivenValues], Field(description="name: values, or a rule such as 0.001:0.01:10")
    ] = {}
    together: Annotated[
        list[Annotated[list[str], Field(min_length=2)]], Field(description="grid: parameters that go side by side")
    ] = []
    cases: Annotated[
        list[Annotated[dict[Name, ScalarValue], Field(min_length=1)]], Field(description="cases: one mapping each")
    ] = []
    samples: Annotated[int | None, Field(ge=1, le=MAX_JOBS, description="lhs, sobol, halton: number of cases")] = None

    @model_validator(mode="after")
    def _belongs_to_the_method(self) -> DesignSection:
        if self.together and self.method != "grid":
            raise ValueError(f"`together` belongs to `method: grid`, not to {self.method}")
        if bool(self.cases) != (self.method == "cases") or (self.cases and self.parameters):
            raise ValueError("`cases` and `method: cases` belong together, and name their parameters themselves")
        if (self.samples is not None) != (self.method in DRAWN):
            raise ValueError(f"`samples` belongs to {', '.join(DRAWN)}, and these need it")
        if self.method != "cases" and not self.parameters:
            raise ValueError("`parameters` is empty")
        return self


DRAWN = ("lhs", "sobol", "halton")
"""Methods that draw values between the ends of each parameter."""


class StrategySection(_Section):
    """Options of generators: `defaults` for every one, then `overrides` of the one that runs."""

    defaults: dict[str, Any] = {}
    overrides: dict[str, dict[str, Any]] = {}


class ShapeSection(_Section):
    """What a job runs on, where it differs from `resources`."""

    nodes_per_job: Annotated[int | None, Field(ge=1)] = None
    ranks_per_job: Annotated[int | None, Field(ge=1)] = None
    threads_per_rank: Annotated[int | None, Field(ge=1)] = None
    gpus_per_rank: Annotated[int | None, Field(ge=0)] = None
    memory_per_slot: Size | None = None
    warm: bool | None = None


class JobSection(_Section):
    """Settings for the jobs that match `where`."""

    where: Annotated[dict[str, Any], Field(min_length=1, description="axis: value, or list of values")]
    timeout_hours: Annotated[float | None, Field(gt=0)] = None
    options: dict[str, Any] = {}
    resources: ShapeSection = ShapeSection()


class RuleSection(_Section):
    """What follows from failures of one class, where it differs from the rule of the house."""

    max_retries: Annotated[int | None, Field(ge=0, le=100)] = None
    time_factor: Annotated[float | None, Field(ge=1, le=10, description="more time for the next attempt")] = None
    memory_factor: Annotated[float | None, Field(ge=1, le=10, description="more memory for the next attempt")] = None
    another_node: Annotated[bool | None, Field(description="whether the next attempt goes elsewhere")] = None


Policed = Literal[
    "infrastructure", "worker_lost", "node", "killed", "crash", "timeout", "out_of_memory", "bad_product", "error",
    "user_error",
]  # fmt: skip
"""The values of FailureClass, but for missing input: that waits for its input, whatever the rule."""


class EnoughSection(_Section):
    """When a run ends although jobs are left: enough realizations have completed at every point of the other axes."""

    realizations: Annotated[
        int, Field(ge=2, le=MAX_JOBS, description="at each point, at least; a few that agree by chance prove nothing")
    ] = 30
    metric: Annotated[str | None, Field(description="measured variable whose mean is to be known")] = None
    tolerance: Annotated[
        float | None, Field(gt=0, lt=1, description="standard error of that mean, relative to it, at most")
    ] = None

    @model_validator(mode="after")
    def _says_something(self) -> EnoughSection:
        if (self.metric is None) != (self.tolerance is None):
            raise ValueError("`metric` and `tolerance` belong together")
        if self.metric is None and "realizations" not in self.model_fields_set:
            raise ValueError("give `realizations`, or `metric` and `tolerance`, or all of them")
        return self


class ExecutionSection(_Section):
    """How jobs are run; may change from one start to the next."""

    batch_size: Annotated[
        Annotated[int, Field(ge=1, le=100_000)] | Literal["auto"],
        Field(description="jobs that share one artifact; auto: so that a batch takes some tens of seconds"),
    ] = "auto"
    max_retries: Annotated[int, Field(ge=0, le=100)] = 3
    retry_backoff: Literal["exponential", "linear", "constant"] = "exponential"
    retry_delay_s: Annotated[float, Field(ge=0, description="before the first retry")] = 5.0
    retry_delay_max_s: Annotated[float, Field(ge=0)] = 600.0
    timeout_hours: Annotated[float, Field(gt=0, description="for one attempt")] = 2.0
    order: Annotated[str, Field(description="shuffled, block, or AXIS_major, such as redshift_major")] = "shuffled"
    missing_input: Literal["skip_job", "skip_realization", "refuse"] = "skip_job"
    flush_interval_s: Annotated[float, Field(gt=0, description="time between updates of the dataset")] = 30.0
    duration_axis: Annotated[
        str | None, Field(description="axis along which run times are learned; the last one unless said otherwise")
    ] = None
    walltime_quantile: Annotated[
        float,
        Field(gt=0.5, lt=1, description="a job starts if this share of its kind would end before the allocation does"),
    ] = 0.999
    max_failure_rate: Annotated[
        float, Field(gt=0, le=1, description="the run stops where more of the latest jobs failed; 1: never")
    ] = 0.5
    enough: Annotated[EnoughSection | None, Field(description="when a run ends although jobs are left")] = None
    policy: Annotated[dict[Policed, RuleSection], Field(description="rules by class of failure")] = {}

    @model_validator(mode="after")
    def _factors_where_they_act(self) -> ExecutionSection:
        for name, rule in self.policy.items():
            if rule.time_factor is not None and name != "timeout":
                raise ValueError(f"`time_factor` belongs to `timeout`, not to `{name}`")
            if rule.memory_factor is not None and name != "out_of_memory":
                raise ValueError(f"`memory_factor` belongs to `out_of_memory`, not to `{name}`")
        return self


class ResourcesSection(_Section):
    """Where jobs run, what one of them may use, and how many run side by side."""

    cluster: Annotated[
        Literal["auto", "local", "allocation", "provisioned"],
        Field(description="auto: the SLURM allocation that this runs in, or else this machine"),
    ] = "auto"
    slots: Annotated[int | Literal["auto"], Field(description="jobs side by side; auto: as the cores allow")] = "auto"
    nodes_per_job: Annotated[int, Field(ge=1, description="nodes that one job spans")] = 1
    ranks_per_job: Annotated[int, Field(ge=1, description="MPI ranks of one job, spread evenly over its nodes")] = 1
    threads_per_rank: Annotated[int | None, Field(ge=1, description="CPUs of one rank")] = None
    gpus_per_rank: Annotated[int | None, Field(ge=0, description="GPUs of one rank")] = None
    memory_per_slot: Annotated[Size | None, Field(description="limit of one job, such as 4 GiB")] = None
    warm: Annotated[bool, Field(description="keep a job's processes for the next job")] = True
    job_type: Annotated[str, Field(description="a job type of the machine, such as gpu_intensive")] = "cpu_intensive"
    memory_requirement: Annotated[str | None, Field(description="a memory class of the machine, such as high")] = None
    account: str = ""


Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:,|&*\[\]()@+-]*$")]
"""A value of an option of SLURM: it stands in a batch script."""


class SlurmSection(_Section):
    """How SLURM is asked: for allocations (`campaign submit`, `cluster: provisioned`) and for the steps of multi-rank jobs."""

    nodes: Annotated[int, Field(ge=1, description="nodes of an allocation; provisioned: one-node jobs at most")] = 1
    nodes_min: Annotated[int, Field(ge=0, description="provisioned: one-node jobs at least")] = 0
    walltime: Annotated[
        str,
        BeforeValidator(lambda value: str(value) if type(value) is int else value),
        Field(
            pattern=r"^(\d+-)?\d{1,3}(:\d{2}){1,2}$|^\d+$",
            description="HH:MM:SS, D-HH:MM:SS or minutes",
            json_schema_extra={"type": ["string", "integer"]},
        ),
    ] = "01:00:00"
    cpus_per_node: Annotated[
        int | None,
        Field(ge=1, description="CPUs asked of each node; unset: the whole node, but needed for `provisioned`"),
    ] = None
    memory_per_node: Annotated[Size | None, Field(description="memory asked of each node")] = None
    partition: Word = ""
    qos: Word = ""
    constraint: Word = ""
    options: Annotated[list[str], Field(description="more options for sbatch, one an entry")] = []
    prologue: Annotated[list[str], Field(description="shell lines before the run, such as module load")] = []
    mpi: Annotated[
        str, Field(pattern=r"^[a-z0-9_]+$", description="what `srun --mpi=` is given for multi-rank jobs")
    ] = "pmi2"
    launches_per_s: Annotated[float, Field(gt=0, description="multi-rank steps started a second, at most")] = 8.0
    give_back: Annotated[bool, Field(description="release nodes for which no job is left")] = False


class OutputsSection(_Section):
    """Where results go and what they are called."""

    base_path: Annotated[str, Field(min_length=1, description="the campaign is made below this directory")] = (
        "campaigns"
    )
    naming_scheme: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9_.+=/{}-]{1,200}$",
            description="name of a product; or sequential, parameters, hierarchical, hash",
        ),
    ] = None
    compression: Annotated[str | None, Field(description="passed to a generator that has this option")] = None
    metadata_format: Literal["json"] = "json"
    artifacts: Annotated[
        Literal["simorc"] | None, Field(description="simorc: a file for each case as well, and tables of them")
    ] = None


class Document(_Section):
    """A campaign."""

    schema_version: Literal[1] = 1
    machine: Annotated[str, Field(description="a machine of configs/machines, or the path of such a file")] = "local"
    campaign: CampaignSection
    science: ScienceSection = ScienceSection()
    design: DesignSection | None = None
    generator: Annotated[str, Field(description="name of an installed generator")] = "galaxies"
    strategy: StrategySection = StrategySection()
    jobs: list[JobSection] = []
    execution: ExecutionSection = ExecutionSection()
    resources: ResourcesSection = ResourcesSection()
    slurm: SlurmSection = SlurmSection()
    outputs: OutputsSection = OutputsSection()
    registry: RegistrySection = RegistrySection()
    notify: NotifySection | None = None
    archive: ArchiveSection = ArchiveSection()
    cleanup: CleanupSection = CleanupSection()
    stages: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")], StageSection],
        Field(description="what is made of the results, in order"),
    ] = {}


class JobType(_Section):
    """What a declarative job type means on a machine."""

    threads_per_rank: Annotated[int, Field(ge=1)] = 1
    gpus_per_rank: Annotated[int, Field(ge=0)] = 0


class Machine(_Section):
    """A machine file: what its job types and memory classes mean, and defaults for every campaign on it."""

    description: str = ""
    job_types: dict[str, JobType] = {}
    memory_requirements: dict[str, Size] = {}
    defaults: dict[str, Any] = {}


def json_schema() -> dict[str, Any]:
    """JSON Schema of the YAML, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "campaign",
        **Document.model_json_schema(),
    }
