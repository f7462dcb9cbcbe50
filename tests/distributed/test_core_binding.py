import pytest
import torch

from mscnn.core import config
from mscnn.core.errors import UsageError
from mscnn.distributed import core_binding, core_plan, cpu_topology
from mscnn.distributed.cpu_topology import Cpu, Topology
from mscnn.distributed.world import World

FOUR_CORES = Topology(tuple(Cpu(0, 0, core, core) for core in range(4)))
UNBOUND = {"bind": False}


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    """A machine of four cores, and this process's threads put back afterwards."""
    before = torch.get_num_threads()
    monkeypatch.setattr(cpu_topology, "read_topology", lambda: FOUR_CORES)
    monkeypatch.setattr(cpu_topology, "allowed_cpus", lambda: frozenset(range(4)))
    monkeypatch.setattr(cpu_topology, "cgroup_cores", lambda: None)
    yield
    torch.set_num_threads(before)


def test_a_rank_alone_computes_on_all_cores():
    plan = core_binding.bind_rank(World(host="here"), config.Parallel(**UNBOUND))
    assert (plan.compute, torch.get_num_threads()) == ((0, 1, 2, 3), 4)
    assert core_binding.describe_bindings(World(host="here"), plan) == [
        "rank 0 on here: cores 0-3 (socket 0, memory node 0), 4 threads, loader on the same cores: 4 cores for 1 rank"]


def test_more_threads_than_cores_are_refused_unless_allowed():
    refusal = (r"too few cores: rank 0 on here would share theirs \(.*more than the 4 cores available\); start fewer "
               "ranks, lower --threads, or allow it by --oversubscribe true")
    with pytest.raises(UsageError, match=refusal):
        core_binding.bind_rank(World(host="here"), config.Parallel(threads=5, **UNBOUND))
    assert core_binding.bind_rank(World(), config.Parallel(threads=5, oversubscribe=True, **UNBOUND)).threads == 5


def test_a_process_that_is_measured_keeps_to_the_quota(monkeypatch):
    monkeypatch.setattr(cpu_topology, "cgroup_cores", lambda: 2.0)
    assert (core_binding.bind_single_process(0).threads, torch.get_num_threads()) == (2, 2)
    assert core_binding.bind_single_process(3).threads == 3


def test_the_reader_leaves_the_compute_cores_where_it_has_others(monkeypatch):
    bound = []
    monkeypatch.setattr(cpu_topology, "bind_loader", bound.append)
    for loader_cores, bind, expected in ((1, True, [(3,)]), (0, True, []), (1, False, [])):
        settings = config.Parallel(loader_cores=loader_cores, bind=bind)
        own = core_plan.plan(FOUR_CORES, [frozenset(range(4))], 0, loader_cores=loader_cores)
        core_binding.loader_binding(own, settings)()
        assert bound == expected
        bound.clear()
