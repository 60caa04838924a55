"""A campaign is copied out, checked, mended and brought back; what may go goes, and nothing else."""

import csv
import grp
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rocrate.rocrate import ROCrate

import campaign
from campaign import crashpoints, examine
from campaign.archive import Asked, archive, index, restore, verify
from campaign.cli import main
from campaign.errors import FormatError
from tests.conftest import wait_for
from tests.e2e.commands import QUICK
from tests.e2e.commands import campaign as command

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


@pytest.fixture
def typed(capsys):
    """What a command prints, and its exit code."""

    def run(*words):
        code = main([str(word) for word in words])
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


def yaml_of(directory):
    """The configuration of a campaign that lies there."""
    frozen = (directory / "metadata" / "campaign_config.yaml").read_text()
    return re.sub(r"base_path: .*", f"base_path: {directory.parent}", frozen)


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def flip(path, at=100):
    """Change a bit, and nothing that a look at the directory shows."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[at % len(content)] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture
def copied(ran, tmp_path):
    """The archive of a campaign of which one job of twelve has failed."""
    archive(ran, tmp_path / "out")
    return tmp_path / "out" / ran.name


def rows(root):
    with (root / index.ROWS).open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_archive_has_everything_and_says_so(ran, copied):
    products = {path for path in files(ran) if path.startswith("catalogs/")}
    listed = [row for row in rows(copied) if row["kind"] == "product"]
    assert {row["path"] for row in listed} == {row["source"] for row in listed} == products
    assert len(products) == 11
    by_name = {row["path"]: row for row in listed}
    one = by_name["catalogs/r0003/mock_z0.500.txt"]
    assert (one["realization"], one["redshift"], one["job"]) == ("3", "0.5", "r0003/mock_z0.500")
    dataset = campaign.open(ran, completed_only=False)
    cell = dataset.sel(realization=3, redshift=0.5)
    assert one["task_fingerprint"] == str(cell.task_fingerprint.values)
    assert one["sha256"] == str(cell.product_sha256.values)
    with zarr.storage.ZipStore(copied / "results.zarr.zip", mode="r") as store:
        xr.testing.assert_identical(xr.open_zarr(store).load(), xr.open_zarr(ran / "results.zarr").load())
    kinds = {row["kind"] for row in rows(copied)}
    assert kinds == {"product", "record", "metadata", "dataset", "report", "log", "archive"}
    assert not {"cache", "staging", "quarantine"} & {path.name for path in copied.iterdir()}
    assert not list((copied / "metadata").glob("*.lock"))
    assert verify(copied).sound


def test_other_programs_can_check_it(copied):
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=copied, check=True)


def test_a_partial_ensemble_is_labelled(ran, copied):
    lacking = (copied / index.LACKING).read_text().splitlines()
    assert lacking[1:] == [",r0001/mock_z0.500,failed,1,0.5"]
    text = (copied / index.README).read_text()
    assert "**Incomplete**: 11 of 12 jobs have completed; 5 of 6 members are whole" in text
    assert "campaign archive --verify ." in text
    head = index.read_head(copied)
    assert (head["complete"], head["counts"]) == (False, {"completed": 11, "failed": 1})


def test_catalogues_of_data_read_its_metadata(ran, tmp_path, typed):
    path = tmp_path / "mine.yaml"
    frozen = yaml_of(ran)
    path.write_text(
        frozen.replace("archive:\n  authors: []", "archive:\n  license: CC-BY-4.0\n  authors: [{name: A. Person}]")
    )
    assert "CC-BY" in path.read_text()
    assert typed("archive", path, tmp_path / "out")[0] == 0
    root = ROCrate(tmp_path / "out" / ran.name).root_dataset
    assert root["license"].id == "https://spdx.org/licenses/CC-BY-4.0"
    assert [author["name"] for author in root["author"]] == ["A. Person"]
    assert "Incomplete: 11 of 12" in root["description"]
    parts = {part.id for part in root["hasPart"]}
    assert {"manifest.csv", "results.zarr.zip", "INCOMPLETE.csv", "catalogs/", "batches/"} <= parts
    (run,) = root["mentions"]
    assert {"campaign", "numpy"} <= {software["name"] for software in run["instrument"]}
    assert [result.id for result in run["result"]] == ["catalogs/", "batches/"]
    assert "CC-BY-4.0" in (tmp_path / "out" / ran.name / "README.md").read_text()


def test_what_is_there_is_not_copied_again(ran, copied, tmp_path, typed):
    before = {path: (copied / path).stat().st_ino for path in files(copied) if path not in index.OWN}
    code, out = typed("archive", ran, tmp_path / "out")
    assert code == 0
    assert "0 files copied" in out
    assert {path: (copied / path).stat().st_ino for path in before} == before


def test_an_archive_that_was_cut_off_goes_on(ran, tmp_path):
    whole = archive(ran, tmp_path / "whole")
    for point in ("archive.copied:1", "archive.copied:7", "archive.copied:19", "archive.described"):
        out = tmp_path / point.replace(":", "_")
        words = [sys.executable, "-m", "campaign", "archive", str(ran), str(out), "--threads", "1"]
        done = subprocess.run(words, env={**os.environ, crashpoints.VARIABLE: point}, check=False)
        assert done.returncode == -9
        assert typed_words("archive", "--verify", str(out / ran.name))[0] in (2, 6)
        code, said = typed_words(*words[3:])
        assert code == 0, said
        kept = int(said.split("; ")[1].split()[0])
        assert kept >= int(point.partition(":")[2] or whole.copied) - 1
        assert verify(out / ran.name).sound
        mine, theirs = files(out / ran.name), files(tmp_path / "whole" / ran.name)
        dated = {index.HEAD, index.README, index.CRATE, index.ROWS, index.SUMS}
        assert {p: c for p, c in mine.items() if p not in dated} == {p: c for p, c in theirs.items() if p not in dated}


def typed_words(*words):
    done = subprocess.run([sys.executable, "-m", "campaign", *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_file_is_damaged_is_found_and_mended(ran, copied, tmp_path, data):
    path = data.draw(st.sampled_from(sorted(set(files(copied)) - {index.LOCK})))
    how = data.draw(st.sampled_from(["flipped", "cut", "gone"]))
    victim = copied / path
    if not victim.stat().st_size:
        victim.write_text("no longer empty")
    elif how == "flipped":
        flip(victim, data.draw(st.integers(0, victim.stat().st_size - 1)))
    elif how == "cut":
        victim.write_bytes(victim.read_bytes()[:-1])
    else:
        victim.unlink()
    code, said = typed_words("archive", "--verify", str(copied))
    assert code == 6, (path, how, said)
    assert path in said or path == index.SUMS  # a line of that may speak of another file
    archive(ran, tmp_path / "out", Asked(checksum=True))
    assert verify(copied).sound


def test_a_file_that_nobody_wrote_down_is_found(copied, typed):
    (copied / "catalogs" / "mine.txt").write_text("x")
    code, out = typed("archive", "--verify", copied)
    assert code == 6
    assert "catalogs/mine.txt: nobody has written it down" in out
    assert json.loads(typed("archive", "--verify", copied, "--json")[1])["unexpected"] == ["catalogs/mine.txt"]


def test_products_are_ordered_as_one_likes(ran, tmp_path, typed):
    assert typed("archive", ran, tmp_path / "out", "--by", "redshift")[0] == 0
    root = tmp_path / "out" / ran.name
    assert {path.name for path in (root / "catalogs").iterdir()} == {"z0.500", "z1.000"}
    assert (root / "catalogs/z0.500/r0003/mock_z0.500.txt").exists()
    code, out = typed("archive", ran, tmp_path / "out")
    assert code == 2
    assert "--by redshift" in out
    assert typed("archive", ran, tmp_path / "other", "--by", "color")[0] == 2
    restored = restore(root, tmp_path / "back")
    catalogs = files(ran / "catalogs")
    assert files(Path(restored.directory) / "catalogs") == catalogs
    assert typed("archive", ran, tmp_path / "third", "--by", "realization")[0] == 0
    assert files(tmp_path / "third" / ran.name / "catalogs") == catalogs  # named so already


def test_a_group_may_read_it_and_nobody_else(ran, tmp_path, typed):
    if os.geteuid() != 0:
        pytest.skip("needs a group beside one's own")
    other = next(group for group in grp.getgrall() if group.gr_gid not in (0, os.getgid()))
    archive(ran, tmp_path / "out")  # first without
    assert typed("archive", ran, tmp_path / "out", "--group", other.gr_name)[0] == 0
    root = tmp_path / "out" / ran.name
    for path in (root, *root.rglob("*")):
        status = path.stat()
        assert status.st_gid == other.gr_gid
        assert status.st_mode & 0o7777 == (0o2750 if path.is_dir() else 0o640), path
    assert typed("archive", ran, tmp_path / "other", "--group", "no_such_group")[0] == 2


def test_a_spoilt_product_is_not_copied_and_a_good_copy_is_kept(ran, copied, tmp_path, typed):
    victim = ran / "catalogs/r0003/mock_z0.500.txt"
    good = (copied / "catalogs/r0003/mock_z0.500.txt").read_bytes()
    victim.write_text("spoilt")
    code, out = typed("archive", ran, tmp_path / "out")
    assert code == 0, out
    assert (copied / "catalogs/r0003/mock_z0.500.txt").read_bytes() == good
    code, out = typed("archive", ran, tmp_path / "other")
    assert code == 6
    assert "catalogs/r0003/mock_z0.500.txt" in out
    assert "verify" in out
    assert not (tmp_path / "other" / ran.name / "catalogs/r0003/mock_z0.500.txt").exists()
    assert "1 files could not be copied" in (tmp_path / "other" / ran.name / "README.md").read_text()
    assert verify(tmp_path / "other" / ran.name).sound


def test_files_that_are_called_like_ours_stay_apart(ran, tmp_path):
    (ran / "README.md").write_text("notes")
    (ran / "results.zarr.zip").write_text("no zip")
    archive(ran, tmp_path / "out")
    root = tmp_path / "out" / ran.name
    assert verify(root).sound
    assert (root / "files" / "README.md").read_text() == "notes"
    back = Path(restore(root, tmp_path / "back").directory)
    assert ((back / "README.md").read_text(), (back / "results.zarr.zip").read_text()) == ("notes", "no zip")


def test_names_with_ends_of_lines_are_names(ran, tmp_path):
    odd = ran / "qa" / "new\nline\\ and\rmore.txt"
    odd.write_text("x")
    archive(ran, tmp_path / "out")
    root = tmp_path / "out" / ran.name
    assert verify(root).sound
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=root, check=True)
    assert (Path(restore(root, tmp_path / "back").directory) / odd.relative_to(ran)).read_text() == "x"


def test_an_archive_is_no_campaign(copied, tmp_path, typed):
    before = files(copied)
    for words in (
        ("prune", copied, "--set", "cleanup.orphans=true", "--remove"), ("run", copied, *QUICK), ("archive", copied, tmp_path / "more"),
    ):  # fmt: skip
        code, out = typed(*words)
        assert code == 2, out
        assert "campaign restore" in out
    assert files(copied) == before


def test_a_line_that_is_taken_out_is_missed(copied, typed):
    lines = (copied / index.SUMS).read_text().splitlines(keepends=True)
    victim = next(line for line in lines if "catalogs/" in line)
    (copied / index.SUMS).write_text("".join(line for line in lines if line != victim))
    (copied / victim.split("  ")[1].strip()).unlink()
    code, out = typed("archive", "--verify", copied)
    assert code == 6
    assert "say different things" in out
    for kept, words in ((lines[:-1], "its end is gone"), ([*lines[:-1], lines[-1][:-1]], "is none")):
        (copied / index.SUMS).write_text("".join(kept))
        code, out = typed("archive", "--verify", copied)
        assert code == 6
        assert words in out
    (copied / index.SUMS).unlink()
    code, out = typed("archive", "--verify", copied)
    assert code == 6
    assert "SHA256SUMS is gone" in out


def test_what_a_campaign_loses_stays_in_its_archive_and_comes_back(ran, copied, tmp_path, typed):
    batch, log = next((ran / "batches").rglob("*.zip")), next((ran / "logs").glob("*.jsonl"))
    kept = {path.relative_to(ran): path.read_bytes() for path in (batch, log)}
    lost = campaign.audit(ran).counts["completed"]
    for path in (batch, log):
        path.unlink()
    code, out = typed("archive", ran, tmp_path / "out")
    assert code == 0
    assert "1 files stay there" in out
    assert verify(copied).sound
    assert {path: (copied / path).read_bytes() for path in kept} == kept
    assert index.read_head(copied)["counts"]["completed"] == lost
    assert typed("restore", copied, ran.parent)[0] == 0
    assert batch.read_bytes() == kept[batch.relative_to(ran)]
    assert campaign.audit(ran).counts["completed"] == lost


def test_a_campaign_that_has_gone_another_way_is_not_mixed_in(ran, copied, tmp_path, typed, run_again):
    branch = Path(restore(copied, tmp_path / "branch").directory)
    for directory in (ran, branch):
        run_again(
            directory,
            "science.realizations=7",
            "execution.order=shuffled" if directory == ran else "execution.order=realization_major",
        )
    archive(ran, tmp_path / "out")
    code, out = typed("archive", branch, tmp_path / "out")
    assert code == 2, out
    assert "gone another way" in out
    code, out = typed("restore", copied, tmp_path / "branch")
    assert code == 2
    assert "gone another way" in out
    assert archive(ran, tmp_path / "out").copied <= 3  # the report of the latest run, and its events
    assert verify(copied).sound


def test_a_damaged_batch_is_told(ran, tmp_path, typed):
    flip(next((ran / "batches").rglob("*.zip")), 300)
    code, out = typed("archive", ran, tmp_path / "out")
    assert code == 6
    assert "not copied: batches/" in out
    assert verify(tmp_path / "out" / ran.name).sound


def test_a_campaign_that_has_not_begun_can_be_copied(ran, tmp_path, typed):
    shutil.rmtree(ran / "batches")
    assert typed("archive", ran, tmp_path / "out")[0] == 0
    assert "0 of 12 jobs have completed" in (tmp_path / "out" / ran.name / "README.md").read_text()


def test_one_copies_at_a_time_and_scraps_go(ran, copied, tmp_path, typed):
    from campaign.adapters.lock import CampaignLock

    scrap = copied / "catalogs" / ".123.456.part"
    scrap.write_text("half")
    assert json.loads(typed("archive", "--verify", copied, "--json")[1])["unexpected"] == ["catalogs/.123.456.part"]
    lock = CampaignLock(copied, index.LOCK)
    try:
        code, out = typed("archive", ran, tmp_path / "out")
    finally:
        lock.release()
    assert code == 5
    assert "copies to" in out
    assert typed("archive", ran, tmp_path / "out")[0] == 0
    assert not scrap.exists()
    assert verify(copied).sound


def test_what_can_t_be_read_is_left_out_and_what_can_t_be_written_is_told(ran, tmp_path, typed, caplog):
    """A directory in the place of a file is as unreadable as a file of somebody else, to everybody."""
    victim = ran / "catalogs/r0003/mock_z0.500.txt"
    victim.unlink()
    victim.mkdir()
    (ran / "metadata" / "archives.json").mkdir()
    code, out = typed("archive", ran, tmp_path / "out")
    assert code == 6, out
    assert "r0003/mock_z0.500.txt can't be read" in out
    assert "does not say that it was copied" in caplog.text
    assert verify(tmp_path / "out" / ran.name).sound


def test_wrong_places_are_refused(ran, tmp_path, typed):
    for place, words in ((ran.parent, "lie in each other"), (ran / "out", "lie in each other")):
        code, out = typed("archive", ran, place)
        assert (code, words in out) == (2, True), out
    taken = tmp_path / "taken" / ran.name
    taken.mkdir(parents=True)
    (taken / "file").write_text("x")
    assert "is no archive" in typed("archive", ran, tmp_path / "taken")[1]
    assert typed("archive", ran)[0] == 2
    assert typed("archive", "--verify", ran)[0] == 2
    assert typed("archive", "--verify", ran, tmp_path)[0] == 2
    assert typed("restore", tmp_path, tmp_path / "back")[0] == 2
    for limit in ("0", "many", "-1 MB"):
        with pytest.raises(SystemExit):
            typed("archive", ran, tmp_path / "o", "--limit", limit)


def test_the_archive_of_another_campaign_of_this_name_is_left_alone(ran, copied, tmp_path, typed):
    head = index.read_head(copied)
    index.write_head(copied, {**head, "begun": "2001-01-01T00:00:00+00:00", "finished": None})
    code, out = typed("archive", ran, tmp_path / "out")
    assert code == 2
    assert "another campaign of this name" in out
    other = json.loads((ran / "metadata" / "manifest.json").read_text()) | {"created": "2001-01-01T00:00:00+00:00"}
    (ran / "metadata" / "manifest.json").write_text(json.dumps(other))
    archive(ran, tmp_path / "other")
    shutil.move(ran, tmp_path / "gone")
    restore(tmp_path / "other" / ran.name, ran.parent)
    index.write_head(copied, head)
    code, out = typed("restore", copied, ran.parent)
    assert code == 2
    assert "another campaign" in out


def test_a_manifest_that_leads_outside_is_refused(copied, tmp_path):
    entries = list(index.read_entries(copied))
    for path, source in (("../../evil", "catalogs/a.txt"), ("catalogs/a.txt", "/etc/evil"), ("a.txt", "../b")):
        writer = index.Writer(copied, ["realization", "redshift"])
        for entry in entries:
            writer.add(entry)
        writer.add(index.Entry(path, 1, "0" * 64, "product", source))
        writer.close()
        with pytest.raises(FormatError, match="leaves the archive"):
            restore(copied, tmp_path / "back")
        assert not (tmp_path / "evil").exists()


def test_a_head_that_leads_outside_is_refused(ran, copied, tmp_path, typed):
    head = index.read_head(copied)
    for name in ("../evil", "a/b", "..", "", 7):
        index.write_head(copied, {**head, "campaign": name})
        code, out = typed("restore", copied, tmp_path / "back")
        assert code == 1
        assert "leaves the directory" in out
    index.write_head(copied, {**head, "campaign": "v1.0_else"})
    code, out = typed("restore", copied, tmp_path / "back")
    assert code == 1
    assert "archive.json is not what was written" in out
    index.write_head(copied, head)
    taken = tmp_path / "back" / ran.name
    taken.mkdir(parents=True)
    (taken / "mine.txt").write_text("x")
    code, out = typed("restore", copied, tmp_path / "back")
    assert code == 2
    assert "holds no campaign" in out
    assert typed("restore", copied, copied / "inside")[0] == 2


def test_a_dry_run_tells_and_writes_nothing(ran, tmp_path, typed):
    code, out = typed("archive", ran, tmp_path / "out", "--dry-run")
    assert code == 0
    assert "incomplete: 1 jobs" in out
    assert not (tmp_path / "out").exists()
    told = json.loads(typed("archive", ran, tmp_path / "out", "--dry-run", "--json")[1])
    done = json.loads(typed("archive", ran, tmp_path / "out", "--json")[1])
    assert told["files"] + 1 == done["copied"]  # and the dataset


def test_a_restored_campaign_is_the_campaign(ran, copied, tmp_path, run_again):
    done = restore(copied, tmp_path / "back")
    back = Path(done.directory)
    examine.consolidate(back)
    assert campaign.audit(back, hashed=True).counts == campaign.audit(ran).counts
    xr.testing.assert_identical(campaign.open(back).load(), campaign.open(ran).load())
    assert files(back / "catalogs") == files(ran / "catalogs")
    assert run_again(back).completed_now == 0
    grown = run_again(back, "science.realizations=8")
    assert (grown.completed_now, grown.counts["completed"]) == (4, 15)
    assert campaign.audit(back, hashed=True).sound


def test_a_damaged_archive_is_not_restored_and_a_mended_one_goes_on(ran, copied, tmp_path, typed):
    flip(copied / "catalogs/r0003/mock_z0.500.txt")
    code, out = typed("restore", copied, tmp_path / "back")
    assert code == 1
    assert "r0003/mock_z0.500.txt is not what was written" in out
    assert not (tmp_path / "back" / ran.name / "metadata" / "manifest.json").exists()
    archive(ran, tmp_path / "out", Asked(checksum=True))
    code, out = typed("restore", copied, tmp_path / "back")
    assert code == 0, out
    assert "0 were there" not in out
    assert campaign.audit(tmp_path / "back" / ran.name, hashed=True).sound


def test_what_a_campaign_makes_later_is_added(ran, copied, tmp_path, run_again):
    run_again(ran, "science.realizations=7")
    done = archive(ran, tmp_path / "out")
    assert done.copied < 20
    assert len([row for row in rows(copied) if row["kind"] == "product"]) == 13
    assert verify(copied).sound


def test_products_in_an_archive_may_go_and_come_back(ran, copied, tmp_path, typed, run_again):
    setting = ("--set", "cleanup.archived_products=true")
    code, out = typed("prune", ran, *setting)
    assert code == 0
    assert "may go: 11 product" in out
    assert "nothing was changed" in out
    kept = files(ran / "catalogs")
    flip(copied / "catalogs/r0003/mock_z0.500.txt")
    code, out = typed("prune", ran, *setting, "--remove")
    assert "removed: 10 product" in out
    assert "r0003/mock_z0.500.txt is not the same" in out
    assert set(files(ran / "catalogs")) == {"r0003/mock_z0.500.txt"}
    assert campaign.audit(ran).sound
    assert typed("verify", ran)[0] == 0
    assert run_again(ran).completed_now == 0
    lost = copied / "catalogs/r0004/mock_z0.500.txt"
    lost.rename(tmp_path / "lost")
    code, out = typed("verify", ran)
    assert code == 6
    assert "it was left in an archive, and there it is gone" in out
    (tmp_path / "lost").rename(lost)
    archive(ran, tmp_path / "second")  # from what the first holds
    assert verify(tmp_path / "second" / ran.name).sound
    archive(ran, tmp_path / "out", Asked(checksum=True))
    assert restore(copied, ran.parent).files == 10
    assert files(ran / "catalogs") == kept


def test_what_a_killed_run_has_made_is_no_orphan(scripted_yaml, tmp_path, typed):
    path = scripted_yaml(realizations="6", options="{seconds: 0.1}", batch_size=50)
    directory = tmp_path / "campaigns" / "v1.0_scripted"
    run = subprocess.Popen(
        [sys.executable, "-m", "campaign.run", path, *QUICK], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: len(list((directory / "catalogs").rglob("*.txt"))) > 3)
    run.kill()
    run.wait()
    wait_for(lambda: not campaign_is_at_work(directory))
    made = files(directory / "catalogs")
    setting = ("--set", "cleanup.orphans=true")
    assert "a run was broken off" in typed("prune", directory, *setting)[1]
    code, out = typed("prune", directory, *setting, "--remove")
    assert code == 0
    assert "orphan" not in out
    assert files(directory / "catalogs").keys() >= made.keys()
    assert campaign.audit(directory, hashed=True).sound


def campaign_is_at_work(directory):
    """Whether any process has something open below a directory."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(link.readlink()).startswith(str(directory)):
                return True
        except OSError:
            continue
    return False


def test_orphans_stay_where_records_can_t_be_read(ran, typed):
    flip(next((ran / "batches").rglob("*.zip")), 300)
    before = files(ran / "catalogs")
    code, out = typed("prune", ran, "--set", "cleanup.orphans=true")
    assert code == 0
    assert "may go: 1 orphan" not in out
    assert "kept: products: batches/" in out
    assert files(ran / "catalogs") == before


def test_products_stay_while_a_stage_is_declared_that_has_not_run(ran, copied, tmp_path, typed):
    path = tmp_path / "mine.yaml"
    frozen = yaml_of(ran)
    (tmp_path / "study.py").write_text("def shifted(product, target): ...")
    stage = f"stages: {{shifted: {{apply: products, call: study.py:shifted, suffix: .txt, returns: {{x: {{}}}}, here: {tmp_path}}}}}"
    path.write_text(frozen.replace("stages: {}", stage))
    code, out = typed("prune", path, "--set", "cleanup.archived_products=true")
    assert code == 0, out
    assert "declared otherwise" in out
    assert "may go: 11" not in out


def test_scraps_go_by_age_and_orphans_where_asked(ran, typed):
    orphan, old = ran / "catalogs" / "r0000" / "stray.txt", ran / "quarantine" / "old.txt"
    young = ran / "quarantine" / "young.txt"
    old.parent.mkdir(exist_ok=True)
    for path in (orphan, old, young):
        path.write_text("x")
    os.utime(old, (0, 0))
    told = json.loads(
        typed("prune", ran, "--json", "--set", "cleanup.quarantine_days=30", "--set", "cleanup.orphans=true")[1]
    )
    assert {(one["kind"], Path(one["path"]).name) for one in told["may_go"]} == {
        ("orphan", "stray.txt"),
        ("quarantine", "old.txt"),
    }
    before = files(ran)
    typed("prune", ran, "--remove", "--set", "cleanup.quarantine_days=30", "--set", "cleanup.orphans=true")
    gone = {path for path in set(before) - set(files(ran)) if not path.startswith("staging/")}
    assert gone == {"catalogs/r0000/stray.txt", "quarantine/old.txt"}
    assert campaign.audit(ran, hashed=True).sound


