"""Looking after a campaign: audit, verify, tidy, consolidate, reproduce."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import campaign
from campaign import examine
from campaign.adapters.artifacts import read
from campaign.cli import main
from campaign.core.model import State
from campaign.testing import faults


@pytest.fixture
def typed(capsys):
    """What a command prints, and its exit code."""

    def run(*words):
        code = main([str(word) for word in words])
        return code, capsys.readouterr().out

    return run


def test_a_sound_campaign_is_accounted_for(ran, typed):
    code, out = typed("audit", ran, "--hash")
    assert code == 0, out
    assert "12 jobs = 11 completed + 1 failed" in out
    assert "11 products are there with their checksums" in out
    assert "everything is accounted for" in out
    found = json.loads(typed("audit", ran, "--json")[1])
    assert sum(found["counts"].values()) == found["total"] == 12
    assert found["records"] == 12 + 2 + 1
    assert campaign.audit(ran).sound


def test_what_is_missing_or_spoilt_is_found_and_made_again(ran, typed, stream, run_again):
    assert faults.damaged_product(ran, stream)
    gone = next(path for path in sorted((ran / "catalogs").rglob("*.txt")))
    before = {path: path.read_bytes() for path in (ran / "catalogs").rglob("*.txt")}
    gone.unlink()
    code, out = typed("audit", ran)
    assert code == 6
    assert "it is gone" in out
    code, out = typed("verify", ran, "--json")
    damaged = json.loads(out)["damaged"]
    assert (code, len(damaged)) == (6, 2)
    assert typed("verify", ran, "--requeue", "--dry-run")[0] == 6
    assert campaign.audit(ran).counts == {"completed": 11, "failed": 1}
    assert typed("verify", ran, "--requeue")[0] == 6
    assert campaign.audit(ran).counts == {"pending": 2, "completed": 9, "failed": 1}
    assert campaign.audit(ran, hashed=True).sound
    outcome = run_again(ran)
    assert outcome.counts == {"completed": 11, "failed": 1}
    assert outcome.completed_now == 2
    assert gone.read_bytes() == before[gone]
    assert typed("verify", ran)[0] == 0


def test_a_projection_that_lies_is_found_and_made_anew(ran, typed):
    import sqlite3

    with sqlite3.connect(ran / "metadata" / "campaign.db") as db:
        db.execute("UPDATE job SET state = 4 WHERE job = 5")
    db.close()
    code, out = typed("audit", ran)
    assert code == 6
    assert "ledger.differs" in out
    assert "--rebuild" in out
    assert "batches are committed" in typed("consolidate", ran, "--dry-run", "--rebuild")[1]
    assert campaign.audit(ran).sound is False
    assert typed("consolidate", ran, "--rebuild")[0] == 0
    assert campaign.audit(ran).sound


def test_gathering_twice_is_gathering_once(ran):
    import xarray as xr

    first = xr.open_zarr(ran / "results.zarr").load()
    for rebuild in (False, True, True):
        examine.consolidate(ran, rebuild=rebuild)
        xr.testing.assert_identical(first, xr.open_zarr(ran / "results.zarr").load())


def test_every_attempt_is_a_row(ran, typed, tmp_path):
    table = campaign.tidy(ran)
    assert len(table) == 15
    assert list(table.columns[:3]) == ["realization", "redshift", "job"]
    assert table.groupby("name").attempt.max()["r0001/mock_z0.500"] == 3
    assert set(table.failure_class) == {"", "error", "timeout"}
    assert table.task_fingerprint.str.len().eq(64).all()
    assert (table.config_fingerprint_schema == 1).all()
    code, out = typed("tidy", ran, "-o", tmp_path / "t.parquet")
    assert (code, "15 rows" in out) == (0, True)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), table)
    assert typed("tidy", ran, "-o", tmp_path / "t.csv")[0] == 0
    assert len(pd.read_csv(tmp_path / "t.csv")) == 15
    assert typed("tidy", ran, "-o", tmp_path / "t.csv")[0] == 2, "a file that is there is not replaced"
    assert typed("tidy", ran, "-o", tmp_path / "t.csv", "--force")[0] == 0
    with pytest.raises(SystemExit):
        typed("tidy", ran, "-o", tmp_path / "t.xlsx")
    assert typed("tidy", tmp_path / "nothing", "-o", tmp_path / "u.csv")[0] == 2


def legacy(record, **changes):
    """A record as it lay in a file of its own before there were batches."""
    return {
        "case_id": record.job + 1, "status": str(record.outcome), "timestamp_iso": "2025-01-15T10:30:45+00:00",
        "simulation_duration": 2.34, "error_message": None, "parameters": dict(record.point),
        "task_fingerprint": record.task_fingerprint, "config_fingerprint_schema": 1, "attempt": record.attempt,
        "measurements": dict(record.measurements), "products": [vars_of(p) for p in record.products], "seed": record.seed,
        **changes,
    }  # fmt: skip


def vars_of(product):
    return {name: getattr(product, name) for name in ("path", "size_bytes", "sha256")}


@pytest.fixture
def singles(ran, tmp_path):
    """Every completed record as a single file, elsewhere; one of them does not say what it is of."""
    found = [r for path in sorted((ran / "batches").glob("*/*.zip")) for r in read(path).records]
    done = [r for r in found if r.outcome == "completed"]
    directory = tmp_path / "old"
    for n, record in enumerate(done):
        case = directory / f"case_{n + 1}"
        case.mkdir(parents=True)
        changes = {"task_fingerprint": ""} if n == 0 else {}
        (case / "run_status.json").write_text(json.dumps(legacy(record, **changes)))
    return directory


def test_single_records_and_batches_make_one_table(ran, singles, typed, tmp_path):
    singles.rename(ran / "old")
    code, out = typed("tidy", ran, "-o", tmp_path / "both.csv")
    assert code == 6
    assert "1 artifacts were refused" in out
    table = pd.read_csv(tmp_path / "both.csv")
    assert table.type.value_counts().to_dict() == {"batch": 15, "single": 10}


def test_single_records_are_adopted_and_what_lacks_a_fingerprint_is_kept_apart(ran, singles, typed):
    import shutil

    shutil.rmtree(ran / "batches")
    shutil.rmtree(ran / "staging" / "journal")
    (ran / "batches").mkdir()
    for path in singles.iterdir():
        shutil.move(path, ran / "staging" / path.name)
    assert "11 single records" in typed("consolidate", ran, "--dry-run")[1]
    code, _ = typed("consolidate", ran, "--rebuild")
    assert code == 0
    found = campaign.audit(ran, hashed=True)
    assert found.counts == {"pending": 2, "completed": 10}
    (kept,) = found.quarantined
    assert "lacks task_fingerprint" in kept["why"]
    dataset = campaign.open(ran).load()
    assert np.isfinite(dataset["mean"].sel(realization=3, redshift=0.5))
    assert (dataset.status == State.COMPLETED).sum() == 10


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"measurements": {"count": 1, "mean": float("nan"), "spectrum": [1.0]}}, "declared with"),
        ({"measurements": {"colour": 1}}, "is not declared"),
        ({"status": "revoked"}, "no attempt that has ended"),
        ({"task_fingerprint": "0" * 64}, "of another campaign"),
        ({"config_fingerprint_schema": 0}, "lacks config_fingerprint_schema"),
        ({"status": "completed", "timestamp_iso": "yesterday"}, "can't be trusted"),
    ],
)
def test_single_records_are_checked_like_our_own(ran, typed, changes, why):
    record = read(next(iter(sorted((ran / "batches").glob("*/*.zip"))))).records[0]
    (ran / "staging" / "single_1.json").write_text(json.dumps(legacy(record, **changes)))
    assert typed("consolidate", ran)[0] == 0
    (kept,) = campaign.audit(ran).quarantined
    assert why in kept["why"]
    assert campaign.audit(ran).sound


def test_a_single_record_of_a_case_that_goes_on_is_left_alone(ran, typed):
    path = ran / "staging" / "single_1.json"
    path.write_text('{"case_id": 1, "status": "running"}')
    assert typed("consolidate", ran)[0] == 0
    assert path.exists()


def test_a_job_that_was_done_elsewhere_counts_though_its_attempt_has_a_number_of_ours(ran, typed):
    found = [r for path in sorted((ran / "batches").glob("*/*.zip")) for r in read(path).records]
    failed = next(r for r in found if r.verdict == "failed")
    done = legacy(failed, status="completed", attempt=1, measurements={"count": 5, "mean": float("nan")})
    (ran / "staging" / "single_1.json").write_text(json.dumps(done))
    assert typed("consolidate", ran)[0] == 0
    assert campaign.audit(ran).counts == {"completed": 12}
    assert campaign.open(ran)["count"].load().sel(failed.point).item() == 5


def test_a_file_system_that_is_not_there_is_no_reason_to_make_everything_again(ran, typed):
    (ran / "catalogs").rename(ran / "elsewhere")
    (ran / "catalogs").mkdir()
    assert typed("verify", ran, "--requeue")[0] == 2
    assert campaign.audit(ran).counts["completed"] == 11
    (ran / "catalogs").rmdir()
    (ran / "elsewhere").rename(ran / "catalogs")
    assert campaign.audit(ran, hashed=True).sound


@pytest.mark.parametrize("name", ["damaged_chunk", "damaged_ledger"])
def test_an_audit_tells_of_projections_that_can_not_be_read(ran, typed, name):
    import random

    if name == "damaged_chunk":
        (chunk,) = (path for path in (ran / "results.zarr" / "status" / "c").rglob("*") if path.is_file())
        chunk.write_bytes(b"nonsense")
    else:
        faults.damaged_ledger(ran, random.Random(1))
    code, out = typed("audit", ran)
    assert code == 6
    assert ".damaged: " in out
    assert typed("consolidate", ran, "--rebuild")[0] == 0
    assert typed("audit", ran)[0] == 0


def test_only_a_run_lets_a_campaign_grow(ran, tmp_path):
    from campaign import opening, retries
    from campaign.errors import UsageError

    config, generator = opening.read_config(ran, ["science.realizations=9"])
    with pytest.raises(UsageError, match="campaign run lets it grow"):
        retries.requeue(config, generator, retries.Chosen([State.FAILED]), dry_run=True)
    assert campaign.audit(ran).total == 12


@pytest.mark.parametrize("job", ["r0003/mock_z0.500", "6", "realization=3,redshift=0.5"])
def test_a_job_is_reproduced_bit_for_bit_elsewhere(ran, typed, job):
    before = {path: path.stat().st_mtime_ns for path in ran.rglob("*")}
    code, out = typed("reproduce", ran, job)
    assert (code, out) == (0, "r0003/mock_z0.500: identical, bit for bit\n")
    assert {path: path.stat().st_mtime_ns for path in ran.rglob("*")} == before, "the campaign is not touched"


def test_what_is_not_reproduced_is_told(ran, typed, tmp_path):
    config = ran / "metadata" / "campaign_config.yaml"
    config.write_text(config.read_text().replace("script:\n", "script:\n        r0003/mock_z0.500: [nan]\n"))
    code, out = typed("reproduce", ran, "r0003/mock_z0.500", "--into", tmp_path / "again")
    assert code == 6
    assert "measurement mean" in out
    assert (tmp_path / "again" / "catalogs" / "r0003" / "mock_z0.500.txt").exists()


@pytest.mark.parametrize(
    ("job", "words"),
    [("nope", "there is no job"), ("99", "there is no job"), ("r0001/mock_z0.500", "has not completed")],
)
def test_a_job_that_can_not_be_reproduced_is_told(ran, job, words):
    done = subprocess.run(
        [sys.executable, "-m", "campaign", "reproduce", ran, job], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr
