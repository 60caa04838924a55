"""Batch jobs: submitted, chained, shared by an array, provisioned by the queue; and what SLURM says about them."""

import json
import subprocess
import sys

import pytest

import campaign
from tests.conftest import wait_for
from tests.slurm.conftest import Study


def command(*arguments, cwd=None, timeout=200):
    done = subprocess.run(
        [sys.executable, "-m", "campaign", *map(str, arguments)],
        capture_output=True, text=True, timeout=timeout, check=False, cwd=cwd,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def finished(slurm):
    return lambda: not slurm.type("squeue", "-h")


@pytest.fixture
def hostile(tmp_path):
    """A campaign in a directory whose name has what shells and SLURM take for themselves."""
    root = tmp_path / "it's a $HOME (of 1)"
    root.mkdir()
    return Study(root)


def test_what_would_be_submitted_is_shown_and_nothing_is_done(slurm, study):
    study.write(slurm="{nodes: 2, walltime: '00:05:00'}")
    code, out, _ = command("submit", study.yaml, "--dry-run", "--chain", "7", "--", "--comment=mine", "--qos=x")
    assert code == 0
    assert "#SBATCH --nodes=2" in out
    assert "#SBATCH --comment=mine\n#SBATCH --qos=x" in out
    assert "--chain 7" in out
    assert not study.directory.exists()
    assert slurm.type("squeue", "-h") == ""


def test_a_batch_job_runs_the_campaign_wherever_it_lies(slurm, hostile):
    hostile.write(realizations=3, slurm="{nodes: 2, walltime: '00:05:00'}")
    code, out, err = command("submit", hostile.yaml, "--wait", cwd=hostile.root)
    assert code == 0, out + err
    assert "9 of 9 completed" in out
    assert hostile.states() == {"completed": 9}
    assert sorted(path.name for path in (hostile.directory / "logs").glob("batch_0000*"))[1:] != []
    code, out, _ = command("submit", hostile.yaml, "--wait", "--json", cwd=hostile.root)
    assert code == 0
    assert json.loads(out)["counts"] == {"completed": 9}


def test_a_job_that_ends_since_there_are_enough_has_ended_well(slurm, study):
    study.write(realizations=12, seconds=0.2, resources="{slots: 1}", slurm="{nodes: 1, walltime: '00:05:00'}")
    code, out, err = command("submit", study.yaml, "--wait", "--set", "execution.enough={realizations: 2}")
    assert code == 0, out + err
    assert study.states()["pending"] > 0


def test_options_that_slurm_refuses_are_told_in_its_words(slurm, study):
    study.write()
    code, _, err = command("submit", study.yaml, "--", "--partition=nowhere")
    assert code == 2
    assert "invalid partition" in err


def test_a_campaign_in_the_queue_is_not_submitted_again_and_status_shows_it(slurm, study):
    study.write(realizations=8, seconds=2.0, slurm="{nodes: 1, walltime: '00:05:00'}")
    assert command("submit", study.yaml)[0] == 0
    code, _, err = command("submit", study.yaml)
    assert code == 2
    assert "in the queue already" in err
    assert "scancel" in err
    wait_for(lambda: len(study.attempts()) > 0)
    _, out, _ = command("status", study.yaml)
    assert "slurm: job" in out
    assert "running" in out
    _, out, _ = command("status", study.yaml, "--json")
    (job,) = json.loads(out)["queue"]
    assert job["state"] == "RUNNING"


def test_a_chain_hands_a_campaign_on_until_it_is_complete(slurm, study):
    """Two allocations of a minute for what takes longer than one; the second one's successor is taken back."""
    study.write(realizations=12, seconds=6.0, resources="{slots: 4}", slurm="{nodes: 1, walltime: '1'}")
    code, out, err = command("submit", study.yaml, "--chain", "5", "--wait", timeout=280)
    assert code == 0, out + err
    assert study.states() == {"completed": 36}
    links = json.loads((study.directory / "metadata" / "chain.json").read_text())["links"]
    assert 2 <= len(links) <= 3
    assert [link["left"] for link in links] == list(range(5, 5 - len(links), -1))
    assert len(study.attempts()) == 36, "a job ran twice"
    errors = "".join(path.read_text() for path in sorted((study.directory / "logs").glob("batch_*.err")))
    assert "is not needed any more" in errors
    assert "no job is started that would not end before" in errors
    assert "the allocation ends:" not in errors, "a job was stopped"


def test_a_chain_that_gets_nothing_done_ends(slurm, study):
    study.write(realizations=1, slot_fails=True, slurm="{nodes: 1, walltime: '5'}")
    code, out, _ = command("submit", study.yaml, "--chain", "50", "--wait", timeout=280)
    assert code == 3, out
    links = json.loads((study.directory / "metadata" / "chain.json").read_text())["links"]
    assert len(links) == 3
    errors = "".join(path.read_text() for path in (study.directory / "logs").glob("batch_*.err"))
    assert "the last 2 allocations ended no job" in errors


def test_allocations_of_an_array_share_a_campaign(slurm, study):
    study.write(realizations=12, seconds=0.5, slurm="{nodes: 1, walltime: '5'}")
    code, out, err = command("submit", study.yaml, "--array", "3", "--wait")
    assert code == 0, out + err
    assert study.states() == {"completed": 36}
    assert sorted(name for name, _ in study.attempts()) == sorted({name for name, _ in study.attempts()})
    assert len({rank["node"] for rank in study.ranks()}) == 3
    assert list((study.directory / "staging").glob("*.zip")) == []


def test_a_task_of_an_array_that_dies_is_made_good_by_the_next_run(slurm, study):
    study.write(realizations=12, seconds=1.0, slurm="{nodes: 1, walltime: '5'}")
    assert command("submit", study.yaml, "--array", "2")[0] == 0
    wait_for(lambda: len(study.attempts()) > 6)
    slurm.type("scancel", "--signal=KILL", "--full", slurm.type("squeue", "-h", "-o", "%i").split()[0])
    wait_for(finished(slurm), 120)
    code, _, err = study.run(*slurm.salloc("-N1"))
    assert code == 0, err
    assert study.states() == {"completed": 36}


def test_the_queue_brings_workers_and_replaces_those_that_are_cancelled(slurm, study):
    study.write(realizations=10, seconds=1.0, resources="{cluster: provisioned}",
                slurm="{nodes: 2, cpus_per_node: 4, walltime: '00:05:00'}")  # fmt: skip
    process = study.start()
    wait_for(lambda: len(study.attempts()) > 4)
    slurm.type("scancel", slurm.type("squeue", "-h", "-t", "R", "-o", "%A").split()[0])
    _, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    assert study.states() == {"completed": 30}
    wait_for(finished(slurm))


def test_ranks_of_a_provisioned_node(slurm, study):
    study.write(realizations=2, resources="{cluster: provisioned, ranks_per_job: 4}",
                slurm="{nodes: 1, cpus_per_node: 4, walltime: '00:05:00'}")  # fmt: skip
    code, _, err = study.run()
    assert code == 0, err
    assert {rank["size"] for rank in study.ranks()} == {4}


def test_the_five_calls_of_the_manager(slurm, study, monkeypatch):
    monkeypatch.chdir(study.root)
    study.write(realizations=2, slurm="{nodes: 1, walltime: '5'}", script={"r0001/mock_z1.000": ["fatal", "ok"]})
    manager = campaign.CampaignManager(chain=2)
    report = manager.validate_configuration(study.yaml)
    assert (report.valid, report.jobs, report.problems) == (True, 6, ())
    wrong = study.root / "wrong.yaml"
    wrong.write_text(study.yaml.read_text().replace("batch_size", "batch_sise"))
    report = manager.validate_configuration(wrong)
    assert not report.valid
    assert report.problems[0].suggestion == "batch_size"
    identity = manager.submit_campaign(study.yaml)
    assert identity == str(study.directory)
    wait_for(finished(slurm), 120)
    progress = manager.monitor_progress(identity)
    assert progress.counts == {"completed": 5, "failed": 1}
    assert progress.failed_fraction == pytest.approx(1 / 6)
    estimate = manager.estimate_resources(study.yaml)
    assert (estimate.jobs, estimate.measured_jobs) == (6, 5)
    retried = manager.retry_failed_jobs(identity, max_attempts=2)
    assert retried.jobs == ("r0001/mock_z1.000",)
    wait_for(finished(slurm), 120)
    assert manager.monitor_progress(identity).completed_fraction == 1
    assert manager.retry_failed_jobs(identity).submitted == ""
