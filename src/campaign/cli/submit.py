"""Submit a campaign to SLURM: writes the batch script under logs/, and hands it to sbatch.

What stands after `--` is given to sbatch verbatim: campaign submit my.yaml -- --qos=debug --nodes=2
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from campaign import opening, submit
from campaign.adapters.eventlog import ended_with
from campaign.adapters.slurm import batch
from campaign.cli.arguments import add_settings
from campaign.cli.status import words
from campaign.layout import Layout
from campaign.outcome import EXIT_DONE, EXIT_FAILED_JOBS, EXIT_RESUMABLE
from campaign.status import Status, read_status

FIRST_LOOK_S, LONGEST_S = 1.0, 30.0
GONE_S = 2.0
"""How long the queue must be empty: a controller may fail to answer once, and a successor may just be coming."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("config", type=Path, help="the campaign's YAML, or its directory")
    add_settings(parser, ", also in the batch job")
    parser.add_argument("--dry-run", action="store_true", help="show the script and the command, submit nothing")
    parser.add_argument(
        "--chain", type=_positive, nargs="?", const=submit.CHAIN_DEFAULT, default=0, metavar="N",
        help=f"go on in further allocations until the campaign is complete, at most N (default {submit.CHAIN_DEFAULT})",
    )  # fmt: skip
    parser.add_argument("--array", type=_positive, metavar="N", help="N allocations share the campaign")
    parser.add_argument("--wait", action="store_true", help="wait for the end, and tell how it ended")
    parser.add_argument("--json", action="store_true", help="report as JSON")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("a number above 0")
    return number


def command(arguments: argparse.Namespace) -> int:
    """`campaign submit`."""
    config, generator = opening.read_config(arguments.config, arguments.settings)
    layout = Layout(Path(config.directory))
    submission = submit.Submission(
        config=str(arguments.config.absolute()), settings=tuple(arguments.settings), workdir=str(Path.cwd()),
        options=arguments.options, array=arguments.array, chain=arguments.chain,
    )  # fmt: skip
    if arguments.dry_run:
        opening.lay_out(config, generator)
        script, text = submit.script_of(submission, config, submit.next_number(layout))
        if arguments.json:
            print(json.dumps({"script": str(script), "text": text, "submitted": None}))
        else:
            print(f"# would write {script} and type: sbatch {script}\n{text}", end="")
        return EXIT_DONE
    job, script = submit.lay_out_and_submit(submission, config, generator)
    if arguments.json and not arguments.wait:
        print(json.dumps({"script": str(script), "submitted": job, "directory": str(layout.root)}))
    elif not arguments.json:
        print(f"submitted job {job}: {script}\nlook at it: campaign status {layout.root}")
    return _wait(layout, as_json=arguments.json) if arguments.wait else EXIT_DONE


def _wait(layout: Layout, *, as_json: bool) -> int:
    """Look at the queue, ever more rarely, until no job of the campaign is in it."""
    pause, gone_since = FIRST_LOOK_S, None
    while True:
        if batch.queued(layout.root) != []:
            gone_since = None
        elif gone_since is None:
            gone_since = time.monotonic()
        elif time.monotonic() - gone_since > GONE_S:
            break
        time.sleep(pause)
        pause = min(1.3 * pause, LONGEST_S) if gone_since is None else FIRST_LOOK_S
    status = read_status(layout)
    print(json.dumps(status.to_json()) if as_json else words(status))
    return exit_code_of(status, ended_with(layout.events))


def exit_code_of(status: Status, told: int | None = None) -> int:
    """The exit code of a campaign that is not running, whose latest run has `told` its own: there may be enough although jobs are left."""
    if told == EXIT_DONE:
        return EXIT_DONE
    if status.counts.get("completed", 0) == status.total:
        return EXIT_DONE
    waiting = sum(status.counts.get(word, 0) for word in ("pending", "queued", "running"))
    return EXIT_RESUMABLE if waiting else EXIT_FAILED_JOBS
