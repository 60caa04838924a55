"""Inside an allocation: facts, slots of every shape, ranks, GPUs, and what goes wrong."""

import itertools
import os
import signal
import sys

import pytest

from campaign.adapters.slurm.allocation import read_allocation
from campaign.errors import UsageError
from tests.conftest import wait_for
from tests.slurm.conftest import CPUS, GPUS

MIXED = """[
  {where: {realization: 0}, resources: {ranks_per_job: 4, nodes_per_job: 2}},
  {where: {realization: 1}, resources: {ranks_per_job: 2}},
  {where: {realization: 2}, resources: {ranks_per_job: 4, nodes_per_job: 4}},
  {where: {realization: 3}, resources: {threads_per_rank: 3}}]"""


def peaks(ranks, weight=lambda rank: 1):
    """The most that ever ran side by side on each node."""
    most = {}
    for node in {rank["node"] for rank in ranks}:
        here = [rank for rank in ranks if rank["node"] == node]
        moves = sorted(
            [(r["begin"], 1, weight(r)) for r in here] + [(r["end"], 0, -weight(r)) for r in here]
        )  # an end before a begin at the same instant
        most[node] = max(itertools.accumulate(change for _, _, change in moves))
    return most


def test_the_facts_of_an_allocation(slurm, study):
    program = (
        "import os, json\nfrom campaign.adapters.slurm.allocation import *\n"
        "a = read_allocation(os.environ['SLURM_JOB_ID'])\n"
        "print(json.dumps([[n.name, n.cpus, n.gpus, n.memory_bytes] for n in a.nodes]), AllocationWatch(a).left_s())"
    )
    told = slurm.type("salloc", "-Q", "-N2", "-n4", "-c2", "--gres=gpu:1", "-t", "3", sys.executable, "-c", program)
    nodes, left = told.rsplit(" ", 1)
    assert nodes == f'[["n01", 4, 1, {4 * 256 * 2**20}], ["n02", 4, 1, {4 * 256 * 2**20}]]'
    assert 170 < float(left) <= 180
    with pytest.raises(UsageError, match=r"allocation 999999 is unknown to SLURM"):
        read_allocation("999999")


def test_a_campaign_runs_on_every_node_and_leaves_nothing_behind(slurm, study):
    study.write(realizations=8, seconds=0.2)
    code, out, err = study.run(*slurm.salloc("-N4"))
    assert code == 0, err
    assert "24 completed" in out
    assert "node-hours" in out
    assert {rank["node"] for rank in study.ranks()} == {"n01", "n02", "n03", "n04"}
    assert max(peaks(study.ranks()).values()) <= CPUS
    assert len(study.attempts()) == 24
    assert list((study.directory / "metadata").glob(".tls-*")) == []
    assert slurm.steps() == []


def test_mixed_shapes_share_the_nodes_and_never_take_more_than_there_is(slurm, study):
    study.write(realizations=6, seconds=0.3, jobs=MIXED)
    code, _, err = study.run(*slurm.salloc("-N4"))
    assert code == 0, err
    sizes = {0: 4, 1: 2, 2: 4, 3: 1, 4: 1, 5: 1}
    ranks = study.ranks()
    for realization, size in sizes.items():
        mine = [r for r in ranks if r["name"].startswith(f"r{realization:04d}")]
        assert len(mine) == 3 * size
        assert all(r["size"] == size for r in mine)
    across = [r["node"] for r in ranks if r["name"] == "r0002/mock_z1.000"]
    assert sorted(across) == ["n01", "n02", "n03", "n04"]
    threads = lambda rank: 3 if rank["name"].startswith("r0003") else 1  # noqa: E731
    assert max(peaks(ranks, threads).values()) <= CPUS


