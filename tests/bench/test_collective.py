import json
import sys

import pytest

from mscnn.bench import collective, cost_model, process
from mscnn.bench.cost_model import Cluster
from mscnn.bench.settings import CollectiveSettings, parse_bytes
from mscnn.cli import parse
from mscnn.core.errors import UsageError
from mscnn.distributed import sharded_linear
from tests.conftest import run_python

MIB = 2**20
# 8 Gb/s carries 1 GB/s; without latency and with ranks that are never in the way, times are bytes over GB/s.
PLAIN = {"ranks_per_node": 2, "gbit": 8.0, "latency_us": 0.0, "efficiency": 1.0, "rank_rate": float("inf"),
         "rank_rate_bfloat16": float("inf"), "algorithm": "ring"}


def read(arguments: list[str]) -> CollectiveSettings:
    """Return the settings of `python -m mscnn.bench collective`."""
    return parse.Command("collective", "", CollectiveSettings).read(arguments)


def test_the_least_that_a_rank_sends():
    """To reduce and to gather by a ring, twice (n - 1) parts of n; to all others, n - 1 parts of n once."""
    assert [sharded_linear.all_reduce_bytes(600, ranks) for ranks in (1, 2, 3, 4)] == [0, 600, 800, 900]
    assert [sharded_linear.all_to_all_bytes(600, ranks) for ranks in (1, 2, 3, 4)] == [0, 300, 400, 450]


def test_sizes_are_read_and_shown():
    assert [parse_bytes("sizes", text) for text in ("4KiB", "162MiB", "1GiB")] == [4096, 162 * MIB, 1024 * MIB]
    assert [collective.shown(size) for size in (512, 4096, 1.5 * MIB, 162.4 * MIB, 2**30)] == \
        ["512 B", "4 KiB", "1.5 MiB", "162.4 MiB", "1 GiB"]


def test_small_sums_are_timed_several_at_a_time():
    assert [collective.calls(size) for size in (4096, 65536, MIB, 162 * MIB)] == [50, 16, 1, 1]


@pytest.mark.parametrize(("changes", "nodes", "fabric", "exchange"), [
    ({}, 1, 0.0, 0.0),                                              # nothing leaves the node
    ({}, 2, 1.5, 1.5),                                              # 2 * 3/4 of 1 GB, one stream out of a node
    ({}, 4, 1.75, 1.75),                                            # 2 * 7/8
    ({"gbit": 16.0}, 2, 0.75, 0.75),
    ({"efficiency": 0.5}, 2, 3.0, 3.0),
    ({"latency_us": 1e6}, 2, 1.5 + 2 * 6, 1.5 + 2 * 6),             # 2 buckets of 2 * 3 messages, a second each
    ({"algorithm": "spread"}, 2, 3.0, 3.0),                         # both ranks of a node through its link
    ({"algorithm": "hierarchical"}, 1, 0.0, 0.0),
    ({"algorithm": "hierarchical"}, 2, 1.0, 1.0),                   # two nodes: 2 * 1/2
    ({"algorithm": "hierarchical", "latency_us": 1e6}, 2, 1.0 + 2 * 2, 1.0 + 2 * 2),
    ({"rank_rate": 0.5}, 1, 0.0, 2.0),                              # 2 * 1/2 of 1 GB at 0.5 GB/s
    ({"rank_rate": 0.5}, 2, 1.5, 3.0),                              # the ranks are slower than the link
    ({"rank_rate": 0.5, "algorithm": "hierarchical"}, 2, 1.0, 2.0 + 2.0),
    ({"rank_rate": 4.0}, 2, 1.5, 1.5),                              # and here faster
])
def test_time_of_a_sum_by_hand(changes, nodes, fabric, exchange):
    assert cost_model.all_reduce_seconds(nodes, Cluster(**PLAIN | changes), 1e9) == pytest.approx((fabric, exchange))


@pytest.mark.parametrize(("changes", "nodes", "fabric", "exchange"), [
    ({}, 1, 0.0, 0.0),
    ({}, 2, 1.5, 1.5),                                              # both ranks of a node send 3/4 of 1 GB
    ({}, 4, 1.75, 1.75),                                            # 7/8
    ({"algorithm": "hierarchical"}, 4, 1.75, 1.75),
    ({"latency_us": 1e6}, 2, 1.5 + 3, 1.5 + 3),                     # 3 messages, a second each
    ({"rank_rate": 0.25}, 1, 0.0, 2.0),                             # 1/2 of 1 GB at 0.25 GB/s
    ({"rank_rate": 0.25}, 2, 1.5, 3.0),
    ({"rank_rate_bfloat16": 0.25}, 2, 1.5, 1.5),                    # of float32
])
def test_time_of_an_all_to_all_by_hand(changes, nodes, fabric, exchange):
    assert cost_model.all_to_all_seconds(nodes, Cluster(**PLAIN | changes), 1e9) == pytest.approx((fabric, exchange))


