import numpy as np

from mscnn.distributed.world import World


def test_a_single_process_needs_no_group():
    world = World()
    assert world.sum(1, 2.5) == [1, 2.5]
    assert world.gather({"a": 1}) == [{"a": 1}]
    assert world.any(True)
    assert not world.any(False)
    np.testing.assert_array_equal(world.sum_array(np.eye(2)), np.eye(2))
    world.require_equal(program="a")
    assert world.gather_local(3) == [3]
    world.barrier()
    world.shutdown()
