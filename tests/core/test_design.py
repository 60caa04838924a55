import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.core.design import Grid, is_meant, order, together
from campaign.core.identity import canonical_json, canonical_points
from campaign.core.model import Axis

POLICIES = ["shuffled", "block", "realization_major", "redshift_major"]


def grid(realizations, redshifts):
    return Grid(
        (Axis("realization", tuple(range(realizations))), Axis("redshift", tuple(0.1 * i for i in range(redshifts))))
    )


@given(st.integers(1, 40), st.integers(1, 12), st.data())
def test_jobs_and_points_are_the_same_thing(realizations, redshifts, data):
    design = grid(realizations, redshifts)
    job = data.draw(st.integers(0, design.size - 1))
    point = design.point(job)
    assert list(point) == ["realization", "redshift"]
    assert design.where({name: [value] for name, value in point.items()}).tolist() == [job]


def test_parameters_that_are_varied_together_are_one_axis():
    pairs = Axis("case", (0, 1, 2), varies=(Axis("R", (1, 2, 3)), Axis("C", ("a", "b", "a"))))
    design = Grid((Axis("realization", (0, 1)), pairs))
    assert design.shape == (2, 3)
    assert design.point(4) == {"realization": 1, "R": 2, "C": "b"}
    assert [parameter.name for parameter in design.parameters] == ["realization", "R", "C"]
    assert design.where({"C": ["a"]}).tolist() == [0, 2, 3, 5]
    assert design.where({"case": [1], "realization": [0]}).tolist() == [1]
    texts = list(canonical_points(design.axes))
    assert texts == [canonical_json(dict(design.point(job))) for job in range(design.size)]


@given(st.integers(1, 60), st.integers(1, 12), st.sampled_from(POLICIES), st.integers(0, 2**32 - 1))
def test_every_order_holds_every_job_once_and_is_repeatable(realizations, redshifts, policy, seed):
    design = grid(realizations, redshifts)
    jobs = order(design, policy, seed)
    assert np.array_equal(np.sort(jobs), np.arange(design.size))
    assert np.array_equal(jobs, order(design, policy, seed))


def test_the_global_shuffle_is_what_it_has_always_been():
    assert order(grid(3, 4), "shuffled", 1).tolist() == GOLDEN_SHUFFLE

    assert order(grid(3, 4), "block", 1, block=2).tolist() == GOLDEN_BLOCKS


GOLDEN_BLOCKS = [7, 4, 1, 6, 3, 0, 2, 5, 8, 11, 9, 10]
GOLDEN_SHUFFLE = [4, 7, 9, 11, 6, 5, 10, 8, 1, 0, 2, 3]


def test_major_orders_let_their_axis_run_slowest():
    assert order(grid(2, 3), "realization_major", 0).tolist() == [0, 1, 2, 3, 4, 5]
    assert order(grid(2, 3), "redshift_major", 0).tolist() == [0, 3, 1, 4, 2, 5]


def test_a_block_is_finished_before_the_next_begins():
    jobs = order(grid(100, 4), "block", 7, block=10)
    blocks = (jobs // 4 // 10).reshape(10, 40)
    assert (blocks == blocks[:, :1]).all()
    assert blocks[:, 0].tolist() != list(range(10))


def test_different_seeds_shuffle_differently():
    assert order(grid(50, 4), "shuffled", 1).tolist() != order(grid(50, 4), "shuffled", 2).tolist()


def test_an_unknown_order_lists_what_is_allowed():
    with pytest.raises(ValueError, match="redshift_major"):
        order(grid(2, 2), "alphabetic", 0)


def test_points_outside_the_grid_are_refused():
    with pytest.raises(IndexError):
        grid(2, 2).point(4)


@given(st.lists(st.integers(-1, 8), max_size=60), st.randoms(use_true_random=False))
def test_jobs_that_share_an_input_follow_each_other_and_the_rest_keeps_its_order(inputs, random):
    jobs = np.array(random.sample(range(len(inputs)), len(inputs)), dtype=np.int64)
    input_of = np.array(inputs, dtype=np.int32)
    placed = together(jobs, input_of)
    runs = [n for n, _ in itertools.groupby(input_of[placed].tolist()) if n >= 0]
    assert len(runs) == len(set(runs))
    rank = {job: n for n, job in enumerate(jobs.tolist())}
    assert sorted(placed.tolist()) == list(range(len(inputs)))
    for number in set(inputs) - {-1}:
        members = [rank[job] for job in placed.tolist() if inputs[job] == number]
        assert members == sorted(members)
    firsts = [
        rank[job] for n, job in enumerate(placed.tolist()) if inputs[job] < 0 or inputs[job] not in input_of[placed[:n]]
    ]
    assert firsts == sorted(firsts)


@pytest.mark.parametrize(
    ("value", "given", "meant"),
    [
        (0.3, 0.1 + 0.2, True), (0.3, "0.3", True), (0.3, "0.31", False), (1.0, 1, True), (1.0, True, False), (0.5, None, False),
        (4_000_000_000, 4_000_000_001, False), (4_000_000_000, "4000000000", True), (3, "three", False),
        ("A", "A", True), ("A", "a", False), ("1", 1, False), (True, "true", True), (True, 1, False), (False, False, True),
    ],
)  # fmt: skip
def test_who_means_which_value(value, given, meant):
    assert is_meant(value, given) is meant
