"""What is read from SLURM and what it is given, without one: texts, environments, scripts."""

from dataclasses import replace
from pathlib import Path

import pytest

from campaign.adapters.slurm import allocation
from campaign.adapters.slurm.allocation import parse_job
from campaign.adapters.slurm.ask import scrubbed
from campaign.adapters.slurm.batch import batch_script, job_name
from campaign.adapters.slurm.steps import RankStep, StepNames, worker_step
from campaign.core.model import Node, Shape, Slot
from campaign.slot import share
from campaign.submit import Submission, refusal_to_chain
from tests.conftest import load

GOLDEN = Path(__file__).parents[1] / "golden"
SHOWN = """JobId=4711 JobName=mocks
   UserId=me(1000) GroupId=me(1000) MCS_label=N/A
   JobState=RUNNING Reason=None Dependency=(null)
   RunTime=00:00:00 TimeLimit={limit} TimeMin=N/A
   StartTime=2026-11-24T16:27:07 EndTime={end} Deadline=N/A
   NumNodes=4 NumCPUs=14 NumTasks=14 CPUs/Task=1 ReqB:S:C:T=0:0:*:*
     Nodes=nid[001-002] CPU_IDs=0-127 Mem=245760 GRES=gpu:a100:4(IDX:0-3)
     Nodes=nid003 CPU_IDs=0-3,8,10-11 Mem=0 GRES=
     Nodes=nid004 CPU_IDs=0 Mem=1024 GRES=gpu:2(IDX:0,3),shard:4(IDX:0-3)
"""
HOSTS = {"nid[001-002]": ["nid001", "nid002"]}


def parsed(limit="01:00:00", end="2026-11-24T17:27:07"):
    return parse_job(SHOWN.format(limit=limit, end=end), lambda hosts: HOSTS.get(hosts, [hosts]))


def test_nodes_that_are_not_alike_are_read_one_by_one():
    gib = 2**30
    assert parsed().nodes == (
        Node("nid001", 128, 4, 240 * gib, "4711"), Node("nid002", 128, 4, 240 * gib, "4711"),
        Node("nid003", 7, 0, None, "4711"), Node("nid004", 1, 2, gib, "4711"),
    )  # fmt: skip


def test_the_end_is_a_time_or_nothing():
    found = parsed()
    assert found.ends_s - found.began_s == 3600
    assert parsed("UNLIMITED", "2027-11-24T17:27:07").ends_s is None
    assert parsed(end="Unknown").ends_s is None
    assert (found.job_id, found.name, found.state) == ("4711", "mocks", "RUNNING")


def test_nothing_of_the_enclosing_job_reaches_srun_but_its_number():
    dirty = {
        "SLURM_JOB_ID": "1", "SLURM_CONF": "c", "SLURM_NNODES": "4", "SLURM_NTASKS": "16", "SRUN_DEBUG": "3",
        "PMI_RANK": "0", "PMI2_X": "1", "OMPI_COMM_WORLD_RANK": "1", "SBATCH_EXCLUSIVE": "1", "HOME": "/h", "PATH": "p",
        "CAMPAIGN_SLOT": "1",
    }  # fmt: skip
    assert scrubbed(dirty) == {
        "SLURM_JOB_ID": "1", "SLURM_CONF": "c", "HOME": "/h", "PATH": "p", "CAMPAIGN_SLOT": "1"
    }  # fmt: skip


SLOT = Slot(7, Shape(ranks=4, nodes=2, threads=3, gpus_per_rank=1, memory_bytes=2**30), ("a", "b"),
            ((0, 1, 2, 3, 4, 5),) * 2, ((0, 1),) * 2)  # fmt: skip


def test_the_step_of_a_slot_says_everything_itself():
    names = StepNames.of("/campaigns/x", "abc")
    argv = RankStep(names, "pmi2").argv(SLOT, ("prog",))
    assert argv[:4] == ("setpriv", "--pdeathsig", "TERM", "srun")
    assert argv[-1] == "prog"
    assert {"--exact", "--mem=512M", "--mpi=pmi2", "--input=none", "--kill-on-bad-exit=1", "--gres=gpu:2"} <= set(argv)
    for option, value in (("-w", "a,b"), ("-N", "2"), ("-n", "4"), ("-c", "3"), ("-J", names.slot(7))):
        assert argv[argv.index(option) + 1] == value
    assert "--overlap" not in argv
    assert "--overlap" in RankStep(names, "pmi2", overlaps=True).argv(SLOT, ("prog",))
    uncounted = replace(SLOT, shape=replace(SLOT.shape, memory_bytes=None))
    assert "--mem=0" in RankStep(names, "pmi2").argv(uncounted, ("prog",))


def test_the_step_of_the_workers_overlaps_and_survives_its_members():
    argv = worker_step(["a", "b"], "w", ["prog"])
    assert {"--overlap", "--cpu-bind=none", "--kill-on-bad-exit=0", "--no-kill", "--input=none", "--mem=0"} <= set(argv)
    assert "--exact" not in argv


def test_steps_of_two_campaigns_are_told_apart():
    assert StepNames.of("/a", "1").campaign != StepNames.of("/b", "1").campaign
    assert job_name(Path("/a/v1.0_x")) != job_name(Path("/b/v1.0_x"))


