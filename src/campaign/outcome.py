"""How a run ended: the exit code, the counts, and what to tell a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from campaign.core.usage import Usage

EXIT_DONE, EXIT_FAILURE, EXIT_USAGE, EXIT_RESUMABLE, EXIT_FAILED_JOBS, EXIT_LOCKED, EXIT_FOUND = 0, 1, 2, 3, 4, 5, 6
EXIT_CODES = """exit codes:
  0  every job completed, or enough of them by execution.enough
  1  an internal error
  2  the configuration or the command is wrong; nothing was started
  3  stopped with work left; the same command goes on
  4  finished; some jobs failed, timed out or lack their input
  5  another coordinator holds the campaign
  6  audit, verify, archive and their kin found something"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    directory: str
    exit_code: int
    counts: Mapping[str, int]
    completed_now: int
    attempts_now: int
    duplicates: int
    reason: str
    usage: Usage | None = None  # node-hours; None where nothing ran
    stages: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # of each stage: state -> jobs

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        usage = None if self.usage is None else {**asdict(self.usage), "idle": self.usage.idle}
        return {
            **asdict(self),
            "counts": dict(self.counts),
            "stages": {name: dict(counts) for name, counts in self.stages.items()},
            "usage": usage,
        }


def closing_words(outcome: Outcome) -> str:
    """What to tell a person at the end of a run."""
    told = [f"{outcome.directory}: {_counted(outcome.counts)} ({outcome.completed_now} completed in this run)"]
    if outcome.stages:
        told.append("stages: " + "; ".join(f"{name}: {_counted(counts)}" for name, counts in outcome.stages.items()))
    if outcome.usage is not None and outcome.usage.total > 0:
        told.append(_usage_words(outcome.usage))
    if outcome.duplicates:
        told.append(f"{outcome.duplicates} attempts ended twice; the second ends were not counted")
    match outcome.exit_code:
        case 0 if "pending" in outcome.counts:
            told.append(
                "there are enough realizations; without the rule (execution.enough) the same command runs the others"
            )
        case 0:
            told.append(f'read it: xarray.open_zarr("{outcome.directory}/results.zarr")')
        case 3:
            told.append("work is left: the same command goes on where this run stopped")
        case 4 if set(outcome.counts) <= {"completed"} and outcome.stages:
            told.append(
                f"see why: campaign failures {outcome.directory}/stages/NAME; campaign retry there, then the same command"
            )
        case 4 if set(outcome.counts) <= {"completed", "missing_input"}:
            told.append(f"bring the missing inputs (campaign plan {outcome.directory} lists them) and run it again")
        case 4:
            told.append(
                f"see why: campaign failures {outcome.directory}; then: campaign retry {outcome.directory} --run"
            )
    return "\n".join(told)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {word}" for word, n in counts.items())


def _usage_words(usage: Usage) -> str:
    """Where the time of the nodes went."""
    shares = {"in completed jobs": usage.useful, "in attempts that failed": usage.lost, "idle": usage.idle}
    parts = [f"{100 * hours / usage.total:.1f} % {word}" for word, hours in shares.items() if hours > 0]
    return f"{usage.total:.3g} node-hours: {', '.join(parts)}"
