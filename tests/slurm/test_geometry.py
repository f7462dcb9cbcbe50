"""The table of nodes in docs/cluster.md, recomputed by the program that plans the cores."""

import re

import pytest

from mscnn.core import config
from mscnn.core.presets import PRESETS
from mscnn.distributed.core_plan import plan
from tests.conftest import ROOT
from tests.distributed.test_cpu_topology import machine, whole

PAGE = (ROOT / "docs" / "cluster.md").read_text()
ROWS = {int(cores): (int(ranks), int(share), int(fields)) for cores, ranks, share, fields in
        re.findall(r"^\| 2 x (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)}
MEMORY_NODES = {20: 2, 56: 8, 96: 8}  # of a node: one a socket; sub-NUMA clusters of 14 cores; four a socket


def test_the_page_has_these_nodes():
    assert list(ROWS) == [*MEMORY_NODES]


@pytest.mark.parametrize("cores", MEMORY_NODES)
def test_ranks_take_all_cores_and_none_lies_on_two_sockets_or_memory_nodes(cores):
    ranks, share, _ = ROWS[cores]
    for smt in (1, 2):
        node = machine(2, cores, smt=smt, nodes=MEMORY_NODES[cores])
        plans = [plan(node, [whole(node)] * ranks, rank) for rank in range(ranks)]
        assert {one.threads for one in plans} == {share}
        assert sorted(core for one in plans for core in one.compute) == list(range(2 * cores))
        assert all(len(one.sockets) == len(one.memory_nodes) == 1 for one in plans)
        assert not any(one.oversubscribed for one in plans)


@pytest.mark.parametrize("cores", MEMORY_NODES)
def test_the_block_of_a_node_asks_for_its_ranks_and_cores(cores):
    ranks, share, fields = ROWS[cores]
    block = PAGE[PAGE.index(f"\n2 x {cores} cores"):].partition("```\n\n")[0]
    options = {name: int(value) for name, value in re.findall(r"--([\w-]+)=(\d+)", block)}
    assert options == {"nodes": 8, "ntasks-per-node": ranks, "cpus-per-task": share}
    minibatch = config.from_flat({"preset": "bbbc021", **PRESETS["bbbc021"](), "bbbc021": "x"}).optim.minibatch
    assert fields * ranks * options["nodes"] == minibatch


def test_the_row_of_the_recipe_is_what_the_scripts_ask_for():
    for script in ("train", "train_mpi"):
        header = (ROOT / "slurm" / f"{script}.sbatch").read_text()
        assert re.search(r"--nodes=8 --ntasks-per-node=(\d+) --cpus-per-task=(\d+)", header).groups() == tuple(
            map(str, ROWS[20][:2]))