def test_files_that_the_centre_will_remove_are_told(ran, typed):
    for path in ran.rglob("*"):
        if path.is_file():
            os.utime(path, (1_000_000_000, 1_000_000_000))
    code, out = typed("prune", ran, "--set", "cleanup.purge_days=56")
    assert code == 0
    assert "the first on 2001-11-04" in out
    assert "campaign archive" in out
    for path in ran.rglob("*"):
        if path.is_file():
            os.utime(path)
    assert "the centre" not in typed("prune", ran, "--set", "cleanup.purge_days=56")[1]


def test_nothing_is_pruned_while_the_campaign_runs(ran, typed):
    from campaign.adapters.lock import CampaignLock

    lock = CampaignLock(ran / "metadata")
    try:
        assert typed("prune", ran, "--remove")[0] == 5
    finally:
        lock.release()


def test_versions_stand_side_by_side(ran, tmp_path, typed):
    archive(ran, tmp_path / "out")
    other = tmp_path / "campaigns" / "v1.10_scripted"
    shutil.copytree(ran, other)
    manifest = json.loads((other / "metadata" / "manifest.json").read_text())
    manifest |= {"version": "v1.10", "generator_version": "9"}
    manifest["configuration"]["science"]["seed"] = 7
    manifest["configuration"]["execution"]["max_retries"] = 9
    (other / "metadata" / "manifest.json").write_text(json.dumps(manifest))
    code, out = typed("versions", tmp_path / "campaigns")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("v1.0 scripted")
    assert "12 jobs: 11 completed, 1 failed" in lines[1]
    assert lines[2].startswith("v1.10 scripted")
    changes = [line.strip() for line in lines[4:]]
    assert changes == ["changed: generator_version: '1' -> '9'", "changed: science.seed: 0 -> 7"]
    (archived,) = json.loads(typed("versions", tmp_path / "out", "--json")[1])
    assert (archived["archived"], archived["counts"]["completed"]) == (True, 11)
    assert typed("versions", tmp_path / "nothing")[0] == 2


