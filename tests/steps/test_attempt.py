import pytest

from campaign.attempt import run_attempt
from campaign.core.model import Outcome, Record
from campaign.generators import find
from campaign.wire import decode, encode


@pytest.fixture
def attempt(scripted_plan, tmp_path, clock):
    """Runs one attempt at the first job with the outcome that the script says."""

    def go(outcome="ok", n=1):
        plan = scripted_plan(options=f"{{script: {{r0000/mock_z0.500: [{outcome}]}}}}")
        return run_attempt(plan.task(0, n, 0), find("scripted"), tmp_path, clock), tmp_path / plan.product(0)

    return go


def test_a_good_attempt_leaves_a_verified_product_and_a_record(attempt):
    record, product = attempt()
    assert record.outcome is Outcome.COMPLETED
    assert record.products[0].path == "catalogs/r0000/mock_z0.500.txt"
    assert record.products[0].size_bytes == product.stat().st_size
    assert set(record.phases_s) == {"prepare", "act", "verify"}
    assert len(record.measurements["spectrum"]) == 4
    assert [p.name for p in product.parent.iterdir()] == [product.name]


@pytest.mark.parametrize(
    ("script", "outcome", "code", "phase", "transient", "blames"),
    [
        ("raise", "failed", "generator.raised", "act", True, True),
        ("fatal", "failed", "input.not_finite", "act", False, True),
        ("missing_input", "missing_input", "input.missing", "act", False, True),
        ("garbage", "failed", "product.invalid", "verify", True, True),
        ("no_product", "failed", "product.invalid", "act", True, True),
        ("wrong_shape", "failed", "product.invalid", "act", False, True),
        ("full_disk", "failed", "storage.full", "act", True, False),
        ("unreadable", "failed", "generator.raised", "act", True, True),
        ("too_large", "failed", "product.invalid", "act", False, True),
        ("text", "failed", "product.invalid", "act", False, True),
        ("complex", "failed", "product.invalid", "act", False, True),
    ],
)
def test_whatever_goes_wrong_is_in_the_record(attempt, tmp_path, script, outcome, code, phase, transient, blames):
    record, product = attempt(script)
    assert record.outcome == outcome
    assert (record.failure.code, record.failure.phase) == (code, phase)
    assert (record.failure.transient, record.failure.blames_job) == (transient, blames)
    assert "Traceback" in record.failure.traceback
    assert not product.exists()
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix == ".txt"] == []


def test_what_is_not_finite_is_missing_in_the_record(attempt):
    record, _ = attempt("nan")
    assert record.measurements["mean"] is None
    assert record.measurements["spectrum"] == [1.0, None, 3.0, 4.0]
    assert b"NaN" not in encode(record)


def test_records_survive_json(attempt):
    for script in ("ok", "raise", "nan"):
        record, _ = attempt(script)
        assert decode(encode(record), Record) == record


def test_a_second_finisher_is_noticed_and_changes_nothing(attempt):
    first, product = attempt()
    before = product.stat()
    second, _ = attempt(n=2)
    assert second.outcome is Outcome.COMPLETED
    assert second.notes == ("the same product was already there",)
    assert second.products == first.products
    assert product.stat().st_ino == before.st_ino


def test_an_orphan_with_other_content_is_kept_for_a_person(attempt, tmp_path):
    _, product = attempt()
    good = product.read_text()
    product.write_text("left by something else")
    record, _ = attempt(n=2)
    assert record.notes == ("replaced an orphaned product with other content",)
    assert product.read_text() == good
    kept = {p.suffix: p.read_text() for p in (tmp_path / "quarantine").iterdir() if ".reason" not in p.name}
    assert kept == {".txt": "left by something else"}
    assert any(".reason" in p.name for p in (tmp_path / "quarantine").iterdir())
