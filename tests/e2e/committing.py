"""A coordinator without workers: lets the campaign in a directory grow, and commits what is new, one batch after another."""

import sys
from dataclasses import replace
from pathlib import Path

from campaign import opening
from campaign.adapters.local import SystemClock
from campaign.attempt import run_attempt
from campaign.layout import Layout


def commit_everything(directory):
    config, generator = opening.read_config(directory, ["science.realizations=8"])
    plan, clock = opening.lay_out(config, generator), SystemClock()
    with opening.committing(plan, generator, Layout(directory)) as gatherer:
        for number, jobs in plan.batches(gatherer.table.state, gatherer.next_number):
            records = [run_attempt(plan.task(int(job), 1, number), generator, directory, clock) for job in jobs]
            gatherer.commit([(number, [replace(record, verdict="completed") for record in records])])
            gatherer.flush()


if __name__ == "__main__":
    commit_everything(Path(sys.argv[1]))
