import json

import pytest
import torch

from mscnn import commandline
from mscnn.bench import step
from mscnn.bench.memory import LiveBytes
from mscnn.errors import DataError, UsageError
from tests.conftest import run_python

MIB = 2**20


def test_live_bytes_are_those_alive_at_once():
    given = torch.zeros(MIB, dtype=torch.uint8)
    with LiveBytes() as memory:
        first = given + 1                       # 1 MiB
        second = torch.cat([first, first])      # 2 more
        second.add_(1)                          # in place: none
        view = second[:10]                      # a view: none
        del first, second                       # 1 goes, the view keeps 2
        third = torch.zeros(3 * MIB, dtype=torch.uint8)   # 5 at once
        del view, third
        stays = torch.zeros(4 * MIB, dtype=torch.uint8)
    assert memory.peak() == 5 * MIB
    assert memory.peak(without=[stays]) == 5 * MIB
    with LiveBytes() as memory:
        stays = torch.zeros(4 * MIB, dtype=torch.uint8)
        given + 1
    assert (memory.peak(), memory.peak(without=[stays])) == (5 * MIB, MIB)


def test_counts_of_a_small_step():
    """Dense operations on 128x128 by formula, the sparse ones fewer; activations of the dense branches by hand."""
    dense = step.dense_gflop(1, 128, 128)
    branches = [(16, 1), (16, 2), (16, 4), (32, 8), (32, 16), (32, 32), (64, 64)]
    forward = sum(2 * 25 * (128 // scale) ** 2 * (b + 2 * b * b) for b, scale in branches)
    first = sum(2 * 25 * (128 // scale) ** 2 * b for b, scale in branches)  # no gradient of the field is computed
    head = 2 * (4 * 208 * 1024 + 1024 * 512 + 512 * 13)
    assert dense == pytest.approx((3 * forward - first + 3 * head) / 1e9, rel=1e-6)

    flags = frozenset({"avx512_bf16"})
    counted = {variant: step.count(step.Step(variant, (2, 1, 128, 128), flags), 2)
               for variant in ("dense-fp32", "sparse-fp32")}
    assert counted["dense-fp32"]["gflop_per_image"] == pytest.approx(dense, rel=1e-6)
    assert counted["sparse-fp32"]["gflop_per_image"] < 0.7 * dense
    branch_0 = 3 * 16 * 128 * 128 * 4 / MIB  # three layers of activations that the dense way keeps
    assert counted["dense-fp32"]["mib_per_image"] > branch_0
    assert counted["sparse-fp32"]["mib_per_image"] < counted["dense-fp32"]["mib_per_image"]


def test_a_cpu_without_bfloat16_is_said_and_the_rest_is_measured():
    settings = commandline.bench_step(["--size", "128x128", "--minibatch", "1", "--repeats", "1", "--variants",
                                       "dense-fp32,sparse-bf16"])
    results = step.measure(settings, frozenset())
    assert results["variants"]["sparse-bf16"] == {"left_out": "no AVX512_BF16 or AMX in this CPU"}
    assert len(results["variants"]["dense-fp32"]["images_per_second"]) == 1
    lines = step.table(results).splitlines()
    assert lines[2].startswith("dense-fp32")
    assert "left out: no AVX512_BF16" in lines[3]


def test_refusals():
    for arguments, message in ((["--variants", "sparse-fp64"], "sparse-fp64"), (["--size", "9"], "HEIGHTxWIDTH"),
                               (["--repeats", "0"], "repeats must be at least 1")):
        with pytest.raises(UsageError) as refusal:
            commandline.bench_step(arguments)
        assert message in str(refusal.value)
    with pytest.raises(DataError, match="multiples of 128"):
        step.measure(commandline.bench_step(["--size", "100x100"]), frozenset())


def test_the_command_writes_a_table_and_json(tmp_path):
    done = run_python("-m", "mscnn.bench", "step", "--size", "128x128", "--minibatch", "2", "--repeats", "2", "--variants",
                      "dense-fp32-nchw,sparse-fp32", "--json", tmp_path / "step.json")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "step.json").read_text())
    assert set(results["variants"]) == {"dense-fp32-nchw", "sparse-fp32"}
    assert len(results["variants"]["sparse-fp32"]["images_per_second"]) == 2
    assert results["packages"]["torch"]
    assert "sparse-fp32" in done.stdout
