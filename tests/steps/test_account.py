"""What a report tells, from a dataset made by hand."""

import numpy as np
import pytest
import xarray as xr

from campaign.analyse.report import account, job_table
from campaign.core.model import State


def dataset(states, **changes):
    shape = states.shape
    done = states == State.COMPLETED
    dims, starts = ("realization", "redshift"), np.datetime64("2026-03-01T12:00:00", "ns")
    variables = {
        "status": states, "duration": np.where(states != State.PENDING, 2.0, np.nan),
        "start_time": np.where(
            states != State.PENDING, starts + (np.arange(states.size) * np.timedelta64(1, "s")).reshape(shape), np.datetime64("NaT")
        ),
        "attempt": np.where(states != State.PENDING, 1.0, np.nan), "batch": np.where(states != State.PENDING, 4.0, np.nan),
        "node": np.where(states == State.FAILED, "nid02", np.where(done, "nid01", "")),
        "product": np.where(done, "catalogs/x", ""), **changes,
    }  # fmt: skip
    made = xr.Dataset({name: (dims, values) for name, values in variables.items()}, {"redshift": [0.5, 1.0, 2.0]})
    made["count"] = dims, np.where(done, 7, -999), {"campaign_role": "measurement", "units": "1"}
    made["spectrum"] = (*dims, "bin"), np.zeros((*shape, 4)), {"campaign_role": "measurement"}
    return made


@pytest.fixture
def states():
    states = np.full((100, 3), State.COMPLETED, np.int8)
    states[:10, 1] = State.FAILED
    states[90:, 2] = State.PENDING
    return states


def test_jobs_are_counted_along_the_short_axis_and_by_node(states):
    told = account(dataset(states))
    assert told.total == 300
    assert told.counts[State.COMPLETED] == 280
    assert told.along == "redshift"
    assert [(row.label, row.counts[State.FAILED], row.counts[State.PENDING]) for row in told.rows] == [
        ("0.5", 0, 0), ("1", 10, 0), ("2", 0, 10),
    ]  # fmt: skip
    assert [(row.label, row.counts[State.COMPLETED], row.mean_s) for row in told.nodes] == [
        ("nid02", 0, None),
        ("nid01", 280, 2.0),
    ]
    assert told.products == 280


def test_every_end_is_in_the_rate(states):
    rate = account(dataset(states)).rate
    minutes = (rate.hours[1] - rate.hours[0]) * 60
    assert rate.completed_per_min.sum() * minutes == pytest.approx(280)
    assert rate.failed_per_min.sum() * minutes == pytest.approx(10)
    assert rate.began.isoformat() == "2026-03-01T12:00:00+00:00"


def test_only_what_completed_is_measured(states):
    count, spectrum = account(dataset(states)).measured
    assert (count.name, count.least, count.mean, count.greatest) == ("count", 7, 7, 7)
    assert (spectrum.shape, spectrum.mean) == ((4,), None)


def test_a_campaign_that_has_not_begun(states):
    told = account(dataset(np.zeros_like(states)))
    assert told.rate is None
    assert told.nodes == []
    assert [one.mean for one in told.measured] == [None, None]


def test_the_table_of_jobs_is_that_of_the_dataset(states):
    table = job_table(dataset(states))
    assert (table.state == states.reshape(-1)).all()
    assert (table.row(4).attempt, table.row(4).batch) == (1, 4)
    assert (table.row(299).attempt, table.row(299).batch) == (0, -1)
