import contextlib
import io
import json
import random
import zipfile
from pathlib import Path

import pytest

from campaign.adapters.artifacts import ArtifactStore, number_of, pack, read
from campaign.core.model import Failure, Outcome, Product, Record
from campaign.errors import FormatError
from campaign.layout import Layout
from campaign.wire import decode, encode

GOLDEN = Path(__file__).parents[1] / "golden" / "batch_000042.zip"


def make_record(job=0, outcome=Outcome.COMPLETED, attempt=1, **changes):
    failed = outcome is not Outcome.COMPLETED
    values = {
        "job": job, "name": f"job{job}", "attempt": attempt, "batch": 42, "outcome": outcome, "task_fingerprint": "f" * 64,
        "resolved_config_hash": "c" * 64, "fingerprint_version": 1, "config_fingerprint_schema": 1, "seed": 2**62 + job,
        "point": {"realization": job, "redshift": 1.1}, "generator": "scripted", "generator_version": "1",
        "started_ms": 1_700_000_000_000, "duration_s": 1.5, "phases_s": {"act": 1.0},
        "products": () if failed else (Product(f"catalogs/{job}.txt", 10, "a" * 64),),
        "measurements": {} if failed else {"count": job, "mean": 0.1 + job, "spectrum": [1.0, 2.5, None, job / 3]},
        "failure": Failure("ValueError", "generator.raised", "no", "Traceback", "act") if failed else None,
        "node": "n01", "pid": 1, "peak_memory_bytes": 1000, "verdict": "failed" if failed else "completed",
    }  # fmt: skip
    return Record(**{**values, **changes})


RECORDS = [make_record(0), make_record(1, Outcome.FAILED), make_record(2)]


def plain(record):
    return decode(encode(record))


@pytest.fixture
def store(tmp_path):
    store = ArtifactStore(tmp_path)
    store.prepare()
    return store


def test_what_is_sealed_is_read_back(store):
    path = store.seal(42, RECORDS, {"node": "n01"})
    batch = read(path)
    assert batch.number == 42
    assert batch.meta["node"] == "n01"
    assert [plain(r) for r in batch.records] == [plain(r) for r in RECORDS]


def test_errors_are_structured(store):
    path = store.seal(42, RECORDS, {})
    with zipfile.ZipFile(path) as archive:
        (entry,) = [json.loads(line) for line in archive.read("errors.jsonl").decode().splitlines()]
    assert {
        "seed",
        "point",
        "generator",
        "task_fingerprint",
        "error_class",
        "message",
        "traceback",
        "timestamp",
    } <= set(entry)
    assert entry["timestamp"] == "2023-11-14T22:13:20.000+00:00"


def test_an_artifact_of_the_first_release_opens_for_ever():
    batch = read(GOLDEN)
    assert [plain(r) for r in batch.records] == [plain(r) for r in RECORDS]


def test_the_same_records_give_the_same_bytes():
    assert pack(42, RECORDS, {}) == pack(42, RECORDS, {})


def test_commit_is_idempotent(store):
    first, copy = store.seal(42, RECORDS, {}), store.seal(42, RECORDS, {})
    assert store.commit(first) == store.path(42)
    assert store.commit(copy) is None
    assert store.staged() == []
    assert store.numbers() == [42]


def test_every_truncation_and_every_bit_flip_is_found_or_harmless(store):
    data = pack(42, RECORDS, {})
    whole = [plain(r) for r in RECORDS]
    stream = random.Random(1)
    for trial in range(120):
        if trial % 2:
            damaged = data[: stream.randrange(len(data))]
        else:
            position = stream.randrange(len(data))
            damaged = bytearray(data)
            damaged[position] ^= 1 << stream.randrange(8)
        path = store.staging / f"batch_000042_{trial:032x}.zip"
        path.write_bytes(damaged)
        with contextlib.suppress(FormatError):
            assert [plain(r) for r in read(path).records] == whole


def test_what_can_not_be_trusted_goes_to_quarantine_with_the_reason(store):
    path = store.seal(42, RECORDS, {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match="damaged"):
        store.commit(path)
    assert store.numbers() == []
    assert {p.suffix for p in store.quarantine.iterdir()} == {".zip", ".txt"}


def repack(data, change):
    """An artifact with `meta.json` or a record changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("meta.json", '"1.0"', '"2.0"', "schema 2.0"),
        ("meta.json", '"batch_id"', '"batch"', "lacks batch_id"),
        ("meta.json", '"jobs": 3', '"jobs": 4', "3 records and promises 4"),
        ("records.jsonl", '"task_fingerprint"', '"task_finger"', "task_fingerprint"),
        ("records.jsonl", '"config_fingerprint_schema"', '"schema"', "config_fingerprint_schema"),
    ],
)
def test_artifacts_that_lack_what_they_must_have_are_refused(store, name, old, new, message):
    def change(member, content):
        return content.replace(old.encode(), new.encode()) if member == name else content

    path = store.staging / f"batch_000042_{0:032x}.zip"
    path.write_bytes(repack(pack(42, RECORDS, {}), change))
    with pytest.raises(FormatError, match=message):
        read(path)


def test_half_written_files_are_swept(store):
    (store.staging / "batch_000007_x.tmp").write_bytes(b"half")
    store.prepare()
    assert list(store.staging.iterdir()) == []


@pytest.mark.parametrize("name", ["batch_1.zip", "batch_000001.zip.part", "other_000001.zip", "batch_000001_xyz.zip"])
def test_only_artifacts_have_numbers(name):
    with pytest.raises(ValueError, match="not the name"):
        number_of(Path(name))


def test_what_a_killed_writer_left_is_swept_files_and_directories(tmp_path):
    store, unfinished = ArtifactStore(tmp_path), Layout(tmp_path).unfinished
    store.prepare()
    (unfinished / "abc" / "deep").mkdir(parents=True)
    (unfinished / "abc" / "deep" / "x.raw").write_text("torn")
    (unfinished / "def.txt").write_text("torn")
    (store.staging / "batch_000001_x.tmp").write_text("torn")
    store.prepare()
    assert list(unfinished.iterdir()) == []
    assert [path.name for path in store.staging.iterdir()] == ["products"]
