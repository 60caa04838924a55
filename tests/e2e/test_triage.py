"""What failed, grouped; one job's story; why it is not running; another chance for just those."""

import json
import subprocess
import sys

import pytest

from campaign.adapters import orders
from campaign.analyse.triage import grouped, in_words, retry_command
from campaign.core.model import Axis, Order
from campaign.errors import UsageError
from campaign.examine import failures, story
from campaign.retries import values_meant
from tests.adapters.test_artifacts import make_record
from tests.e2e.commands import campaign

AXES = [Axis("realization", tuple(range(10))), Axis("redshift", (0.5, 1.0, 3.0))]


def failed(job, message="no", redshift=3.0, node="n01", traceback=""):
    from campaign.core.model import Failure, Outcome

    failure = Failure("ValueError", "generator.raised", message, traceback, "act")
    return make_record(
        job, Outcome.FAILED, failure=failure, point={"realization": job % 10, "redshift": redshift}, node=node
    )


TRACE = 'Traceback (most recent call last):\n  File "/x/model.py", line 12, in solve\n    1/0\nValueError: {}\n'


def test_what_is_alike_is_one_group_whatever_changes_in_it():
    records = [
        failed(n, f"step {n}.5e-3 of /data/run{n}/x.h5 at 0x7f{n} diverged", traceback=TRACE.format(n))
        for n in range(8)
    ]
    records += [failed(8, "no such key", redshift=0.5), failed(9, "step 1 of /data/run1/x.h5 at 0x1 diverged")]
    first, *others = grouped(records, AXES)
    assert [len(group.jobs) for group in (first, *others)] == [8, 1, 1]
    assert first.signature.message == "step # of /... at # diverged"
    assert first.signature.place == "model.py:solve"
    assert first.axes == {"redshift": (3.0,)}
    assert in_words(first) == "8 error: step # of /... at # diverged in model.py:solve (all redshift=3.0; all on n01)"
    assert json.loads(json.dumps(first.to_json()))["count"] == 8


def test_a_node_on_which_most_fail_is_named():
    (group,) = grouped(
        [failed(n, node="n07" if n < 5 else f"n{n:02d}", redshift=(0.5, 1.0, 3.0)[n % 3]) for n in range(8)], AXES
    )
    assert "6 on n07" in in_words(group)
    assert group.axes == {}


def test_failures_of_a_campaign_and_another_chance_for_just_those(ran):
    (group,) = failures(ran)
    assert group.example.name == "r0001/mock_z0.500"
    out, _ = campaign("failures", str(ran))
    assert out.startswith("1. 1 error: ")
    command = out.partition("retry these: campaign ")[2].strip().removesuffix(" --run").split()
    assert "Traceback" in campaign("failures", str(ran), "--show", "1")[0]
    assert json.loads(campaign("failures", str(ran), "--json")[0])["groups"][0]["jobs"] == list(group.jobs)
    for words in (["--where", "redshift=1.0"], ["--class", "timeout"]):
        assert "no job to retry" in campaign("retry", str(ran), *words)[0]
    assert (
        "1 jobs would go"
        in campaign("retry", str(ran), "--where", "redshift=0.5", "--where", "realization=0,1", "--dry-run")[0]
    )
    assert "1 jobs went back" in campaign(*command)[0]
    assert "nothing has failed" in campaign("failures", str(ran))[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--where", "colour=red"], "there is no parameter 'colour'"),
        (["--where", "redshift=9"], "redshift has no value 9"),
        (["--where", "realization=1,77"], "realization has no value 77"),
        (["--where", "redshift=0.5", "--where", "redshift=1.0"], "names a parameter twice"),
        (["--like", "r0000/mock_z0.500"], "r0000/mock_z0.500 has not failed"),
        (["--where", "redshift"], "not PARAMETER=VALUE"),
        (["--class", "bad luck"], "invalid choice"),
    ],
)
def test_jobs_that_are_not_there(ran, words, said):
    done = subprocess.run(
        [sys.executable, "-m", "campaign", "retry", str(ran), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.slow
def test_just_those_are_retried_whatever_else_failed_and_whatever_it_said(scripted_yaml, run_again, tmp_path):
    script = "{r0000/mock_z0.500: [raise], r0001/mock_z0.500: [raise], r0002/mock_z1.000: [fatal], r0003/mock_z1.000: [half_a_character]}"
    path = scripted_yaml(options=f"{{script: {script}}}")
    directory = tmp_path / "campaigns" / "v1.0_scripted"
    for _ in range(2):  # what it said hinders nobody, now and later
        assert run_again(path, "execution.max_retries=0").exit_code == 4
    groups = {group.jobs: group for group in failures(directory)}
    assert sorted(map(len, groups)) == [1, 1, 2]
    for jobs, group in groups.items():
        command = retry_command(group, directory)
        assert command == f"campaign retry {directory} --like {group.example.name} --run"
        told = json.loads(campaign(*command.split()[1:-1], "--dry-run", "--json")[0])
        assert len(told["retried"]) == len(jobs)
        assert group.example.name in told["retried"]


def test_text_with_a_comma_is_one_value():
    parameter = Axis("s", ("a,b", "a", "b"))
    assert values_meant(parameter, "a,b") == ["a,b"]
    assert values_meant(parameter, "b,a") == ["a", "b"]


def test_everything_about_one_job(ran):
    out, _ = campaign("logs", str(ran), "r0002/mock_z1.000")
    assert "attempt 1" in out
    assert "timeout" in out
    assert "attempt 2" in out
    assert "SHA-256" in out
    assert "Traceback" in campaign("logs", str(ran), "realization=1,redshift=0.5")[0]
    assert "Traceback" not in campaign("logs", str(ran), "r0001/mock_z0.500", "--brief")[0]
    assert len(json.loads(campaign("logs", str(ran), "r0002/mock_z1.000", "--json")[0])["records"]) == 2
    with pytest.raises(UsageError, match="there is no job 'nobody'"):
        story(ran, "nobody")


def test_why_a_job_is_not_running(ran):
    assert story(ran, "r0000/mock_z0.500").why == ["it has completed"]
    first, second = story(ran, "r0001/mock_z0.500", here="my.yaml").why
    assert first.startswith(
        "its attempts are used up (3 that it is blamed for, 0 that happened to it); the last: [error] "
    )
    assert "campaign retry my.yaml" in second
    campaign("retry", str(ran))
    where, what = story(ran, "r0001/mock_z0.500", here="my.yaml").why  # nothing of the attempts before
    assert where == "no coordinator is at work; 0 jobs are before it"
    assert what.startswith("run it: campaign run my.yaml")
    orders.give(ran / "metadata", Order.PAUSE, "quota")
    out, _ = campaign("explain", str(ran), "r0001/mock_z0.500")
    assert "quota" in out
    assert "campaign resume" in out


def test_a_map_shows_where_it_failed(ran):
    out, _ = campaign("status", str(ran), "--map")
    lines = out.splitlines()[-8:]
    assert lines == [
        "realization  redshift from 0.5 to 1", *(f"{n:>11} {'X#' if n == 1 else '##'}" for n in range(6)), "# completed  X failed",
    ]  # fmt: skip
    turned = campaign("status", str(ran), "--map", "redshift")[0].splitlines()
    assert "     0.5 #X####" in turned
    done = subprocess.run(
        [sys.executable, "-m", "campaign", "status", str(ran), "--map", "colour"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "name of: realization, redshift" in done.stderr


def test_watching_ends_where_nothing_runs(ran):
    assert "11 of 12 completed" in campaign("status", str(ran), "--watch")[0]
