import os
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.core.design import Grid
from campaign.core.model import Axis, Shape, Slot, Slurm, State
from campaign.core.policy import RULES
from campaign.errors import UsageError
from campaign.generators import find
from campaign.graph import build_graph, pack
from campaign.plan import make_plan
from campaign.testing.scripted import Scripted
from tests.conftest import load


def test_the_same_configuration_gives_the_same_plan(scripted_plan):
    one, other = scripted_plan(), scripted_plan()
    assert one.fingerprint == other.fingerprint
    assert [(n, jobs.tolist()) for n, jobs in one.batches()] == [(n, jobs.tolist()) for n, jobs in other.batches()]
    assert [one.task(j, 1, 0) for j in range(one.size)] == [other.task(j, 1, 0) for j in range(other.size)]


class OneInputARealization(Scripted):
    def inputs(self, config, point):
        return (f"halos/{point['realization']}",)


def test_jobs_that_read_the_same_input_follow_each_other():
    plan = make_plan(load_small(1), OneInputARealization(), lambda path: True)
    realizations = [plan.grid.point(job)["realization"] for job in plan.order.tolist()]
    assert [len(list(run)) for _, run in groupby(realizations)] == [plan.size // plan.grid.shape[0]] * plan.grid.shape[
        0
    ]


def test_plans_differ_where_the_science_does(scripted_plan):
    assert scripted_plan().fingerprint != scripted_plan("science.seed=1").fingerprint
    assert scripted_plan().fingerprint != scripted_plan(redshifts="[0.5, 1.0, 2.1]").fingerprint


@pytest.mark.parametrize(
    "setting",
    ["execution.batch_size=1", "execution.order=redshift_major", "resources.slots=7", "strategy.defaults.seconds=1"],
)
def test_how_it_is_executed_does_not_change_what_is_computed(scripted_plan, setting):
    assert scripted_plan().fingerprint == scripted_plan(setting).fingerprint


@given(done=st.lists(st.integers(0, 11), max_size=12, unique=True), first=st.integers(0, 1000), size=st.integers(1, 20))
def test_plan_and_done_make_the_design(done, first, size):
    plan = _PLANS.setdefault(size, _plan_of(size))
    states = np.full(plan.size, State.PENDING, np.int8)
    states[done] = State.COMPLETED
    batches = list(plan.batches(states, first))
    jobs = [int(j) for _, batch in batches for j in batch]
    assert sorted(jobs + done) == list(range(plan.size))
    assert [n for n, _ in batches] == list(range(first, first + len(batches)))
    assert all(len(batch) <= size for _, batch in batches)
    assert jobs == [j for j in plan.order.tolist() if j not in done]


_PLANS: dict = {}


def _plan_of(batch_size):
    config = load_small(batch_size)
    return make_plan(config, find("scripted"), lambda path: True)


def load_small(batch_size):
    from campaign.core.model import Config, Execution, Resources

    execution = Execution(
        batch_size, 3, "constant", 1, 1, 60, "shuffled", "skip_job", 30, "redshift", 0.999, 1.0, RULES
    )
    axes = (Axis("realization", (0, 1, 2, 3)), Axis("redshift", (0.5, 1.0, 2.0)))
    options = find("scripted").options().model_dump()
    return Config(
        "n",
        "v1",
        "",
        axes,
        0,
        "scripted",
        options,
        (),
        execution,
        Resources("local", 2, Shape(), "", "", "", ""),
        Slurm(),
        "/x",
        "m_{redshift}",
        {},
    )


def test_job_overrides_are_resolved_before_execution(scripted_yaml):
    extra = "jobs: [{where: {redshift: [2.0]}, timeout_hours: 4, options: {slot_fails: true}}]\n"
    plan = make_plan(load(scripted_yaml(extra=extra)), find("scripted"), os.path.exists)
    late = [plan.task(j, 1, 0) for j in range(plan.size) if plan.grid.point(j)["redshift"] == 2.0]
    early = [plan.task(j, 1, 0) for j in range(plan.size) if plan.grid.point(j)["redshift"] != 2.0]
    assert {t.timeout_s for t in late} == {14400.0}
    assert {t.timeout_s for t in early} == {36.0}
    assert all(t.config["slot_fails"] for t in late)
    assert not any(t.config["slot_fails"] for t in early)


