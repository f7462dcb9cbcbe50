import json

import pytest
import torch

from mscnn.bench import layers
from mscnn.bench.settings import LayersSettings
from mscnn.cli import parse
from mscnn.core.errors import DataError, UsageError
from mscnn.model.ways import BRANCH_CHANNELS, DENSE, SPARSE, WINOGRAD
from tests.conftest import run_python

HEAD = 208 * 1024 + 1024 + 1024 * 512 + 512 + 512 * 13 + 13    # weights of the head for fields of 128x128
BRANCHES = [f"branch {i} {direction}" for direction in ("forward", "backward") for i in range(7)]
NAMES = ["input pyramid", *BRANCHES, "head forward", "head backward", "optimiser"]
UNCUT = ["whole step, uncut", "forward alone"]


def read(*arguments: str) -> LayersSettings:
    """Return the settings of `mscnn bench layers` for two small fields of one channel."""
    return parse.Command("layers", "", LayersSettings).read(
        ["--size", "128x128", "--channels", "1", "--minibatch", "2", *arguments])


def built(*arguments: str) -> layers.Step:
    """Return the step of the settings, on a CPU that has every type of number."""
    return layers.build_step(read(*arguments), frozenset({"avx512_bf16"}))


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """Give each part of a turn the same seconds: 100 in the warm-up, then 1, 2 and 9; bounds: 100 GFLOP/s, 10 GB/s."""
    turns, calls = [100.0, 1.0, 2.0, 9.0], []

    def seconds(action):
        action()
        calls.append(action)
        return turns[(len(calls) - 1) // (len(NAMES) + len(UNCUT))]

    monkeypatch.setattr(layers, "seconds", seconds)
    monkeypatch.setattr(layers, "matrix_gflops", lambda precision: {"float32": 100.0, "bfloat16": 200.0}[precision])
    monkeypatch.setattr(layers, "memory_gb_per_second", lambda: 10.0)
    return turns


@pytest.mark.parametrize("arguments", [("--gradient", "dense"), (), ("--kernel", "torch"), ("--gradient", "sparse"),
                                       ("--gradient", "winograd"), ("--precision", "bfloat16")])
def test_the_step_in_parts_computes_what_the_whole_step_does(arguments):
    """The momentum after the first step is the gradient and the weight decay, of each parameter."""
    cut, whole = built(*arguments), built(*arguments)
    layers.take_parts(cut, lambda name, action: action())
    whole.whole()
    for (name, ours), theirs in zip(cut.network.named_parameters(), whole.network.parameters(), strict=True):
        momentum, expected = (step.optimiser.state[parameter]["momentum_buffer"]
                              for step, parameter in ((cut, ours), (whole, theirs)))
        # the loss is a mean in one, a weighted sum in the other; bfloat16 has 8 bits
        rtol = 1e-5 if cut.acceleration.precision == "float32" else 2**-7
        torch.testing.assert_close(momentum, expected, rtol=rtol, atol=rtol * expected.abs().max().item(), msg=name)
        assert expected.abs().max() > 0
        assert ours.grad is None


def test_all_runs_in_order_and_prediction_is_in_inference_mode():
    step, seen = built(), {}

    def run(name, action):
        seen[name] = (step.network.training, torch.is_inference_mode_enabled())
        return action()

    layers.take_all(step, run)
    assert sorted(seen) == sorted([*NAMES, *UNCUT])
    assert [name for name, mode in seen.items() if mode != (True, False)] == ["forward alone"]
    assert seen["forward alone"] == (False, True)
    assert step.network.training


def test_operations_of_a_dense_step_by_hand():
    counted = layers.count_operations(built("--gradient", "dense"))
    expected = {"input pyramid": 0, "optimiser": 0, "head forward": 2 * 2 * (4 * 208 * 1024 + 1024 * 512 + 512 * 13)}
    expected["head backward"] = 2 * expected["head forward"]
    for i, b in enumerate(BRANCH_CHANNELS):
        first, others = (2 * 2 * 25 * (128 >> i) ** 2 * weights for weights in (b, 2 * b * b))
        expected |= {f"branch {i} forward": first + others, f"branch {i} backward": first + 2 * others}
    expected["forward alone"] = sum(number for name, number in expected.items() if name.endswith("forward"))
    expected["whole step, uncut"] = sum(number for name, number in expected.items() if name != "forward alone")
    assert counted == expected


def test_sparse_branches_multiply_less():
    dense, sparse = (layers.count_operations(built("--gradient", gradient, "--kernel", "torch"))
                     for gradient in ("dense", "sparse"))
    assert dense["branch 0 forward"] == sparse["branch 0 forward"]
    assert dense["branch 0 backward"] > 2 * sparse["branch 0 backward"] > 0
    assert dense["head backward"] == sparse["head backward"]


@pytest.mark.parametrize(("precision", "itemsize"), [("float32", 4), ("bfloat16", 2)])
def test_bytes_by_hand(precision, itemsize):
    step = built("--gradient", "dense", "--precision", precision)
    found = {part.name: part for part in layers.parts(step)}
    assert list(found) == NAMES
    scales = [2 * 4 * (128 >> i) ** 2 for i in range(7)]
    assert found["input pyramid"].least_bytes == sum(scales)
    for i, b in enumerate(BRANCH_CHANNELS):
        for direction in ("forward", "backward"):
            part = found[f"branch {i} {direction}"]
            assert (part.way, part.precision) == (DENSE, precision)
            assert part.least_bytes == scales[i] + 2 * 4 * b * itemsize     # two fields of 2x2 windows
    branches = sum(25 * (b + 2 * b * b) + 3 * b for b in BRANCH_CHANNELS)
    assert [found[name].least_bytes for name in NAMES[-3:]] == [4 * HEAD, 8 * HEAD, 20 * (HEAD + branches)]


@pytest.mark.parametrize("gradient", ["auto", "winograd"])
def test_ways_are_those_of_the_network_and_compiled_branches_multiply_in_float32(gradient):
    step = built("--precision", "bfloat16", "--gradient", gradient)
    branches = {part.name: part for part in layers.parts(step) if part.name in BRANCHES}
    assert [part.way for part in branches.values()] == 2 * list(step.network.ways())
    assert all((part.precision == "bfloat16") == (part.way in (DENSE, SPARSE)) for part in branches.values())


def test_winograd_moves_the_activations_that_it_keeps():
    step = built("--gradient", "winograd")
    found = {part.name: part for part in layers.parts(step)}
    for i, way in enumerate(step.network.ways()):
        pixels = 2 * (128 >> i) ** 2
        kept = 2 * 4 * BRANCH_CHANNELS[i] * pixels if way == WINOGRAD else 0
        assert found[f"branch {i} forward"].least_bytes == 4 * pixels + 2 * 4 * BRANCH_CHANNELS[i] * 4 + kept


def test_rows_are_medians_without_the_warm_up_and_shares_add_up(clock):
    results = layers.measure(read("--repeats", "3", "--gradient", "dense", "--precision", "bfloat16"),
                             frozenset({"avx512_bf16"}))
    rows = {row["part"]: row for row in results["parts"]}
    assert list(rows) == NAMES
    assert all(row["seconds"] == [1, 2, 9] and row["median_seconds"] == 2 for row in rows.values())
    assert all(row["share"] == pytest.approx(1 / 18) for row in rows.values())
    for name, row in rows.items():
        rate = 200 if name in BRANCHES else 100
        arithmetic, memory = row["gflop"] / 2 / rate, row["least_bytes"] / 1e9 / 2 / 10
        assert row["bound"] == ("arithmetic" if arithmetic > memory else "memory")
        assert row["share_of_bound"] == pytest.approx(max(arithmetic, memory))
        assert (row["gflop_per_second"], row["gb_per_second"]) == (row["gflop"] / 2, row["least_bytes"] / 1e9 / 2)
    assert (rows["branch 0 forward"]["bound"], rows["optimiser"]["bound"]) == ("arithmetic", "memory")
    total = results["sum"]
    assert total["median_seconds"] == 36
    assert total["share_of_bound"] == pytest.approx(sum(row["share_of_bound"] for row in rows.values()) / 18)
    assert total["gflop"] == pytest.approx(results["whole_step"]["gflop"])
    for uncut in ("whole_step", "forward"):
        assert (results[uncut]["median_seconds"], results[uncut]["fields_per_second"]) == (2, 1)


def test_memory_speed_counts_two_reads_and_a_write(monkeypatch):
    monkeypatch.setattr(layers, "MEMORY_MIB", 1)
    monkeypatch.setattr(layers, "seconds", lambda action: action() is None or 2.0)
    assert layers.memory_gb_per_second() == pytest.approx(3 * 2**20 / 1e9 / 2)


def test_refusals():
    with pytest.raises(UsageError, match="--precision bfloat16: no AVX512_BF16 or AMX in this CPU; measure --precision "
                                         "float32"):
        layers.measure(read("--precision", "bfloat16"), frozenset())
    with pytest.raises(DataError, match="multiples of 128"):
        layers.measure(read("--size", "100x100"), frozenset())
    for arguments, message in ((["--size", "9"], "HEIGHTxWIDTH"), (["--repeats", "0"], "repeats must be at least 1")):
        with pytest.raises(UsageError, match=message):
            read(*arguments)


def test_the_command_writes_the_table_and_the_same_as_json(tmp_path):
    done = run_python("-m", "mscnn.bench", "layers", "--size", "128x128", "--channels", "1", "--minibatch", "2",
                      "--repeats", "1", "--threads", "1", "--json", tmp_path / "layers.json")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "layers.json").read_text())
    assert results["threads"] == 1
    assert results["packages"]["torch"]
    _, bounds, _, *lines = done.stdout.splitlines()
    assert f"{results['memory_gb_per_second']:.1f} GB/s" in bounds
    rows = [*results["parts"], results["sum"]]
    assert [row["part"] for row in rows] == [*NAMES, "sum"]
    for line, row in zip(lines, rows, strict=False):
        name, numbers = line[:19].strip(), line[19:].split()
        assert [name, numbers[0], numbers[7]] == [row["part"], row["way"], row["bound"]]
        shown = [1e3 * row["median_seconds"], 100 * row["share"], row["gflop"], row["gflop_per_second"],
                 row["least_bytes"] / 1e6, row["gb_per_second"], 100 * row["share_of_bound"]]
        found = [float(number.rstrip("%")) for number in [*numbers[1:7], numbers[8]]]
        assert found == pytest.approx(shown, abs=0.5)  # decimals of the table
    forward, whole = results["forward"], results["whole_step"]
    assert f"{whole['fields_per_second']:.2f} fields/s" in lines[-3]
    assert f"{forward['fields_per_second']:.2f} fields/s" in lines[-2]
    assert f"{forward['fields_per_second'] / whole['fields_per_second']:.2f} times" in lines[-1]