def test_every_rank_has_gpus_of_its_own(slurm, study):
    study.write(realizations=3, seconds=0.3, resources="{gpus_per_rank: 1}",
                jobs="[{where: {realization: 0}, resources: {ranks_per_job: 4, nodes_per_job: 2}}]")  # fmt: skip
    code, _, err = study.run(*slurm.salloc("-N2", f"--gres=gpu:{GPUS}"))
    assert code == 0, err
    assert {r["gpus"] for r in study.ranks()} == {"0", "1"}
    for gpu in ("0", "1"):
        assert max(peaks([r for r in study.ranks() if r["gpus"] == gpu]).values()) == 1


def test_a_slot_that_is_not_kept_warm_starts_anew_for_each_job(slurm, study):
    study.write(realizations=2, resources="{warm: false, ranks_per_job: 2, slots: 1}")
    code, _, err = study.run(*slurm.salloc("-N1"))
    assert code == 0, err
    assert len(study.attempts()) == 6


@pytest.mark.parametrize(
    ("mpi", "words"),
    [("none", "2 ranks were asked for, and MPI made a communicator of 1"), ("nonsense", "nonsense")],
)
def test_a_wrong_mpi_is_explained(slurm, study, mpi, words):
    study.write(realizations=1, resources="{ranks_per_job: 2}", slurm=f"{{mpi: {mpi}}}")
    code, _, err = study.run(*slurm.salloc("-N1"))
    assert code == 3
    assert words in err
    assert "slots in a row could not be started" in err
    assert study.attempts() == []


@pytest.mark.parametrize(
    ("fault", "words", "outcome"),
    [
        ("segfault", "Segmentation fault", "failed"),
        ("raise", "the script says so", "failed"),
        ("leak", "rank 1: .* MiB in use, the limit is", "failed"),
    ],
)
def test_a_rank_that_fails_takes_its_job_and_nothing_else(slurm, study, fault, words, outcome):
    study.write(realizations=2, resources="{ranks_per_job: 2, memory_per_slot: 600 MiB}",
                script={"r0000/mock_z1.000 rank1": [fault]})  # fmt: skip
    code, _, err = study.run(*slurm.salloc("-N1", "--mem=0"))
    assert code == 4, err
    assert study.states() == {"completed": 5, outcome: 1}
    assert __import__("re").search(words, err), err


