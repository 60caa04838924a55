"""One file from one place to another, whatever happens on the way."""

import os

import pytest

from campaign.archive import copying
from campaign.archive.copying import Access, Pace, copy
from campaign.errors import ProductError, StorageError


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(os.urandom(3 * copying.BLOCK_BYTES + 17))
    os.utime(path, ns=(1_000, 123_456_789_000))
    return path


def test_what_arrives_is_what_was_sent(source, tmp_path):
    target = tmp_path / "target"
    digest = copy(source, target, None, Pace(None), Access())
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mtime_ns == source.stat().st_mtime_ns
    assert copy(source, tmp_path / "again", digest, Pace(None), Access()) == digest


def test_a_source_that_is_not_as_recorded_is_not_copied(source, tmp_path):
    (tmp_path / "target").write_text("what was there")
    with pytest.raises(ProductError, match="recorded with 000"):
        copy(source, tmp_path / "target", "0" * 64, Pace(None), Access())
    assert (tmp_path / "target").read_text() == "what was there"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_a_file_system_that_changes_what_is_written_is_found(source, tmp_path):
    """A bit flips in what has been written already, while more is."""

    def flip(_):
        for scratch in tmp_path.glob(".*.part"):
            if scratch.stat().st_size:
                with scratch.open("r+b") as file:
                    first = file.read(1)[0]
                    file.seek(0)
                    file.write(bytes([first ^ 1]))
                flipped.append(scratch)

    flipped = []
    with pytest.raises(StorageError, match="does not read as it was written"):
        copy(source, tmp_path / "target", None, Pace(1e12, lambda: 0.0, flip), Access())
    assert len(flipped) % 2 == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_pace_is_kept_by_all_together():
    now, slept = [0.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(100.0, lambda: now[0], sleep)
    for _ in range(11):
        pace.wait(50)
    assert now[0] == pytest.approx(5.0)
    assert sum(slept) == pytest.approx(5.0)
    Pace(None, lambda: now[0], sleep).wait(10**12)
    assert now[0] == pytest.approx(5.0)