def variables(**changes):
    base = {
        "CAMPAIGN_THREADS": "2", "CAMPAIGN_RANKS": "4", "CAMPAIGN_NODES": "a,b", "CAMPAIGN_GPUS_PER_RANK": "1",
        "CAMPAIGN_CPU_ORDINALS": "0,1,2,3;4,5,6,7", "CAMPAIGN_GPU_ORDINALS": "0,1;2,3",
    }  # fmt: skip
    return {**base, **changes}


@pytest.mark.parametrize(
    ("node", "local", "cpus", "gpus"),
    [(0, 0, {0, 1}, "0"), (0, 1, {2, 3}, "1"), (1, 0, {4, 5}, "2"), (1, 1, {6, 7}, "3")],
)
def test_every_rank_takes_its_own_cpus_and_gpus(node, local, cpus, gpus):
    bound, changes = share(variables(SLURM_NODEID=str(node), SLURM_LOCALID=str(local)), set(range(8)))
    assert bound == cpus
    assert changes == {"CUDA_VISIBLE_DEVICES": gpus, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def test_gpus_are_counted_among_those_that_are_ours():
    uuids = "GPU-a,GPU-b,GPU-c,GPU-d"
    _, changes = share(variables(SLURM_NODEID="1", SLURM_LOCALID="1", CUDA_VISIBLE_DEVICES=uuids), set(range(8)))
    assert changes["CUDA_VISIBLE_DEVICES"] == "GPU-d"
    _, changes = share(variables(SLURM_NODEID="1", SLURM_LOCALID="1", CUDA_VISIBLE_DEVICES="0,1"), set(range(8)))
    assert changes["CUDA_VISIBLE_DEVICES"] == "1"  # the step was given two of its own, and counts them from 0


def test_a_rank_that_is_bound_already_is_left_in_peace():
    bound, _ = share(variables(SLURM_NODEID="1", SLURM_LOCALID="1"), {12, 13})
    assert bound == {12, 13}
    assert share(variables(CAMPAIGN_GPUS_PER_RANK="0"), {0})[1] == {"CUDA_VISIBLE_DEVICES": ""}


YAML = """
campaign: {name: golden, version: v2.1}
science: {realizations: 2, redshifts: [1.0]}
resources: {account: m1234, gpus_per_rank: 1, ranks_per_job: 4}
slurm:
  nodes: 8
  walltime: "04:00:00"
  qos: regular
  constraint: gpu
  options: [--exclusive=user]
  prologue: [module load python]
outputs: {base_path: /scratch/campaigns}
"""


@pytest.mark.parametrize(("name", "array"), [("batch.sh", None), ("batch_array.sh", 3)])
def test_the_batch_script_is_what_it_was(tmp_path, name, array):
    path = tmp_path / "c.yaml"
    path.write_text(YAML)
    submission = Submission(
        "/home/me/it's mine.yaml", ("execution.order=block",), "/home/me", ("--mail-type=END",), array, 5
    )
    command = ["/env/bin/python", *submission.command()[1:]]
    text = batch_script(
        load(path), command, Path("/scratch/campaigns/v2.1_golden/logs/batch_0000"), Path("/home/me"), array=array,
        options=submission.options,
    )  # fmt: skip
    assert text == (GOLDEN / name).read_text()


def chain(*ended, left=9):
    return [{"job": "1", "ended_jobs": jobs, "left": left - n, "time": ""} for n, jobs in enumerate(ended)]


@pytest.mark.parametrize(
    ("links", "left", "waiting", "words"),
    [
        (chain(0), 3, [], ""),
        (chain(0), 0, [], "no links left"),
        (chain(0), 3, ["17"], "job 17 of this campaign is in the queue"),
        (chain(0), 3, None, "can't be seen"),
        (chain(0, 5, 9), 3, [], ""),
        (chain(5, 5), 3, [], ""),
        (chain(5, 5, 5), 3, [], "ended no job"),
        (chain(0, 5, 5, 6), 3, [], ""),
        ([*chain(5, 5, 5), *chain(5, left=50)], 50, [], ""),  # a person submitted it again
        ([*chain(5, 5, 5), *chain(5, 5, 5, left=50)], 48, [], "ended no job"),
    ],
)
def test_a_chain_ends_where_it_would_turn_in_circles(links, left, waiting, words):
    refusal = refusal_to_chain(links, left, waiting)
    assert words in refusal
    assert bool(refusal) == bool(words)


def test_a_step_that_a_person_typed_is_told_from_slurms_own():
    typed = {"SLURM_STEP_ID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_ID": "9"}
    assert allocation.typed_step(typed) == "3"
    assert allocation.typed_step({**typed, "SLURM_STEP_NUM_TASKS": "1"}) == ""
    assert allocation.typed_step({**typed, "SLURM_STEP_ID": "4294967290"}) == ""
    assert allocation.typed_step({}) == ""
    assert allocation.job_here({"SLURM_JOB_ID": ""}) is None
    assert allocation.job_here({"SLURM_JOB_ID": "7"}) == "7"
    task = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}
    assert allocation.job_here(task) == "7_2"
