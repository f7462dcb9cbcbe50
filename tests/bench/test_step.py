import io
import json
import os
import signal

import pytest
import torch

from mscnn.bench import step, worker
from mscnn.bench.memory import LiveBytes
from mscnn.bench.settings import STEP_VARIANTS, StepSettings, parse_variant
from mscnn.cli import parse
from mscnn.core.errors import DataError, UsageError
from mscnn.model.acceleration import Acceleration, ipex_error
from mscnn.model.ways import DENSE, WAYS
from tests.conftest import run_python

MIB = 2**20


def read(arguments: list[str]) -> StepSettings:
    """Return the settings of `python -m mscnn.bench step`."""
    return parse.Command("step", "", StepSettings).read(arguments)


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

    counted = {gradient: worker.warm_up(worker.Step(gradient, Acceleration(), (2, 1, 128, 128)), 2)
               for gradient in ("dense", "auto")}
    assert counted["dense"]["gflop_per_image"] == pytest.approx(dense, rel=1e-6)
    assert counted["auto"]["gflop_per_image"] < 0.7 * dense
    branch_0 = 3 * 16 * 128 * 128 * 4 / MIB  # three layers of activations that the dense way keeps
    assert counted["dense"]["mib_per_image"] > branch_0
    assert counted["auto"]["mib_per_image"] < counted["dense"]["mib_per_image"]