def test_every_task_carries_what_identifies_it(scripted_plan):
    plan = scripted_plan()
    tasks = [plan.task(j, 1, 0) for j in range(plan.size)]
    assert len({t.task_fingerprint for t in tasks}) == plan.size
    assert len({t.seed for t in tasks}) == plan.size
    assert len({t.product for t in tasks}) == plan.size
    assert {len(t.resolved_config_hash) for t in tasks} == {64}


@pytest.fixture
def inputs(tmp_path):
    """Inputs of a 4 x 3 campaign, two of them missing."""
    root = tmp_path / "inputs"
    root.mkdir()
    for r in range(4):
        for z in (0.5, 1.0, 2.0):
            if (r, z) not in [(1, 1.0), (3, 2.0)]:
                (root / f"{r}_{z}").touch()
    return root


@pytest.mark.parametrize(("policy", "jobs"), [("skip_job", [4, 11]), ("skip_realization", [3, 4, 5, 9, 10, 11])])
def test_missing_inputs_are_found_before_anything_is_spent(scripted_plan, inputs, policy, jobs):
    plan = scripted_plan(f"execution.missing_input={policy}", options=f"{{inputs: {inputs}}}")
    assert [m.job for m in plan.missing] == jobs
    assert {m.path for m in plan.missing} == {f"{inputs}/1_1.0", f"{inputs}/3_2.0"}


def test_missing_inputs_can_be_refused(scripted_plan, inputs):
    with pytest.raises(UsageError, match="2 of 12 jobs"):
        scripted_plan("execution.missing_input=refuse", options=f"{{inputs: {inputs}}}")


@pytest.mark.parametrize("scheme", ["{nonsense}", "../{redshift}", "{redshift.x}", "{}", "{redshift"])
def test_bad_naming_schemes_are_refused(scripted_plan, scheme):
    with pytest.raises(UsageError, match="naming_scheme"):
        scripted_plan(f"outputs.naming_scheme='{scheme}'")


def test_a_scheme_that_gives_two_jobs_one_name_is_refused(scripted_plan):
    plan = scripted_plan()
    short = replace(plan.config, axes=(Axis("realization", (0, 1)), Axis("redshift", (0.5, 0.5001))))
    with pytest.raises(UsageError, match=r"0\.5 and 0\.5001 are both called z0\.500"):
        make_plan(short, find("scripted"), os.path.exists)


def test_the_graph_has_one_call_a_job(scripted_plan):
    plan = scripted_plan()
    calls = list(build_graph(plan, [(job, 1, 0) for job in plan.order.tolist()]))
    assert [call.key for call in calls] == [("job", job) for job in plan.order.tolist()]


def test_a_lease_holds_its_calls_in_their_order_and_never_mixes_batches(scripted_plan):
    plan, slot = scripted_plan(), Slot(1, Shape(), ("n1",), ((0,),), ((),))
    calls = list(build_graph(plan, [(job, 1, 7) for job in (3, 1, 2)]))
    lease = pack(calls, 100, slot, starts_until_ms=5)
    assert (lease.number, lease.slot, lease.starts_until_ms) == (100, slot, 5)
    assert [call.task.job for call in lease.calls] == [3, 1, 2]
    with pytest.raises(ValueError, match="one batch"):
        pack([*calls, *build_graph(plan, [(0, 1, 8)])], 101, slot)


def test_grids_of_other_axes_work_as_well():
    design = Grid((Axis("dt", (0.1, 0.2)), Axis("kappa", (1, 2)), Axis("label", ("a", "b"))))
    assert design.point(5) == {"dt": 0.2, "kappa": 1, "label": "b"}
