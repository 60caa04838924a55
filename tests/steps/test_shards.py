"""Several allocations on one campaign: who does what, and under which numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign.adapters.lock import CampaignLock
from campaign.core.lifecycle import JobTable
from campaign.core.model import State
from campaign.errors import LockedError
from campaign.layout import Layout
from campaign.shards import Numbers, Shard, abandoned_journals, own_part, refuse_beside_shards, shard_held


@given(st.integers(1, 9), st.lists(st.integers(0, 1000), min_size=1, max_size=9))
def test_no_two_shards_give_one_number(count, firsts):
    """Whenever each of them began, and beside the numbers of whoever commits (residue `count`)."""
    given_out = []
    for index, first in zip(range(count), firsts * count, strict=False):
        numbers = Numbers(first, Shard(index, count))
        mine = [numbers() for _ in range(50)]
        assert mine[0] >= first
        assert mine == sorted(mine)
        given_out += mine
    assert len(set(given_out)) == len(given_out)
    assert all(number % (count + 1) != count for number in given_out)


def test_every_job_is_of_one_shard_whatever_the_order(scripted_plan):
    for order in ("shuffled", "redshift_major"):
        plan = scripted_plan(f"execution.order={order}", realizations="100")
        parts = [Shard(n, 4).jobs(plan) for n in range(4)]
        assert (np.sum(parts, axis=0) == 1).all()
        assert all(40 < part.sum() < 110 for part in parts)
    assert np.array_equal(parts[1], Shard(1, 4).jobs(scripted_plan(realizations="100")))


def test_a_shard_sees_the_jobs_of_others_as_queued(scripted_plan):
    plan = scripted_plan(realizations="20")
    table = JobTable.empty(plan.size)
    table.state[:30] = State.COMPLETED
    part, mine = own_part(plan, table, Shard(0, 2)), Shard(0, 2).jobs(plan)
    assert (part.state[:30] == State.COMPLETED).all()
    assert (part.state[30:][mine[30:]] == State.PENDING).all()
    assert (part.state[30:][~mine[30:]] == State.QUEUED).all()
    assert (table.state[30:] == State.PENDING).all()


@pytest.mark.parametrize(
    ("text", "environment", "found"),
    [("2/5", {}, Shard(2, 5)), ("auto/5", {"SLURM_ARRAY_TASK_ID": "4"}, Shard(4, 5))],
)
def test_a_shard_is_named_or_found(text, environment, found):
    assert Shard.parse(text, environment) == found


@pytest.mark.parametrize(
    ("text", "words"), [("5/5", "the first is 0"), ("auto/5", "not set"), ("x", "INDEX/COUNT"), ("1/0", "first is 0")]
)
def test_a_shard_that_can_not_be(text, words):
    with pytest.raises(ValueError, match=words):
        Shard.parse(text, {})


def test_who_may_run_beside_whom(tmp_path):
    layout = Layout(tmp_path)
    with shard_held(layout, Shard(0, 2)), shard_held(layout, Shard(1, 2)):
        with pytest.raises(LockedError, match="held by another"), shard_held(layout, Shard(0, 2)):
            pass
        with pytest.raises(LockedError, match="in other shards"), shard_held(layout, Shard(0, 3)):
            pass
        with pytest.raises(LockedError, match=r"in 2 shard\(s\)"):
            refuse_beside_shards(layout)
    refuse_beside_shards(layout)


def test_journals_of_the_living_are_theirs(tmp_path):
    layout = Layout(tmp_path)
    for name in ("journal", "journal-shard-000-of-002", "journal-shard-001-of-002"):
        (tmp_path / "staging" / name).mkdir(parents=True)
    with shard_held(layout, Shard(1, 2)):
        assert [path.name for path in abandoned_journals(layout)] == ["journal", "journal-shard-000-of-002"]
    assert len(abandoned_journals(layout)) == 3


def test_a_busy_lock_can_be_waited_for_or_not(tmp_path):
    lock = CampaignLock(tmp_path)
    with pytest.raises(LockedError):
        CampaignLock(tmp_path, wait_s=0.0)
    lock.release()
    CampaignLock(tmp_path, wait_s=0.0).release()
