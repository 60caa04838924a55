"""Every error of the project. The class says what the caller does about it, the code says what happened."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """What happened. Codes are written to disk: they are only ever appended."""

    CONFIG_INVALID = "config.invalid"
    CONFIG_CHANGED = "config.changed"
    CAMPAIGN_MISSING = "campaign.missing"
    CAMPAIGN_LOCKED = "campaign.locked"
    STORAGE_FULL = "storage.full"
    STORAGE_UNWRITABLE = "storage.unwritable"
    FORMAT_DAMAGED = "format.damaged"
    FORMAT_UNKNOWN = "format.unknown"
    GENERATOR_UNKNOWN = "generator.unknown"
    GENERATOR_UNAVAILABLE = "generator.unavailable"
    GENERATOR_RAISED = "generator.raised"
    INPUT_MISSING = "input.missing"
    INPUT_DAMAGED = "input.damaged"
    INPUT_NOT_FINITE = "input.not_finite"
    INPUT_EMPTY = "input.empty"
    PRODUCT_INVALID = "product.invalid"
    SLOT_CRASHED = "slot.crashed"
    SLOT_KILLED = "slot.killed"
    SLOT_UNREADY = "slot.unready"
    TIMED_OUT = "job.timed_out"
    INTERRUPTED = "job.interrupted"
    CLUSTER_UNREADY = "cluster.unready"
    RUN_STOPPED = "run.stopped"
    MEMORY_EXCEEDED = "job.memory_exceeded"
    MPI_UNUSABLE = "mpi.unusable"
    ALLOCATION_MISSING = "allocation.missing"
    ALLOCATION_TOO_SMALL = "allocation.too_small"
    ALLOCATION_GONE = "allocation.gone"
    SLURM_REFUSED = "slurm.refused"
    CHAIN_ENDED = "chain.ended"
    CAMPAIGN_PAUSED = "campaign.paused"
    JOB_UNKNOWN = "job.unknown"
    CAMPAIGN_FAILING = "campaign.failing"
    CAMPAIGN_EXISTS = "campaign.exists"
    REGISTRY_REFUSED = "registry.refused"
    CAMPAIGN_HELD = "campaign.held"
    PACKAGE_MISSING = "package.missing"


class CampaignError(Exception):
    """Root of the tree. `message` says what and where, `action` what to type or to change."""

    exit_code = 1
    transient = False

    def __init__(self, code: Code, message: str, *, action: str = "") -> None:
        super().__init__(f"{message}\n  -> {action}" if action else message)
        self.code = code
        self.message = message
        self.action = action

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.code, self.message, self.action))


def _rebuild(cls: type[CampaignError], code: Code, message: str, action: str) -> CampaignError:
    return cls(code, message, action=action)


class UsageError(CampaignError):
    """The user corrects the command or the configuration; nothing was started."""

    exit_code = 2


class LockedError(CampaignError):
    """Another coordinator holds the campaign: wait for it or stop it."""

    exit_code = 5


class StoppedError(CampaignError):
    """A run could not go on; work is left, and nothing that was done is lost."""

    exit_code = 3


class StorageError(StoppedError):
    """The file system refuses: make room or permission, then start again."""

    transient = True


class FormatError(CampaignError):
    """A file of ours can't be trusted: it goes to quarantine and is rebuilt from the truth where that is possible."""


class InputError(CampaignError):
    """A job's input is not there: bring it, then `campaign run`."""


class JobError(CampaignError):
    """One job can't succeed as it stands; its record says why, the others go on."""


class ProductError(JobError):
    """A product is not what was made: it is thrown away and made again."""

    transient = True


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration."""

    where: str  # "file:line:column", or the option or variable that brought the value
    key: str  # dotted path of the key, such as "execution.batch_size"
    found: str  # what stands there
    allowed: str  # what may stand there
    suggestion: str = ""  # the nearest spelling

    def __str__(self) -> str:
        hint = f" (did you mean {self.suggestion!r}?)" if self.suggestion else ""
        return f"{self.where}: {self.key}: found {self.found}; allowed: {self.allowed}{hint}"


class ConfigError(UsageError):
    """The configuration is refused as a whole, with every mistake in it."""

    def __init__(self, problems: tuple[Problem, ...], *, action: str = "correct the lines above and try again") -> None:
        self.problems = problems
        count = f"{len(problems)} mistake{'s' if len(problems) != 1 else ''} in the configuration"
        super().__init__(Code.CONFIG_INVALID, "\n".join([count, *(f"  {p}" for p in problems)]), action=action)

    def __reduce__(self) -> tuple[object, ...]:
        return (ConfigError, (self.problems,))
