import numpy as np
import pytest

from mscnn.errors import UsageError
from mscnn.world import World, discover

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "node1",
            "MASTER_PORT": "29500"}


def test_torchrun_and_none():
    assert discover(TORCHRUN) == World(rank=3, size=4, local_rank=1, local_size=2)
    assert discover({}) == World(rank=0, size=1, local_rank=0, local_size=1)
    assert discover({"SLURM_STEP_NUM_TASKS": "1", "OMPI_COMM_WORLD_SIZE": "1"}).size == 1


def test_partial_sets_are_refused_by_name():
    for name in ("LOCAL_RANK", "MASTER_PORT", "WORLD_SIZE"):
        with pytest.raises(UsageError, match=name):
            discover({key: value for key, value in TORCHRUN.items() if key != name})


@pytest.mark.parametrize("changed", [{"RANK": "4"}, {"LOCAL_RANK": "2"}, {"RANK": "-1"}, {"LOCAL_WORLD_SIZE": "9"}])
def test_impossible_places_are_refused(changed):
    with pytest.raises(UsageError, match="cannot be"):
        discover({**TORCHRUN, **changed})


@pytest.mark.parametrize("variable", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_other_launchers_do_not_silently_train_alone(variable):
    with pytest.raises(UsageError, match="started 4 processes that would each train alone"):
        discover({variable: "4"})
    assert discover({variable: "4", **TORCHRUN}).size == 4  # torchrun inside another launcher: the innermost wins


def test_a_single_process_needs_no_group():
    world = discover({})
    assert world.sum(1, 2.5) == [1, 2.5]
    assert world.gather({"a": 1}) == [{"a": 1}]
    assert world.any(True)
    assert not world.any(False)
    np.testing.assert_array_equal(world.sum_array(np.eye(2)), np.eye(2))
    world.barrier()
    world.leave()