def test_failure_reason():
    for said, reason in (
            ("W1: a warning\n__main__.py: error: too few cores\n\n===\nrank 1 failed\n", "too few cores"),
            ("Traceback\n  x\nValueError: no such thing\n----\nprterun noticed\n----\n", "no such thing"),
            ("----\nmpirun will not\nrun as root. Read on.\n\nAnd on.\n----\n", "mpirun will not run as root")):
        assert process.failure_reason(said) == reason
    assert process.failure_reason("killed\nout of memory\n") == "out of memory"
    assert process.failure_reason("\n") == process.failure_reason("") == ""


def test_settings_reach_the_ranks_as_arguments():
    settings = read(["--repeats", "3", "--bind", "false", "--json", "somewhere"])
    again = read(collective.options(settings, json=None, backend="mpi"))
    assert (again.repeats, again.bind, again.json, again.backend) == (3, False, None, "mpi")


def test_the_table_gives_bandwidth_by_the_bytes_that_must_leave():
    row = {"type": "float32", "bytes": 600_000, "seconds": [0.002, 0.001, 0.004]}
    found = {"ranks": 3, "hosts": 1, "launcher": "srun", "rendezvous": "gloo", "bindings": ["rank 0 here"], "repeats": 3,
             "sums": [row]}
    lines = collective.table({"gloo": found, "mpi": {"left_out": "why"}}).splitlines()
    assert lines[0].startswith("gloo: 3 ranks on 1 host by srun")
    assert lines[3].split() == ["float32", "585.9", "KiB", "781.2", "KiB", "2.000", "1.000", "4.000", "0.400"]
    assert lines[4] == "mpi left out: why"


def test_refusals():
    for arguments, message in (
            (["--sizes", "many"], "sizes must be like 4KiB"), (["--sizes", "0MiB"], "sizes must be like 4KiB"),
            (["--sizes", "1KiB,"], "sizes must be like 4KiB"), (["--sizes=-1KiB"], "sizes must be like 4KiB"),
            (["--repeats", "0"], "repeats must be at least 1"), (["--ranks", "1"], "ranks must be at least 2"),
            (["--backends", "nccl"], "backends are different ones of gloo, mpi"),
            (["--backends", "gloo,gloo"], "backends are different"), (["--types", "float16"], "types are different ones")):
        with pytest.raises(UsageError) as refusal:
            read(arguments)
        assert message in str(refusal.value)


def test_a_refusal_is_one_line_with_exit_code_2():
    for arguments in (["--sizes", "many"], ["--repeats", "0"]):
        done = run_python("-m", "mscnn.bench", "collective", *arguments)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "error: " in done.stderr


@pytest.mark.ranks
def test_the_command_starts_ranks_over_each_backend_it_can_have(tmp_path):
    done = run_python("-m", "mscnn.bench", "collective", "--sizes", "64KiB", "--repeats", "1", "--oversubscribe", "true",
                      "--json", tmp_path / "sums.json", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "sums.json").read_text())
    assert results["packages"]["torch"]
    assert set(results["backends"]) == {"gloo", "mpi"}
    assert "sums" in results["backends"]["gloo"], results["backends"]["gloo"]
    for backend, found in results["backends"].items():
        if "left_out" in found:
            assert f"{backend} left out: {found['left_out']}" in done.stdout.splitlines()
            continue
        assert (found["ranks"], found["hosts"]) == (2, 1)
        assert [(row["type"], row["bytes"], len(row["seconds"])) for row in found["sums"]] == \
            [("float32", 65536, 1), ("bfloat16", 32768, 1)]
    assert next(line for line in done.stdout.splitlines() if line.startswith("float32")).split()[1:3] == ["64", "KiB"]


@pytest.mark.ranks
def test_a_backend_that_cannot_be_had_is_left_out_and_said(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = read(["--backends", "mpi"])
    assert collective.by_backend(settings)["mpi"]["left_out"].startswith("no mpiexec beside python or on PATH")


@pytest.mark.ranks
def test_under_a_launcher_its_ranks_are_measured_and_rank_0_speaks(tmp_path):
    done = run_python("-m", "mscnn.bench", "collective", "--sizes", "4KiB", "--types", "float32", "--repeats", "2",
                      "--oversubscribe", "true", "--json", tmp_path / "sums.json", ranks=3)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "sums.json").read_text())["backends"]
    assert list(found) == ["gloo"]
    assert (found["gloo"]["ranks"], found["gloo"]["launcher"]) == (3, "torchrun")
    assert [len(row["seconds"]) for row in found["gloo"]["sums"]] == [2]
    assert done.stdout.startswith("gloo: 3 ranks on 1 host by torchrun")


@pytest.mark.ranks
def test_ranks_that_are_refused_are_left_out_with_their_own_reason():
    settings = read(["--backends", "gloo", "--ranks", "2", "--threads", "4096"])
    assert "too few cores" in collective.by_backend(settings)["gloo"]["left_out"]
