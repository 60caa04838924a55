"""Runs by batch jobs: the first one, and the successors that carry a campaign on until it is complete."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from campaign import durable, opening
from campaign.adapters.provenance import now
from campaign.adapters.slurm import batch
from campaign.adapters.slurm.allocation import job_here
from campaign.core.model import Config
from campaign.errors import Code, UsageError
from campaign.layout import Layout
from campaign.ports import Generator

logger = logging.getLogger("campaign")

FRUITLESS_ALLOWED = 2
"""Links of a chain that may end one after another without having ended a single job."""

CHAIN_DEFAULT = 50
"""Allocations of one chain, unless said otherwise."""


@dataclass(frozen=True, slots=True)
class Submission:
    """What is handed to SLURM: everything that a successor needs to be handed in again."""

    config: str  # absolute path of the YAML, or of the campaign's directory
    settings: tuple[str, ...]
    workdir: str
    options: tuple[str, ...] = ()  # verbatim options of sbatch
    array: int | None = None
    chain: int = 0  # successors that may still follow

    def command(self) -> list[str]:
        """The run that the batch job is."""
        settings = [word for setting in self.settings for word in ("--set", setting)]
        shard = ["--shard", f"auto/{self.array}"] if self.array else []
        chain = ["--chain", str(self.chain)] if self.chain else []
        return [sys.executable, "-m", "campaign.run", self.config, "--plain", *settings, *shard, *chain]


def script_of(submission: Submission, config: Config, number: int) -> tuple[Path, str]:
    """Where the batch script of a submission goes, and what it says."""
    layout = Layout(Path(config.directory))
    log = layout.logs / f"batch_{number:04d}"
    text = batch.batch_script(
        config, submission.command(), log, Path(submission.workdir), array=submission.array, options=submission.options
    )
    return log.with_suffix(".sh"), text


def next_number(layout: Layout) -> int:
    """The first number that no batch script has."""
    taken = [int(path.stem.partition("_")[2]) for path in layout.logs.glob("batch_[0-9][0-9][0-9][0-9].sh")]
    return max(taken, default=-1) + 1


def submit(submission: Submission, config: Config, *, after: str = "") -> tuple[str, Path]:
    """Write the batch script, keep what it was made from, submit it; (number of the job, script)."""
    layout = Layout(Path(config.directory))
    number = next_number(layout)
    script, text = script_of(submission, config, number)
    durable.write_bytes(script, text.encode())
    durable.write_json(script.with_suffix(".json"), asdict(submission))
    return batch.submit(script, after=after), script


def refuse_second(layout: Layout) -> None:
    """UsageError where batch jobs of the campaign are in the queue already."""
    waiting = batch.queued(layout.root)
    if waiting is None:
        raise UsageError(
            Code.SLURM_REFUSED,
            "squeue does not answer, and a campaign must not be submitted twice",
            action="wait for the controller, and try again",
        )
    if waiting:
        jobs = ", ".join(f"{job.job} ({job.state.lower()})" for job in waiting)
        raise UsageError(
            Code.CAMPAIGN_LOCKED,
            f"{layout.root} has jobs in the queue already: {jobs}",
            action=f"wait for them, or cancel them: scancel {' '.join(job.job for job in waiting)}",
        )


def lay_out_and_submit(submission: Submission, config: Config, generator: Generator) -> tuple[str, Path]:
    """Lay out the campaign, and submit its first batch job, unless one is in the queue already; (number, script)."""
    layout = Layout(Path(config.directory))
    plan = opening.lay_out(config, generator)
    refuse_second(layout)
    with opening.held(plan, generator, layout):
        pass
    return submit(submission, config)


class Chain:
    """The successor of the batch job that we are in: asked for at the start, taken back when nothing is left to do.

    It waits for our end, however that comes: by completion, by the walltime, by a dead node. It is asked for once, never
    beside another one that waits, as long as the chain has links left and its links get something done.
    """

    def __init__(self, layout: Layout, config: Config, left: int) -> None:
        self._layout, self._config, self._left = layout, config, left
        self._file = layout.metadata / "chain.json"

    def begin(self, ended_jobs: int) -> None:
        """Ask for the successor; `ended_jobs` of the campaign have ended before this run."""
        if not self._left:
            return
        me = os.environ.get("SLURM_ARRAY_JOB_ID") or job_here(os.environ)
        if me is None:
            logger.warning("--chain does nothing here: this is no job of SLURM")
            return
        links = [*self._links(), {"job": me, "time": now(), "ended_jobs": ended_jobs, "left": self._left}]
        durable.write_json(self._file, {"schema_version": 1, "links": links})
        seen = batch.queued(self._layout.root)
        others = None if seen is None else [job.job for job in seen if job.job.partition("_")[0] != me]
        refusal = refusal_to_chain(links, self._left, others)
        if refusal:
            logger.warning("no successor is submitted: %s", refusal)
            return
        submission = self._submission()
        if submission is None:
            logger.warning("no successor is submitted: %s has no record of the submission", self._layout.logs)
            return
        successor, script = submit(submission, self._config, after=me)
        links[-1]["successor"] = successor
        durable.write_json(self._file, {"schema_version": 1, "links": links})
        logger.info("job %s goes on when this one ends (%s)", successor, script)

    def end(self, *, complete: bool) -> None:
        """Take the successor back, whichever shard asked for it, where nothing is left for it in the whole campaign."""
        links = self._links()
        successor = links[-1].get("successor") if links else None
        if complete and successor and self._left:
            batch.cancel(successor)
            logger.info("job %s is not needed any more", successor)

    def _links(self) -> list[dict[str, Any]]:
        try:
            links: list[dict[str, Any]] = json.loads(self._file.read_text())["links"]
        except (OSError, ValueError, KeyError):
            return []
        return links

    def _submission(self) -> Submission | None:
        """What we were submitted with, with a link less."""
        records = sorted(self._layout.logs.glob("batch_[0-9][0-9][0-9][0-9].json"))
        if not records:
            return None
        known = json.loads(records[-1].read_text())
        known |= {"settings": tuple(known["settings"]), "options": tuple(known["options"]), "chain": self._left - 1}
        return Submission(**known)


def refusal_to_chain(links: Sequence[dict[str, Any]], left: int, waiting: Sequence[str] | None) -> str:
    """Why no successor may follow; empty where one may.

    `links` are the allocations so far, the present one last; those before the last submission by a person don't count.
    `waiting` are the campaign's other jobs in the queue, None where SLURM does not tell.
    """
    if waiting is None:
        return "the queue can't be seen, and a second successor must not be asked for"
    if left <= 0:
        return "the chain has no links left; campaign submit --chain begins a new one"
    if waiting:
        return f"job {waiting[0]} of this campaign is in the queue already"
    begun = max((n for n in range(1, len(links)) if links[n]["left"] >= links[n - 1]["left"]), default=0)
    recent = [link["ended_jobs"] for link in links[begun:][-FRUITLESS_ALLOWED - 1 :]]
    if len(recent) > FRUITLESS_ALLOWED and len(set(recent)) == 1:
        return f"the last {FRUITLESS_ALLOWED} allocations ended no job; see their logs, then submit again"
    return ""
