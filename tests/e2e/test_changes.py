"""What may change between two starts: more realizations, resources, order; not the science. Campaigns of earlier formats."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import campaign
from campaign import crashpoints, manifest, opening
from campaign.adapters.artifacts import ArtifactStore
from campaign.adapters.journal import JournalDirectory, JournalFile
from campaign.core.model import State
from campaign.errors import LockedError, StoppedError, UsageError
from campaign.layout import Layout

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("campaign_format_*.tar.xz"))


def same_cells(small, large):
    """Everything that the small dataset holds stands in the large one."""
    part = large.sel(realization=small.realization, redshift=small.redshift)
    xr.testing.assert_identical(small.drop_attrs(), part.drop_attrs())


@pytest.mark.fault("more realizations, or redshifts, are asked for", "the campaign grows; what is done stays done")
def test_a_campaign_grows_along_any_axis_and_keeps_what_is_done(ran, run_again):
    before = xr.open_zarr(ran / "results.zarr").load()
    grown = run_again(ran, "science.realizations=8")
    assert (grown.counts, grown.completed_now) == ({"completed": 15, "failed": 1}, 4)
    assert campaign.audit(ran, hashed=True).sound
    same_cells(before, xr.open_zarr(ran / "results.zarr").load())
    wider = run_again(ran, "science.redshifts=[0.25, 0.5, 0.75, 1.0]")
    assert (wider.counts, wider.completed_now) == ({"completed": 31, "failed": 1}, 16)
    assert campaign.audit(ran, hashed=True).sound
    same_cells(before, xr.open_zarr(ran / "results.zarr").load())
    known = json.loads((ran / "metadata" / "manifest.json").read_text())
    assert [(g["from_jobs"], g["to_jobs"]) for g in known["grown"]] == [(12, 16), (16, 32)]
    assert run_again(ran).completed_now == 0, "the frozen configuration is the grown one"


@pytest.mark.parametrize("setting", ["science.realizations=8", "science.redshifts=[0.1, 0.5, 1.0]"])
def test_journals_of_before_the_growth_are_settled_under_their_own_numbers(ran, run_again, setting):
    """A coordinator is killed, and the next one is of a larger plan: its jobs have other numbers."""
    artifacts = ArtifactStore(ran)
    journal = JournalFile(JournalDirectory(Layout(ran).journals).file("killed"))
    for number in artifacts.numbers():
        for record in artifacts.read(number).records:
            journal.ended([record.concluded("")])
    journal.close()
    shutil.rmtree(ran / "batches")
    (ran / "metadata" / "campaign.db").unlink()
    shutil.rmtree(ran / "results.zarr")
    outcome = run_again(ran, setting)
    assert outcome.counts["failed"] == 1
    assert outcome.counts["completed"] == sum(outcome.counts.values()) - 1
    assert outcome.completed_now == sum(outcome.counts.values()) - 12, "what the journals hold did not run again"
    assert campaign.audit(ran, hashed=True).sound


@pytest.mark.fault(
    "science is changed in the YAML of a campaign", "refused, with the keys that differ and the next version"
)
@pytest.mark.parametrize("setting", ["science.seed=5", "science.realizations=3", "outputs.naming_scheme=x_{redshift}"])
def test_another_science_is_refused_with_the_next_version(ran, run_again, setting):
    with pytest.raises(UsageError, match=r"was made from another configuration(.|\n)*campaign.version=v1.1"):
        run_again(ran, setting)


@pytest.mark.parametrize(
    "setting",
    ["resources.slots=1", "execution.order=redshift_major", "execution.batch_size=2", "resources.account=other",
     "slurm.nodes=7", "execution.max_retries=9", "execution.policy={timeout: {time_factor: 2}}"],
)  # fmt: skip
def test_how_it_is_run_may_change(ran, setting):
    config, generator = opening.read_config(ran, [setting])
    manifest.freeze(opening.lay_out(config, generator), Layout(ran), generator)


def test_growth_waits_for_shards_at_work(ran, run_again):
    from campaign.shards import Shard, shard_held

    with shard_held(Layout(ran, "shard-000-of-002"), Shard(0, 2)), pytest.raises(LockedError, match="shard"):
        run_again(ran, "science.realizations=8")


def test_a_growth_that_is_interrupted_is_done_at_the_next_start(ran, run_again, monkeypatch):
    class Crash(BaseException):
        pass

    def crash(point):
        if point == "freeze.planned":
            raise Crash

    setting = "science.redshifts=[0.25, 0.5, 1.0]"
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "reach", crash)
        with pytest.raises(Crash):
            run_again(ran, setting)
    assert run_again(ran, setting).counts == {"completed": 17, "failed": 1}
    assert campaign.audit(ran, hashed=True).sound


def test_versions_follow_each_other():
    assert [manifest.next_version(v) for v in ("v1.0", "v1.9", "v2", "v1.2.3")] == ["v1.1", "v1.10", "v3", "v1.2.4"]


@pytest.mark.fault(
    "a campaign is paused", "its coordinator starts nothing until `campaign resume`, and no other one starts"
)
def test_a_paused_campaign_is_not_started(ran, run_again):
    from campaign.adapters import orders
    from campaign.core.model import Order

    orders.give(ran / "metadata", Order.PAUSE, "quota")
    with pytest.raises(StoppedError, match=r"paused(.|\n)*campaign resume"):
        run_again(ran)
    orders.give(ran / "metadata", Order.RESUME)
    assert run_again(ran).reason == "nothing to do"


@pytest.mark.parametrize("archive", GOLDEN, ids=lambda path: path.name.partition(".")[0])
@pytest.mark.fault("a campaign was made by an earlier release, and killed", "it opens, resumes and is migrated")
def test_a_campaign_of_an_earlier_format_opens_resumes_and_migrates(archive, tmp_path, run_again):
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    directory = tmp_path / "v1.0_golden"
    before = campaign.open(directory).load()
    assert 0 < (before.status == State.COMPLETED).sum() < 20
    assert len(campaign.tidy(directory)) > 0
    outcome = run_again(directory)
    assert outcome.counts == {"completed": 18, "failed": 2}
    assert outcome.completed_now < 8, "what was done is not done again"
    after = campaign.open(directory).load()
    done = before.status == State.COMPLETED
    for name in ("count", "mean", "spectrum", "product_sha256"):
        assert np.array_equal(after[name].to_numpy()[done], before[name].to_numpy()[done]), name
    assert campaign.audit(directory, hashed=True).sound
    assert run_again(directory).reason == "nothing to do"


def test_every_crash_point_has_a_meaning():
    assert all(crashpoints.POINTS.values())
