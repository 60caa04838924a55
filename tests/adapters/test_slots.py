"""Real slot processes: warm between jobs, isolated from each other, gone with their supervisor."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from campaign.adapters.journal import JournalFile, read_journal
from campaign.adapters.local import ProcessLauncher, SystemClock
from campaign.adapters.slot_server import SlotServer
from campaign.adapters.slots import SlotPool
from campaign.assemble import slot_command
from campaign.attempt import blank_record
from campaign.core.model import Outcome, Record, Shape, Slot
from campaign.ports import Begun
from campaign.testing.faults import ScriptedLauncher


@pytest.fixture
def pool(tmp_path, scripted_plan):
    """Makes a pool and a way to run jobs in it; closes it at the end."""
    made = []

    def make(script="{}", slots=1, memory=None, ranks=1, warm=True, generator="scripted", preloads=True, **options):
        extra = "".join(f", {k}: {v}" for k, v in options.items())
        plan = scripted_plan(options=f"{{script: {script}{extra}}}")
        hello = {"generator": generator, "config": plan.config.options, "directory": str(tmp_path)}
        journal = JournalFile(tmp_path / "journal.jsonl")
        launcher = ProcessLauncher(
            hello, {}, tmp_path / "logs" / "slot", partial(slot_command, None), preloads=preloads
        )
        pool = SlotPool(launcher, journal, SystemClock(), blank_record)
        made.append(pool)
        shape = Shape(ranks=ranks, memory_bytes=memory, warm=warm)
        own = [Slot(n, shape, ("here",), ((),), ((),)) for n in range(slots)]

        def run(*jobs, attempt=1, timeout_s=20.0, stopped=lambda: False, slot=0):
            events = []
            tasks = [replace(plan.task(j, attempt, 0), timeout_s=timeout_s) for j in jobs]
            left = pool.run(own[slot], tasks, events.append, stopped)
            return [e["record"] for e in events if e["event"] == "ended"], left

        return pool, run

    yield make
    for pool in made:
        pool.close()


def test_one_process_serves_many_jobs(pool):
    _, run = pool()
    records, left = run(0, 1, 2, 3)
    assert left == []
    assert {r.outcome for r in records} == {Outcome.COMPLETED}
    assert len({r.pid for r in records}) == 1
    assert records[0].pid != os.getpid()


@pytest.mark.parametrize(
    ("fault", "outcome", "code", "words", "blames"),
    [
        ("segfault", Outcome.FAILED, "slot.crashed", "SIGSEGV", True),
        ("exit", Outcome.FAILED, "slot.crashed", "exit status 7", True),
        ("kill", Outcome.INTERRUPTED, "slot.killed", "SIGKILL", False),
        ("hang", Outcome.TIMEOUT, "job.timed_out", "limit of 1 s", True),
        ("leak", Outcome.FAILED, "job.memory_exceeded", "the limit is 250 MiB", True),
    ],
)
def test_a_fault_takes_its_slot_process_and_nothing_else(pool, fault, outcome, code, words, blames):
    _, run = pool(f"{{r0000/mock_z1.000: [{fault}]}}", memory=250 * 2**20)
    records, left = run(0, 1, 2, timeout_s=1.0 if fault == "hang" else 20.0)
    assert left == []
    assert [r.outcome for r in records] == [Outcome.COMPLETED, outcome, Outcome.COMPLETED]
    bad = records[1]
    assert bad.failure.code == code
    assert words in bad.failure.message
    assert bad.failure.blames_job is blames
    assert bad.failure.phase == "act"
    assert records[0].pid != records[2].pid


def test_the_journal_has_the_start_and_the_end_of_every_attempt(pool, tmp_path):
    _, run = pool("{r0000/mock_z1.000: [segfault]}")
    run(0, 1)
    lines = list(read_journal(tmp_path / "journal.jsonl"))
    assert [type(line) for line in lines] == [Begun, Record, Begun, Record]
    assert [line.job for line in lines] == [0, 0, 1, 1]


def test_a_stop_is_heeded_between_jobs(pool, tmp_path):
    truth = tmp_path / "truth"
    _, run = pool(truth=str(truth))
    records, left = run(0, 1, 2, stopped=truth.exists)
    assert len(records) == 1
    assert left == [1, 2]


def test_slots_work_side_by_side(pool):
    _, run = pool(slots=2, seconds=0.3)
    found = []
    threads = [threading.Thread(target=lambda j=j: found.extend(run(j, slot=j)[0])) for j in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({r.pid for r in found}) == 2


def test_a_generator_that_can_not_be_warmed_up_is_explained(pool):
    _, run = pool(slot_fails="true")
    (record,), _ = run(0)
    assert record.failure.code == "slot.unready"
    assert "this generator can't be warmed up" in record.failure.message
    assert record.outcome is Outcome.INTERRUPTED
    assert not record.failure.blames_job


def test_what_a_generator_prints_goes_to_the_log(pool, tmp_path):
    _, run = pool("{r0000/mock_z0.500: [segfault]}")
    run(0)
    assert (tmp_path / "logs" / "slot-000.log").exists()


def test_a_slot_dies_with_its_supervisor(tmp_path, scripted_plan):
    """A supervisor that is killed leaves no slot process behind, even one that is busy for ever."""
    program = """
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from pathlib import Path
from campaign.adapters.journal import JournalFile
from campaign.adapters.local import ProcessLauncher, SystemClock
from campaign.adapters.slot_server import SlotServer
from campaign.adapters.slots import SlotPool
from campaign.assemble import slot_command
from campaign.attempt import blank_record
from campaign.core.model import Shape, Slot
hello = {"generator": "scripted", "config": {"slot_fails": False, "warm_up_kills": False}, "directory": sys.argv[1]}
launcher = ProcessLauncher(hello, {}, Path(sys.argv[1]) / "slot", partial(slot_command, None))
pool = SlotPool(launcher, JournalFile(Path(sys.argv[1]) / "j"), SystemClock(), blank_record)
server = pool._server(Slot(0, Shape(), ("here",), ((),), ((),)))
print(pool._start(server).pid, flush=True)
sys.stdin.read()
"""
    supervisor = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    slot = int(supervisor.stdout.readline())
    handle = os.pidfd_open(slot)
    supervisor.send_signal(signal.SIGKILL)
    import select

    gone, _, _ = select.select([handle], [], [], 20)
    assert gone
    os.close(handle)
    supervisor.communicate()


def test_a_slot_that_dies_while_a_child_of_its_holds_the_channel_is_noticed(pool):
    _, run = pool("{r0000/mock_z0.500: [fork_and_crash]}")
    begin = time.monotonic()
    (record,), _ = run(0, timeout_s=60.0)
    assert record.failure.code == "slot.crashed"
    assert time.monotonic() - begin < 30


def test_a_slot_that_is_killed_while_it_warms_up_costs_nobody_an_attempt(pool):
    _, run = pool(warm_up_kills="true")
    (record,), _ = run(0)
    assert record.outcome is Outcome.INTERRUPTED
    assert (record.failure.code, record.failure.blames_job) == ("slot.killed", False)


mpi = pytest.mark.skipif(find_spec("mpi4py") is None, reason="needs mpi4py and mpich")


@mpi
def test_ranks_work_as_one_slot(pool, tmp_path):
    _, run = pool(ranks=3, rank_truth=str(tmp_path / "ranks"))
    records, left = run(0, 1)
    assert left == []
    assert [r.outcome for r in records] == [Outcome.COMPLETED] * 2
    lines = [line.split() for line in (tmp_path / "ranks").read_text().splitlines()]
    assert sorted((name, int(rank), int(size)) for name, _, rank, size, *_ in lines) == [
        (record.name, rank, 3) for record in sorted(records, key=lambda r: r.name) for rank in range(3)
    ]
    assert len({r.pid for r in records}) == 1


@mpi
@pytest.mark.parametrize(
    ("who", "fault", "outcome", "code", "words"),
    [
        ("", "raise", Outcome.FAILED, "generator.raised", "the script says so"),
        (" rank1", "raise", Outcome.FAILED, "generator.raised", "the script says so"),
        (" rank1", "missing_input", Outcome.FAILED, "input.missing", "went away"),
        (" rank1", "segfault", Outcome.FAILED, "slot.crashed", "a rank ended"),
        (" rank1", "exit", Outcome.FAILED, "slot.crashed", "a rank ended"),
        (" rank1", "kill", Outcome.INTERRUPTED, "slot.killed", "from outside"),
        (" rank1", "hang", Outcome.TIMEOUT, "job.timed_out", "limit of 3 s"),
        (" rank1", "leak", Outcome.FAILED, "job.memory_exceeded", "rank 1"),
    ],
)
def test_a_rank_that_fails_ends_its_job_and_the_next_one_runs(pool, who, fault, outcome, code, words):
    script = f'{{"r0000/mock_z0.500{who}": [{fault}]}}'
    _, run = pool(script, ranks=2, memory=600 * 2**20)
    records, _ = run(0, 1, timeout_s=3.0 if fault == "hang" else 30.0)
    assert [r.outcome for r in records] == [outcome, Outcome.COMPLETED], records[0].failure
    assert records[0].failure.code == code
    assert words in records[0].failure.message
    assert records[0].failure.blames_job is (outcome is not Outcome.INTERRUPTED)


def test_a_slot_that_is_not_kept_warm_is_new_for_each_job(pool):
    _, run = pool(warm=False)
    records, _ = run(0, 1)
    assert len({r.pid for r in records}) == 2


def test_an_abandoned_slot_ends_its_job_and_blames_nobody(pool, tmp_path):
    it, run = pool("{r0000/mock_z0.500: [hang]}", truth=str(tmp_path / "truth"))
    found = []
    thread = threading.Thread(target=lambda: found.extend(run(0, 1)[0]))
    thread.start()
    deadline = time.monotonic() + 20
    while not (tmp_path / "truth").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    it.abandon([0], "the node is gone")
    thread.join(20)
    (record,) = found
    assert (record.outcome, record.failure.message) == (Outcome.INTERRUPTED, "the node is gone")
    assert not record.failure.blames_job


def test_a_slot_knows_what_it_was_given(pool):
    it, run = pool(slots=1, preloads=False)
    run(0)
    environment = Path(f"/proc/{it._servers[0].process.pid}/environ").read_text().split("\0")
    known = dict(entry.split("=", 1) for entry in environment if entry.startswith(("CAMPAIGN_", "OMP_")))
    assert known["CAMPAIGN_RANKS"] == known["CAMPAIGN_THREADS"] == known["OMP_NUM_THREADS"] == "1"
    assert known["CAMPAIGN_NODES"] == "here"
    assert known["CAMPAIGN_DIRECTORY"]


@pytest.mark.parametrize(
    ("script", "outcomes", "started"),
    [
        (["ok"], [Outcome.COMPLETED, Outcome.COMPLETED], 1),
        (["refuse", "ok"], [Outcome.INTERRUPTED, Outcome.COMPLETED], 2),
        (["unready", "ok"], [Outcome.INTERRUPTED, Outcome.COMPLETED], 2),
        (["dies", "ok"], [Outcome.INTERRUPTED, Outcome.COMPLETED], 2),
        (["dies_at_work", "ok"], [Outcome.INTERRUPTED, Outcome.COMPLETED], 2),
    ],
)
def test_a_launcher_that_fails_costs_an_attempt_and_the_next_start_is_fresh(
    script, outcomes, started, scripted_plan, tmp_path
):
    plan = scripted_plan()

    def complete(task):
        return replace(blank_record(task, "1", 0), outcome=Outcome.COMPLETED)

    launcher = ScriptedLauncher(complete, script)
    pool = SlotPool(launcher, JournalFile(tmp_path / "journal.jsonl"), SystemClock(), blank_record)
    events = []
    slot = Slot(0, Shape(), ("here",), ((),), ((),))
    assert pool.run(slot, [plan.task(job, 1, 0) for job in (0, 1)], events.append, lambda: False) == []
    pool.close()
    ended = [e["record"] for e in events if e["event"] == "ended"]
    assert [record.outcome for record in ended] == outcomes
    assert all(not record.failure.blames_job for record in ended if record.failure)
    assert len(launcher.started) == started


def completed(task):
    return replace(blank_record(task, "1", 0), outcome=Outcome.COMPLETED)


def test_how_a_job_ended_is_written_down_before_its_process_is_ended(scripted_plan, tmp_path):
    path, seen = tmp_path / "journal.jsonl", []

    def look():
        seen.append([entry.job for entry in read_journal(path) if not isinstance(entry, Begun)])

    pool = SlotPool(
        ScriptedLauncher(completed, killing=look), JournalFile(path), SystemClock(), blank_record
    )  # one process for each job: it is ended as soon as that has ended
    slot = Slot(0, Shape(warm=False), ("here",), ((),), ((),))
    assert pool.run(slot, [scripted_plan().task(job, 1, 0) for job in (0, 1)], lambda _: None, lambda: False) == []
    pool.close()
    assert seen == [[0], [0, 1]]


def completed_in_no_hurry(task):
    return replace(completed(task), duration_s=5.0)


HERE = Slot(0, Shape(), ("here",), ((),), ((),))


def test_what_a_process_said_before_it_was_gone_counts(scripted_plan, tmp_path):
    launcher = ScriptedLauncher(completed_in_no_hurry, ["dies_unheard", "ok"], status=-11)
    pool = SlotPool(launcher, JournalFile(tmp_path / "j.jsonl"), SystemClock(), blank_record)
    events = []
    assert pool.run(HERE, [scripted_plan().task(job, 1, 0) for job in range(6)], events.append, lambda: False) == []
    pool.close()
    ended = {e["record"].job: e["record"] for e in events if e["event"] == "ended"}
    assert {job: record.outcome for job, record in ended.items()} == {
        job: Outcome.FAILED if job == 3 else Outcome.COMPLETED for job in range(6)
    }
    assert ended[3].failure.blames_job


def test_a_job_at_work_in_a_slot_that_is_taken_away_is_interrupted(scripted_plan, tmp_path):
    class TakenAway(JournalFile):
        def started(self, tasks, at_ms):
            super().started(tasks, at_ms)
            if tasks[0].job == 4:
                server.dismiss("others need it")

    launcher = ScriptedLauncher(completed_in_no_hurry, ["dies_unheard"])
    journal = TakenAway(tmp_path / "j.jsonl")
    server = SlotServer(HERE, lambda _: launcher.start(HERE), journal, SystemClock(), blank_record)
    events = []
    left = server.run([scripted_plan().task(job, 1, 0) for job in range(6)], events.append, lambda: False)
    ended = {e["record"].job: e["record"] for e in events if e["event"] == "ended"}
    assert {job: record.outcome for job, record in ended.items()} == {
        0: Outcome.COMPLETED, 1: Outcome.COMPLETED, 2: Outcome.INTERRUPTED,
    }  # fmt: skip
    assert not ended[2].failure.blames_job
    assert sorted(left) == [3, 4, 5]


class FullJournal(JournalFile):
    def started(self, tasks, at_ms):
        raise OSError(28, "No space left on device")


def test_a_start_that_can_not_be_written_down_is_not_taken_back_either(scripted_plan, tmp_path):
    pool = SlotPool(ScriptedLauncher(completed), FullJournal(tmp_path / "j.jsonl"), SystemClock(), blank_record)
    slot = Slot(0, Shape(), ("here",), ((),), ((),))
    with pytest.raises(OSError, match="No space left"):
        pool.run(slot, [scripted_plan().task(0, 1, 0)], lambda _: None, lambda: False)
    pool.close()
    assert (tmp_path / "j.jsonl").read_text() == ""


def test_the_time_in_which_a_job_waited_behind_another_is_not_its_own(pool):
    _, run = pool(script="{r0001/mock_z1.000: [hang]}", seconds=0.8)
    records, _ = run(*range(6), timeout_s=2.0)
    hung = next(record for record in records if record.outcome is Outcome.TIMEOUT)
    assert 2.0 <= hung.duration_s < 2.7


NAMES = [f"r000{n // 3}/mock_z{z}" for n, z in zip(range(6), ["0.500", "1.000", "2.000"] * 2, strict=True)]


def test_a_slot_with_stages_works_at_three_jobs_at_once(pool):
    _, run = pool(generator="staged", seconds=0.2)
    begin = time.monotonic()
    records, left = run(*range(6))
    assert left == []
    assert [r.job for r in records] == list(range(6))
    assert {r.outcome for r in records} == {Outcome.COMPLETED}
    assert time.monotonic() - begin < 20
    assert all(r.phases_s["compute"] >= 0.2 for r in records)


@pytest.mark.fault(
    "a job crashes its slot while others are loaded or written there",
    "none of them is blamed, each is tried again alone; the one that crashes then is blamed",
)
@pytest.mark.parametrize("stage", [" load", " compute", ""])
def test_a_crash_in_any_stage_is_put_down_to_its_job_alone(pool, stage):
    _, run = pool(f'{{"{NAMES[2]}{stage}": [segfault]}}', generator="staged", seconds=0.1)
    first, left = run(*range(6))
    assert left == []
    assert sorted(r.job for r in first) == list(range(6)), "each job has one end"
    assert not [r for r in first if r.outcome is Outcome.FAILED and r.job != 2]
    again = sorted(r.job for r in first if r.outcome is Outcome.INTERRUPTED)
    assert len(again) <= 3
    assert all(not r.failure.blames_job for r in first if r.failure and r.outcome is Outcome.INTERRUPTED)
    if again:
        second, _ = run(*again, attempt=2)
        assert [r.outcome for r in second] == [Outcome.FAILED if job == 2 else Outcome.COMPLETED for job in again]
        first += second
    (guilty,) = [r for r in first if r.outcome is Outcome.FAILED]
    assert (guilty.job, guilty.failure.code, guilty.failure.blames_job) == (2, "slot.crashed", True)


@pytest.mark.parametrize("stage", [" load", " compute", ""])
def test_a_stage_that_hangs_is_its_job_s_time_out(pool, stage):
    _, run = pool(f'{{"{NAMES[1]}{stage}": [hang]}}', generator="staged")
    records, left = run(*range(4), timeout_s=1.5)
    assert left == []
    outcomes = {r.job: r.outcome for r in records}
    assert outcomes[1] is Outcome.TIMEOUT
    assert all(outcome in (Outcome.COMPLETED, Outcome.INTERRUPTED) for job, outcome in outcomes.items() if job != 1)
    assert set(outcomes) == {0, 1, 2, 3}


def test_what_was_loaded_ahead_is_given_back_when_stopped(pool, tmp_path):
    truth = tmp_path / "truth"
    _, run = pool(generator="staged", seconds=0.5, truth=str(truth))
    records, left = run(*range(6), stopped=truth.exists)
    assert sorted([r.job for r in records] + left) == list(range(6))
    assert 1 <= len(records) <= 2, "what was written when it was stopped, and what was computed"
    starts = [line.job for line in read_journal(tmp_path / "journal.jsonl") if isinstance(line, Begun)]
    assert starts == [r.job for r in records], "what was handed over and not begun is no attempt"


def test_leases_of_a_slot_follow_one_another_without_a_gap(pool):
    _, run = pool(generator="staged", seconds=0.3)
    run(0)
    found = []
    threads = [threading.Thread(target=lambda j=j: found.extend(run(j)[0])) for j in (1, 2, 3)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r.job for r in found) == [1, 2, 3]
    assert time.monotonic() - begin < 5


def test_a_stage_that_leaves_its_process_is_noticed(pool):
    _, run = pool(f'{{"{NAMES[1]}": [sys_exit]}}', generator="staged")
    first, _ = run(*range(3), timeout_s=60.0)
    assert sorted(r.job for r in first) == [0, 1, 2]
    assert next(r for r in first if r.job == 1).outcome in (Outcome.FAILED, Outcome.INTERRUPTED)


def test_a_message_that_is_no_utf_8_reaches_the_record(pool, tmp_path):
    _, run = pool(f'{{"{NAMES[0]}": [not_utf8]}}')
    (record,), _ = run(0)
    assert record.failure.code == "generator.raised"
    assert "table" in record.failure.message
    (entry,) = [line for line in read_journal(tmp_path / "journal.jsonl") if isinstance(line, Record)]
    assert entry.failure.message == record.failure.message


def test_a_slot_that_was_given_to_others_takes_no_lease(pool):
    it, run = pool()
    run(0)
    server = it._servers[0]
    server.dismiss("another shape needs its place")
    assert server.run([], print, lambda: False) == []
    records, left = run(1, 2)
    assert (records, left) == ([], [1, 2])


def test_leases_of_a_slot_that_is_not_kept_warm_leave_one_another_alone(pool):
    _, run = pool(warm=False, seconds=0.05)
    found, left = [], []

    def lease(job):
        records, unbegun = run(job)
        found.extend(records)
        left.extend(unbegun)

    threads = [threading.Thread(target=lease, args=(job,)) for job in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {r.outcome for r in found} == {Outcome.COMPLETED}
    assert sorted([r.job for r in found] + left) == [0, 1, 2, 3]


def test_memory_that_several_jobs_hold_is_nobody_s_until_one_is_alone(pool):
    _, run = pool(f'{{"{NAMES[1]} load": [leak]}}', generator="staged", memory=250 * 2**20, seconds=0.5)
    first, _ = run(*range(3), timeout_s=60.0)
    assert all(not r.failure.blames_job for r in first if r.failure)
    again = [r.job for r in first if r.outcome is Outcome.INTERRUPTED]
    assert 1 in again
    second, _ = run(*again, attempt=2, timeout_s=60.0)
    assert {r.job: r.outcome for r in second} == {j: Outcome.FAILED if j == 1 else Outcome.COMPLETED for j in again}
    assert next(r for r in second if r.job == 1).failure.code == "job.memory_exceeded"
