"""Where a run takes place, and whether there is room for its jobs."""

import os

import pytest

from campaign.assemble import ALLOCATION, LOCAL, PROVISIONED, Place, find_place, follows, require_room
from campaign.core.model import Node, Shape
from campaign.errors import UsageError
from tests.conftest import load


@pytest.fixture
def config(scripted_yaml):
    return lambda *settings: load(scripted_yaml(), *settings)


def test_without_slurm_it_is_this_machine(config):
    place = find_place(config("resources.slots=auto"), {})
    assert (place.kind, place.left_s()) == (LOCAL, None)
    assert place.nodes[0].cpus == len(os.sched_getaffinity(0))
    assert place.capacity(config("resources.slots=auto")) == place.nodes[0].cpus


def test_a_person_may_ask_for_more_than_the_cores(config):
    wanted = config("resources.slots=50", "resources.threads_per_rank=2")
    place = find_place(wanted, {})
    assert place.nodes[0].cpus >= 100
    assert place.capacity(wanted) == 50


def test_local_means_local_inside_an_allocation_as_well(config):
    assert find_place(config("resources.cluster=local"), {"SLURM_JOB_ID": "1"}).kind == LOCAL


def test_an_allocation_is_demanded(config):
    with pytest.raises(UsageError, match="this is no allocation"):
        find_place(config("resources.cluster=allocation"), {})


def test_the_queue_gives_nodes_as_they_are_asked_for(config):
    place = find_place(config("resources.cluster=provisioned", "slurm.cpus_per_node=8", "slurm.nodes=3"), {})
    assert (place.kind, len(place.nodes), place.nodes[0].cpus) == (PROVISIONED, 3, 8)
    with pytest.raises(UsageError, match="on 2 node"):
        require_room(place, [Shape(ranks=2, nodes=2)])  # ranks never span two jobs of the queue


def test_room_is_required_for_every_shape():
    place = Place(ALLOCATION, (Node("a", 4, 0, 2**30), Node("b", 4, 0, 2**30)))
    require_room(place, [Shape(), Shape(ranks=8, nodes=2), Shape(memory_bytes=2**30)])
    for shape, words in [
        (Shape(ranks=5), "5 rank"), (Shape(gpus_per_rank=1), "1 GPU each"), (Shape(memory_bytes=2**31), "2 GiB"),
    ]:  # fmt: skip
        with pytest.raises(UsageError, match=words):
            require_room(place, [Shape(), shape])


def test_only_the_other_ranks_of_a_typed_step_follow():
    typed = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "1"}
    assert follows(typed)
    assert not follows({**typed, "SLURM_PROCID": "0"})
    assert not follows({})