def served(variant: str, cpu_flags: set[str], lines: int) -> list[dict]:
    """What the worker of a variant answers, in this process."""
    settings = read(["--size", "128x128", "--minibatch", "1", "--variants", variant])
    answers = io.StringIO()
    worker.serve(settings, frozenset(cpu_flags), ["\n"] * lines, answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


@pytest.fixture
def kept(monkeypatch) -> list[str]:
    """Notes calls of memory.keep_memory, which would change malloc for all later tests."""
    calls = []
    monkeypatch.setattr(worker.memory, "keep_memory", lambda: calls.append("kept") or "kept")
    return calls


def test_a_worker_answers_once_with_counts_and_then_each_time_it_is_asked(kept):
    first, *steps = served("dense-fp32", set(), 3)
    assert first["gflop_per_image"] == pytest.approx(step.dense_gflop(3, 128, 128), rel=1e-6)
    assert len(steps) == 3
    for answer in steps:
        assert 0 < answer["seconds"] < 60
        assert 0.1 < answer["peak_rss_gib"] < 24  # torch alone takes more


@pytest.mark.parametrize(("variant", "keeps"), [("dense-fp32", False), ("dense-fp32-kept", True), ("sparse-fp32", True),
                                                ("dense-fp32-nchw", False), ("dense-fp32-nchw-kept", True)])
def test_dense_variants_get_the_systems_malloc_unless_kept(kept, variant, keeps):
    assert served(variant, set(), 0)[0]["malloc"] == ("kept" if keeps else "the system's own")
    assert len(kept) == keeps


def test_words_of_a_variant_reach_the_step(kept, monkeypatch):
    seen = []

    class Noted(worker.Step):
        def __init__(self, gradient, acceleration, shape, kernel, pooling, contrasted):
            super().__init__(gradient, acceleration, shape, kernel, pooling, contrasted)
            seen.append((acceleration.precision, acceleration.channels_last, acceleration.backend,
                         set(self.network.ways()) != {DENSE}, kernel, self.network.pooling, contrasted))

    monkeypatch.setattr(worker, "Step", Noted)
    for variant in ("dense-fp32-nchw", "sparse-bf16", "sparse-fp32-torch-pooled", "sparse-fp32-contrast"):
        served(variant, {"avx512_bf16"}, 0)
    assert seen == [("float32", False, "native", False, "auto", "none", False),
                    ("bfloat16", True, "native", True, "auto", "none", False),
                    ("float32", True, "native", True, "torch", "mean-max", False),
                    ("float32", True, "native", True, "auto", "none", True)]


def test_what_cannot_be_had_is_left_out_and_said():
    assert served("sparse-bf16", set(), 1) == [{"left_out": "no AVX512_BF16 or AMX in this CPU"}]
    if reason := ipex_error():
        assert served("dense-fp32-ipex", set(), 1) == [{"left_out": reason}]


def test_the_table_names_what_is_left_out_and_what_is_not_counted():
    row = {"images_per_second": [1.0, 3.0, 2.0], "gflop_per_image": 5.0, "mib_per_image": 7.0, "peak_rss_gib": 1.25,
           "share_of_peak": 0.5}
    lines = step.table({"size": "128x128", "minibatch": 4, "repeats": 3, "matrix_product_gflops": {"float32": 100.0},
                        "variants": {"dense-fp32": row, "dense-bf16": {"left_out": "why"},
                                     "dense-fp32-ipex": {**row, "images_per_second": [4.0], "gflop_per_image": None,
                                                         "mib_per_image": None}}}).splitlines()
    assert lines[2].split() == ["dense-fp32", "2.00", "1.00", "3.00", "1.00", "5.0", "7.0", "1.25", "50%"]
    assert lines[3].split() == ["dense-bf16", "left", "out:", "why"]
    assert lines[4].split() == ["dense-fp32-ipex", "4.00", "4.00", "4.00", "2.00", "-", "-", "1.25", "50%"]


def test_ways_are_timed_for_the_precisions_of_the_variants_that_this_cpu_has(monkeypatch):
    """Times are given: dense is the fastest way of all branches."""
    seen = []

    def measure(candidates, channels, height, width, acceleration):
        seen.append((channels, height, width, acceleration.precision))
        return [{way: 1.0 if way == DENSE else 2.0 for way in of_branch} for of_branch in candidates]

    monkeypatch.setattr(step.measured_ways, "measure", measure)
    settings = read(["--size", "128x256", "--channels", "2", "--variants", "dense-fp32,sparse-bf16,sparse-fp32"])
    found = step.measure_ways(settings, frozenset({"avx512_bf16"}))
    assert seen == [(2, 128, 256, "float32"), (2, 128, 256, "bfloat16")]
    assert found["float32"]["chosen"] == (DENSE,) * 7
    assert set(found["float32"]["counted"]) > {DENSE}
    assert set(step.measure_ways(settings, frozenset())) == {"float32"}
    lines = step.table_of_ways(found, settings.size).splitlines()
    assert [line for line in lines if "milliseconds" in line] == [
        f"ways of the branches, {precision}, milliseconds forward and backward for one field" for precision in found]
    assert [line.split()[:2] for line in lines if line[:1].isdigit()] == 2 * [
        [str(i), f"{128 >> i}x{256 >> i}"] for i in range(7)]


def test_a_worker_that_dies_is_named_with_its_last_words():
    settings = read(["--size", "128x128", "--minibatch", "1"])
    with step.worker("sparse-fp64", settings) as refused, \
            pytest.raises(UsageError, match=r"sparse-fp64 ended with code 2: .*a variant is dense\|sparse-.*'sparse-fp64'"):
        refused.answer()
    with step.worker("dense-fp32", settings) as killed:
        assert killed.answer()["gflop_per_image"]
        os.kill(killed._process.pid, signal.SIGKILL)
        with pytest.raises(UsageError, match="the process of dense-fp32 was killed by signal 9; a smaller step may fit"):
            killed.ask()


def test_refusals():
    for variants, message in (
            ("sparse-fp64", "'sparse-fp64'"), ("dense", "'dense'"), ("dense-fp32-fast", "'dense-fp32-fast'"),
            ("dense-fp32-kept-kept", "'dense-fp32-kept-kept'"), ("dense-fp32-compiled", "'dense-fp32-compiled'"),
            ("sparse-fp32-kept", "leave out kept"), ("dense-fp32-torch", "leave out torch"),
            ("dense-fp32,dense-fp32", "variants must differ")):
        with pytest.raises(UsageError) as refusal:
            read(["--variants", variants])
        assert message in str(refusal.value)
    for arguments, message in ((["--size", "9"], "HEIGHTxWIDTH"), (["--repeats", "0"], "repeats must be at least 1")):
        with pytest.raises(UsageError) as refusal:
            read(arguments)
        assert message in str(refusal.value)
    with pytest.raises(DataError, match="multiples of 128"):
        step.measure(read(["--size", "100x100"]))


def test_words_of_variants():
    assert parse_variant("dense-bf16-kept-nchw") == ("dense", "bfloat16", {"kept", "nchw"})
    assert parse_variant("sparse-fp32") == ("sparse", "float32", set())
    for variant in STEP_VARIANTS:
        parse_variant(variant)


def test_the_command_writes_a_table_and_json(tmp_path):
    done = run_python("-m", "mscnn.bench", "step", "--size", "128x128", "--minibatch", "2", "--repeats", "2", "--variants",
                      "dense-fp32-nchw,sparse-fp32", "--threads", "1", "--json", tmp_path / "step.json")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "step.json").read_text())
    assert set(results["variants"]) == {"dense-fp32-nchw", "sparse-fp32"}
    for row in results["variants"].values():
        assert len(row["images_per_second"]) == 2
        rate, peak = sum(row["images_per_second"]) / 2, results["matrix_product_gflops"]["float32"]  # a median of two
        assert row["share_of_peak"] == pytest.approx(rate * results["dense_gflop_per_image"] / peak)
    assert results["packages"]["torch"]
    assert "sparse-fp32" in done.stdout
    (ways,) = results["ways"].values()
    for of_branch, chosen in zip(ways["measured_ms"], ways["chosen"], strict=True):
        assert of_branch[chosen] > 0
    assert len([line for line in done.stdout.splitlines() if {*line.split()[-1:]} & {*WAYS}]) == 7
