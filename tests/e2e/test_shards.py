"""Two coordinators on one campaign, on this machine: together they do what one does; a killed one is made good."""

import signal

import pytest
import xarray as xr

from campaign.core.model import State
from campaign.layout import Layout
from campaign.status import read_status
from tests.conftest import wait_for
from tests.e2e.test_run import finish, products, run, same_science, start


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "campaigns" / "v1.0_scripted"


def dataset(directory):
    return xr.open_zarr(directory / "results.zarr").load()


def test_two_shards_do_what_one_run_does(scripted_yaml, directory, tmp_path):
    truth = tmp_path / "truth"
    path = scripted_yaml(realizations="20", options=f"{{seconds: 0.05, truth: {truth}}}")
    both = [start(path, "--shard", f"{n}/2") for n in range(2)]
    assert [finish(process)[0] for process in both] == [0, 0]
    shared, made = dataset(directory), products(directory)
    assert (shared.status == State.COMPLETED).all()
    lines = truth.read_text().splitlines()
    assert len(lines) == len(set(lines)) == 60
    directory.rename(tmp_path / "shared")
    assert run(path)[0] == 0
    same_science(shared, dataset(directory))
    assert made == products(directory)


def test_shards_are_watched_as_one(scripted_yaml, directory):
    path = scripted_yaml(realizations="60", options="{seconds: 0.1}")
    both = [start(path, "--shard", f"{n}/2") for n in range(2)]
    told = wait_for(
        lambda: (
            (seen := read_status(Layout(directory)) if (directory / "metadata" / "manifest.json").exists() else None)
            and seen.live
            and seen.live.progress.slots == 4
            and seen
        )
    )
    assert told.holder is None
    assert len(told.live.nodes) == 2
    assert sum(told.counts.values()) == told.total == 180
    for process in both:
        process.send_signal(signal.SIGTERM)
    assert {finish(process)[0] for process in both} <= {0, 3}


def test_what_a_killed_shard_left_is_done_by_the_next_run_and_nothing_twice(scripted_yaml, directory, tmp_path):
    truth = tmp_path / "truth"
    path = scripted_yaml(realizations="20", options=f"{{seconds: 0.2, truth: {truth}}}")
    one, other = (start(path, "--shard", f"{n}/2") for n in range(2))
    wait_for(lambda: len(products(directory)) > 10 if directory.exists() else False)
    one.send_signal(signal.SIGKILL)
    one.communicate()
    refused, _, err = run(path)
    assert refused == 5
    assert "shard-001-of-002" in err
    assert finish(other)[0] == 0
    code, out, err = run(path, "--shard", "0/2")
    assert code == 0, err
    assert (dataset(directory).status == State.COMPLETED).all()
    again, out, _ = run(path)
    assert again == 0
    assert "60 completed (0 completed in this run)" in out
    ran = [line.split()[0] for line in truth.read_text().splitlines()]
    assert len(set(ran)) == 60
    assert len(ran) <= 60 + 2  # what was running when it was killed