def test_no_allocation_where_one_is_demanded(study, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    code, _, err = study.write(resources="{cluster: allocation}").run()
    assert code == 2
    assert "this is no allocation of SLURM" in err
    assert "campaign submit" in err


def test_an_allocation_that_is_too_small_for_one_job(slurm, study):
    study.write(resources="{ranks_per_job: 16, nodes_per_job: 2}")
    code, _, err = study.run(*slurm.salloc("-N2"))
    assert code == 2
    assert "a job needs 16 rank(s) of 1 thread(s) on 2 node(s); here are 2 node(s) of 4 CPUs" in err
    assert study.attempts() == []


def truth_of(study, count):
    return lambda: len(study.attempts()) >= count


@pytest.mark.fault("a node of the allocation dies", "what ran on it runs again on others, unblamed")
def test_a_node_that_dies_costs_its_jobs_an_attempt_and_nobody_else(slurm, study):
    study.write(
        realizations=8, seconds=1.0, jobs="[{where: {redshift: 0.5}, resources: {ranks_per_job: 4, nodes_per_job: 2}}]"
    )
    process = study.start(*slurm.salloc("-N4"))
    wait_for(truth_of(study, 6))
    slurm.kill_node("n03")
    slurm.type("scontrol", "update", "nodename=n03", "state=down", "reason=test")
    out, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    assert "node n03 is gone" in err
    assert study.states() == {"completed": 24}
    completed = [(r["name"], r["attempt"]) for r in study.ranks() if r["rank"] == 0]
    assert len({name for name, _ in completed}) == 24
    twice = len(completed) - 24
    assert twice <= 1 or f"{twice} attempts ended twice" in out + err


@pytest.mark.fault("a step of a multi-rank job is cancelled", "the job runs again, unblamed")
def test_a_step_that_is_cancelled_is_tried_again_and_not_blamed(slurm, study):
    study.write(realizations=2, seconds=3.0, resources="{ranks_per_job: 2, slots: 1}")
    process = study.start(*slurm.salloc("-N1"))
    wait_for(truth_of(study, 1))
    listed = [line.split() for line in slurm.type("squeue", "-h", "-s", "-o", "%i %j").splitlines()]
    (step,) = [number for number, name in listed if name.startswith("cmp-") and not name.endswith("workers")]
    slurm.type("scancel", step)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "slot.killed" in err
    assert study.states() == {"completed": 6}


@pytest.mark.fault("the workers' step is cancelled", "workers are started again, what ran on them runs again")
def test_workers_whose_step_is_cancelled_are_replaced(slurm, study):
    study.write(realizations=6, seconds=1.5)
    process = study.start(*slurm.salloc("-N2"))
    wait_for(truth_of(study, 4))
    listed = [line.split() for line in slurm.type("squeue", "-h", "-s", "-o", "%i %j").splitlines()]
    slurm.type("scancel", *[number for number, name in listed if name.endswith("workers")])
    _, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    assert study.states() == {"completed": 18}


@pytest.mark.fault("the allocation is revoked", "the next run goes on")
def test_an_allocation_that_is_revoked_ends_the_run_and_the_next_goes_on(slurm, study):
    study.write(realizations=4, seconds=1.0)
    process = study.start(*slurm.salloc("-N2"))
    wait_for(truth_of(study, 3))
    slurm.type("scancel", slurm.type("squeue", "-h", "-o", "%A").strip())
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    code, _, err = study.run(*slurm.salloc("-N2"))
    assert code == 0, err
    assert study.states() == {"completed": 12}


@pytest.mark.fault("a coordinator in an allocation is killed", "it leaves no step; the next one goes on")
def test_a_coordinator_that_is_killed_leaves_no_step_and_the_next_one_goes_on(slurm, study):
    study.write(realizations=3, seconds=2.0, resources="{ranks_per_job: 2}")
    script = f"{' '.join(study.command())}; {' '.join(study.command())}"
    process = study.start(*slurm.salloc("-N2"), "bash", "-c", script, "--")
    wait_for(truth_of(study, 2))
    wait_for(lambda: kill_coordinator(study))
    out, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    assert study.states() == {"completed": 9}
    assert max(peaks(study.ranks()).values()) <= CPUS
    assert "18 completed" not in out


def kill_coordinator(study):
    import json

    held = json.loads((study.directory / "metadata" / "coordinator.lock").read_text() or "{}")
    if "pid" not in held:
        return False
    os.kill(held["pid"], signal.SIGKILL)
    return True


def test_nodes_for_which_nothing_is_left_are_given_back(slurm, study):
    study.write(realizations=1, seconds=0.5, slurm="{give_back: true}",
                jobs="[{where: {redshift: 2.0}, options: {seconds: 22}}]")  # fmt: skip
    process = study.start(*slurm.salloc("-N3"))
    wait_for(lambda: slurm.type("squeue", "-h", "-o", "%D").strip() in ("1", "2"), 60)  # a second resize may be refused
    _, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert "back: nothing is left for them" in err
    assert study.states() == {"completed": 3}


def test_a_run_that_is_typed_under_srun(slurm, study):
    study.write(
        realizations=4, seconds=0.3, jobs="[{where: {redshift: 2.0}, resources: {ranks_per_job: 4, nodes_per_job: 2}}]"
    )
    code, _, err = study.run(*slurm.salloc("-N3"), "srun", "-N3", "-n5")
    assert code == 0, err
    assert study.states() == {"completed": 12}
    assert len({r["node"] for r in study.ranks()}) >= 2
    assert len(study.attempts()) == 12
    again, out, _ = study.run(*slurm.salloc("-N3"), "srun", "-N3", "-n3")
    assert again == 0
    assert "0 completed in this run" in out