@pytest.mark.slow
def test_the_quickstart_s_campaign_is_handed_on(tmp_path, monkeypatch, compiled):
    pytest.importorskip("diffsky")
    monkeypatch.chdir(tmp_path)
    compiled(tmp_path / "campaigns" / "v1.0_quickstart")
    command("run", str(QUICKSTART), *QUICK, "--set", "science.realizations=3")
    home, root = Path("campaigns/v1.0_quickstart"), Path("out/v1.0_quickstart")
    command("archive", str(home), "out")
    catalogs = sorted(path for path in (root / "catalogs").rglob("*.hdf5"))
    flip(catalogs[0])
    catalogs[1].write_bytes(catalogs[1].read_bytes()[:1000])
    catalogs[2].unlink()
    out, _ = command("archive", "--verify", str(root), "--json", code=6)
    assert {entry["path"] for entry in json.loads(out)["damaged"]} == {
        str(path.relative_to(root)) for path in catalogs[:3]
    }
    command("archive", str(home), "out", "--checksum")
    command("archive", "--verify", str(root))
    command("restore", str(root), "back")
    out, _ = command("run", "back/v1.0_quickstart", *QUICK, "--set", "science.realizations=4", "--json")
    assert json.loads(out)["counts"] == {"completed": 12}
    for path in (home / "catalogs").rglob("*.hdf5"):
        assert path.read_bytes() == (Path("back") / path.relative_to("campaigns")).read_bytes()
