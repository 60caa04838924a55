"""A campaign from Python: the five calls that scripts of array jobs know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NewType

from campaign import opening, retries, submit
from campaign.assemble import slots_asked_for
from campaign.core.lifecycle import FAILED, estimate
from campaign.core.model import State
from campaign.errors import CampaignError, ConfigError, Problem
from campaign.layout import Layout
from campaign.status import read_measured_cost, read_status

CampaignID = NewType("CampaignID", str)
"""Names a campaign: the absolute path of its directory."""


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """How far a campaign is."""

    campaign: CampaignID
    total: int
    counts: Mapping[str, int]  # state -> jobs
    completed_fraction: float
    failed_fraction: float
    rate_per_s: float | None  # None where nothing runs
    remaining_s: float | None
    queue: tuple[Mapping[str, str], ...]  # its jobs in SLURM's queue
    failures: tuple[Mapping[str, object], ...]  # the latest


@dataclass(frozen=True, slots=True)
class RetryReport:
    """What was sent back to pending, and the batch job that runs it."""

    campaign: CampaignID
    jobs: tuple[str, ...]  # names
    submitted: str  # number of the batch job; empty where there was nothing to retry


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """Whether a configuration can be run, and every mistake in it where it can't."""

    valid: bool
    problems: tuple[Problem, ...]
    message: str  # for a person; empty where it is valid
    jobs: int
    missing_inputs: int


@dataclass(frozen=True, slots=True)
class ResourceEstimate:
    """What a campaign takes; None where nothing was measured yet."""

    jobs: int
    slots: int  # side by side, in the allocation that the configuration asks for
    wall_s: float | None
    wall_limit_s: float  # if every job took its whole time-out
    core_hours: float | None
    storage_bytes: float | None
    measured_jobs: int


class CampaignManager:
    """Drives campaigns through batch jobs of SLURM.

    `chain` allocations may follow one another, `array` of them share the campaign, `options` go to sbatch verbatim,
    `settings` (`KEY.KEY=VALUE`) override the configuration. Every call raises CampaignError where it can't be done.
    """

    def __init__(
        self,
        *,
        chain: int = submit.CHAIN_DEFAULT,
        array: int | None = None,
        options: Sequence[str] = (),
        settings: Sequence[str] = (),
    ) -> None:
        self._chain, self._array = chain, array
        self._options, self._settings = tuple(options), tuple(settings)

    def submit_campaign(self, config_path: str | Path) -> CampaignID:
        """Lay out the campaign, and submit the batch jobs that run it until it is complete."""
        return self._submit(Path(config_path), self._settings)[0]

    def monitor_progress(self, campaign_id: CampaignID) -> ProgressReport:
        """How far it is, from its directory and from the queue."""
        status = read_status(Layout(Path(campaign_id)))
        failed = sum(status.counts.get(state.word, 0) for state in FAILED)
        return ProgressReport(
            campaign=campaign_id,
            total=status.total,
            counts=status.counts,
            completed_fraction=status.counts.get(State.COMPLETED.word, 0) / status.total,
            failed_fraction=failed / status.total,
            rate_per_s=status.rate_per_s,
            remaining_s=status.remaining_s,
            queue=status.queue,
            failures=status.failures,
        )

    def retry_failed_jobs(self, campaign_id: CampaignID, max_attempts: int = 3) -> RetryReport:
        """Give every failed job up to `max_attempts` more attempts, with the configured backoff, in a new batch job."""
        directory, settings = Path(campaign_id), (*self._settings, f"execution.max_retries={max_attempts - 1}")
        config, generator = opening.read_config(directory, settings)
        submit.refuse_second(Layout(directory))
        names = retries.requeue(config, generator, retries.Chosen(tuple(FAILED)))
        if not names:
            return RetryReport(campaign_id, (), "")
        _, job = self._submit(directory, settings)
        return RetryReport(campaign_id, tuple(names), job)

    def validate_configuration(self, config_path: str | Path) -> ValidationReport:
        """Every mistake at once; raises nothing for a wrong configuration."""
        try:
            config, generator = opening.read_config(Path(config_path), self._settings)
            plan = opening.lay_out(config, generator)
        except ConfigError as error:
            return ValidationReport(False, error.problems, str(error), 0, 0)  # noqa: FBT003
        except CampaignError as error:
            return ValidationReport(False, (), str(error), 0, 0)  # noqa: FBT003
        return ValidationReport(True, (), "", plan.size, len(plan.missing))  # noqa: FBT003

    def estimate_resources(self, config_path: str | Path) -> ResourceEstimate:
        """Time, core hours and storage, from the campaign's own jobs where some have run."""
        config, generator = opening.read_config(Path(config_path), self._settings)
        plan = opening.lay_out(config, generator)
        seconds, size, measured = read_measured_cost(Layout(Path(config.directory)))
        shape, slots = config.resources.shape, slots_asked_for(config)
        cost = estimate(plan.size, seconds, size, slots, shape.ranks * shape.threads, config.execution.timeout_s)
        return ResourceEstimate(
            jobs=plan.size,
            slots=slots,
            wall_s=cost["wall_s"],
            wall_limit_s=cost["wall_limit_s"] or 0.0,
            core_hours=cost["core_hours"],
            storage_bytes=cost["storage_bytes"],
            measured_jobs=measured,
        )

    def _submit(self, path: Path, settings: Sequence[str]) -> tuple[CampaignID, str]:
        config, generator = opening.read_config(path, settings)
        submission = submit.Submission(
            str(path.absolute()), tuple(settings), str(Path.cwd()), self._options, self._array, self._chain
        )
        job, _ = submit.lay_out_and_submit(submission, config, generator)
        return CampaignID(config.directory), job
