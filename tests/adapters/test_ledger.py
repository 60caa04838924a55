import sqlite3
import subprocess
import sys
from dataclasses import astuple

import numpy as np
import pytest

from campaign.adapters import ledger
from campaign.adapters.ledger import SqliteLedger
from campaign.core.lifecycle import Row
from campaign.core.model import Outcome, State
from campaign.errors import FormatError, StorageError
from campaign.ports import Commit
from tests.adapters.test_artifacts import make_record

COMMIT = Commit(42, "batches/000/batch_000042.zip", 2)
RECORDS = [make_record(0), make_record(1, Outcome.FAILED)]
ROWS = {0: Row(State.COMPLETED, 1, 42), 1: Row(State.FAILED, 1, 42, 1, 0)}


def as_rows(rows):
    return [(job, *astuple(row)) for job, row in rows.items()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "campaign.db"


@pytest.fixture
def book(path):
    book = SqliteLedger(path)
    yield book
    book.close()


def test_what_is_recorded_is_there_after_opening_again(book, path):
    book.record([(COMMIT, RECORDS)], as_rows(ROWS))
    book.put("flushed", "1")
    book.close()
    again = SqliteLedger(path)
    table = again.jobs(4)
    assert [table.row(j) for j in range(4)] == [ROWS[0], ROWS[1], Row(State.PENDING), Row(State.PENDING)]
    assert again.known_batches() == {42}
    assert again.batches_after(0) == [(1, 42)]
    assert again.has_attempt(1, 1)
    assert not again.has_attempt(1, 2)
    assert again.get("flushed") == "1"
    again.close()


def test_recording_twice_is_recording_once(book, path):
    for _ in range(2):
        book.record([(COMMIT, RECORDS)], as_rows(ROWS))
    assert book.batches_after(0) == [(1, 42)]
    book.close()
    assert len(ledger.view(path, 2).failures) == 1


def test_a_transaction_is_whole_or_not_at_all(book):
    with pytest.raises(sqlite3.ProgrammingError):
        book.record([(COMMIT, RECORDS)], [*as_rows({0: ROWS[0]}), "not a row"])
    assert book.known_batches() == set()
    assert book.jobs(2).row(0) == Row(State.PENDING)


def test_a_reader_sees_counts_and_failures(book, path):
    book.record([(COMMIT, RECORDS)], as_rows(ROWS))
    book.close()
    seen = ledger.view(path, 10)
    assert seen.counts[State.COMPLETED] == 1
    assert seen.counts[State.PENDING] == 8
    assert seen.mean_duration_s == 1.5
    assert [f["code"] for f in seen.failures] == ["generator.raised"]
    assert np.array_equal(ledger.states(path, 3), [State.COMPLETED, State.FAILED, State.PENDING])


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be one" * 100, b"SQLite format 3\x00" + b"\x00" * 5000]
)
def test_a_damaged_ledger_is_told(path, content):
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"damaged|unknown schema"):
        SqliteLedger(path).close()


def test_a_database_of_another_kind_is_refused(path):
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE something (x)")
    other.close()
    with pytest.raises(FormatError, match="unknown schema"):
        SqliteLedger(path)


def test_a_disk_that_is_full_is_told(book, monkeypatch):
    book._db.execute("PRAGMA max_page_count = 1")
    many = [make_record(n, Outcome.FAILED, name="x" * 500) for n in range(2000)]
    with pytest.raises(StorageError, match="full"):
        book.record([(COMMIT, many)], as_rows(dict.fromkeys(range(2000), ROWS[1])))


def test_a_ledger_that_is_damaged_inside_is_told(book, path):
    book.record(
        [(COMMIT, [make_record(n, Outcome.FAILED, name="x" * 200) for n in range(500)])],
        as_rows(dict.fromkeys(range(500), ROWS[1])),
    )
    book.close()
    data = bytearray(path.read_bytes())
    data[4096 * 2 : 4096 * 20] = b"\xa5" * (4096 * 18)
    path.write_bytes(data)
    with pytest.raises(FormatError, match="damaged"):
        SqliteLedger(path)


def test_a_reader_copes_with_what_a_killed_writer_left(tmp_path):
    """A hot journal must be rolled back before anything can be read."""
    path = tmp_path / "campaign.db"
    program = (
        "import os, sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path\n"
        "from campaign.adapters.ledger import SqliteLedger\n"
        f"book = SqliteLedger(Path({str(path)!r}))\n"
        "book.put('flushed', '7')\n"
        "db = book._db\n"
        "db.execute('PRAGMA cache_size = 1'); db.execute('BEGIN IMMEDIATE')\n"
        "db.executemany('INSERT INTO job VALUES (?, 3, 1, 0, 0, 0, 0, 0, 0, -1)', ((n,) for n in range(20000)))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=False)
    assert path.with_name("campaign.db-journal").stat().st_size > 0
    assert ledger.view(path, 10).counts[State.PENDING] == 10
    assert set(ledger.states(path, 10).tolist()) == {State.PENDING}
