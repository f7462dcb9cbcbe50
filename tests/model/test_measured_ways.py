"""How ways are timed and chosen. No test reads a clock: times are given."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mscnn.model import measured_ways, ways
from mscnn.model.acceleration import Acceleration
from mscnn.model.measured_ways import CHEAP, ENOUGH, GAIN, HOPELESS, ROUNDS, SHORT, choose, measure, table
from mscnn.model.ways import BRANCH_CHANNELS, COMPILED, DENSE, SPARSE

SIDE = 128
TORCH_WAYS = [[SPARSE, DENSE]] * 6 + [[DENSE]]  # every machine has these


@pytest.fixture
def counted(monkeypatch):
    """Multiplications of each way, alike in all branches, of which none is computed."""
    monkeypatch.setattr(measured_ways, "_passes", lambda *_: None)
    products = {DENSE: 100, SPARSE: 100, COMPILED: 100}  # in units of what is always timed
    monkeypatch.setattr(ways, "products", lambda way, *shape: CHEAP * products[way])
    return products


def given(seconds_of: dict[str, list[float]], asked: list[str]):
    """Seconds that are given in turn, and noted; the last one stays."""
    def seconds(way, action):
        asked.append(way)
        times = seconds_of[way]
        return times.pop(0) if len(times) > 1 else times[0]
    return seconds


def timed(seconds_of: dict[str, list[float]], precision: str = "float32") -> tuple[dict, list[str]]:
    """The times of one branch, and whose turn it was."""
    asked: list[str] = []
    (times,) = measure([list(seconds_of)], 3, SIDE, SIDE, Acceleration(precision), given(seconds_of, asked))
    return times, asked


@pytest.mark.usefixtures("counted")
def test_ways_take_turns_and_the_least_time_counts():
    times, asked = timed({DENSE: [0.03, 0.02, 0.04], SPARSE: [0.05, 0.01, 0.01]})
    assert times == {DENSE: 20.0, SPARSE: 10.0}
    assert asked == [DENSE, SPARSE] * (ROUNDS + 1)


@pytest.mark.usefixtures("counted")
def test_a_long_measurement_ends_after_a_turn_and_a_lone_way_is_timed_twice():
    assert timed({DENSE: [ENOUGH], SPARSE: [ENOUGH]})[1] == [DENSE, SPARSE] * 2
    assert timed({DENSE: [1e-3]})[1] == [DENSE] * 2


def test_a_way_that_is_far_slower_at_first_is_not_timed_again_unless_it_multiplies_least(counted):
    slow, fast = HOPELESS * SHORT * 1.01, SHORT
    assert timed({DENSE: [fast], SPARSE: [slow]})[1] == [DENSE, SPARSE, DENSE]
    counted[SPARSE] = 99  # the first pass of the likeliest way may have been disturbed
    times, asked = timed({DENSE: [fast], SPARSE: [slow, fast / 2]})
    assert asked[2:4] == [DENSE, SPARSE]
    assert times == {DENSE: 1e3 * fast, SPARSE: 500 * fast}
    counted[SPARSE] = 100
    assert len(timed({DENSE: [1e-4], SPARSE: [SHORT]})[1]) > 3  # milliseconds tell nothing at first


@pytest.mark.parametrize(("precision", "limit"), [("float32", 6), ("bfloat16", 16)])
def test_a_way_that_is_counted_far_above_the_least_is_left_out(counted, precision, limit):
    for times_above, is_timed in ((limit, True), (limit + 1, False)):
        counted |= {COMPILED: 10, DENSE: 10 * times_above}
        times, _ = timed({COMPILED: [2e-3], DENSE: [1e-3]}, precision)
        assert times == {COMPILED: 2.0, DENSE: 1.0 if is_timed else None}
        assert choose([times], 3, SIDE, SIDE) == ((DENSE,) if is_timed else (COMPILED,))
    counted |= {SPARSE: 61, DENSE: 10}  # both in bfloat16, or in float32
    assert timed({SPARSE: [1e-3], DENSE: [1e-3]}, precision)[0] == {SPARSE: None, DENSE: 1.0}
    counted |= {SPARSE: 1, DENSE: 0.01}  # a few milliseconds
    assert timed({SPARSE: [1e-3], DENSE: [1e-3]}, precision)[0] == {SPARSE: 1.0, DENSE: 1.0}


def test_another_way_must_be_faster_than_the_counted_one_by_more_than_noise(counted):
    counted |= {COMPILED: 10, DENSE: 20}
    for milliseconds, expected in ((1.01 * (1 - GAIN), COMPILED), (0.99 * (1 - GAIN), DENSE)):
        assert choose([{DENSE: milliseconds, COMPILED: 1.0}], 3, SIDE, SIDE) == (expected,)
    counted |= {COMPILED: 20, DENSE: 10}
    assert choose([{DENSE: 1.01, COMPILED: 1.0}], 3, SIDE, SIDE) == (DENSE,)


def test_the_passes_are_those_of_a_training_step():
    """Operations of branch 0: dense by hand, sparse between its forward pass and dense."""
    found = {}

    def operations(way, action):
        with FlopCounterMode(display=False) as flops:
            action()
        found[way] = flops.get_total_flops()
        return 1.0

    measure([[SPARSE, DENSE]], 3, SIDE, SIDE, Acceleration(), operations)
    sparse, dense, weights = found[SPARSE], found[DENSE], [25 * 3 * 16, 25 * 16 * 16, 25 * 16 * 16]
    assert dense == 2 * SIDE**2 * (3 * sum(weights) - weights[0])  # the field gets no gradient
    assert 2 * SIDE**2 * sum(weights) < sparse < dense


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_passes_run_in_the_precision_of_the_training(precision):
    types = []
    watch = nn.modules.module.register_module_forward_hook(
        lambda module, _, output: types.append(output.dtype) if isinstance(module, nn.Conv2d) else None)
    try:
        measure([[DENSE]], 3, SIDE, SIDE, Acceleration(precision), lambda way, action: action() or 1.0)
    finally:
        watch.remove()
    assert set(types) == {getattr(torch, precision)}


def test_every_branch_is_computed_at_its_size_and_the_random_state_stays(monkeypatch):
    shapes, prepare = [], Acceleration.prepare

    def noted(self, branch):
        branch.register_forward_pre_hook(lambda module, given: shapes.append((module.way, module.pool, *given[0].shape)))
        return prepare(self, branch)

    monkeypatch.setattr(Acceleration, "prepare", noted)
    before = torch.get_rng_state()
    times = measure(TORCH_WAYS, 2, 128, 256, Acceleration(), lambda way, action: action() or 1e-3)
    assert torch.equal(torch.get_rng_state(), before)
    assert {(pool, *shape[2:]) for _, pool, *shape in shapes if shape[2:] != [pool, pool]} == {
        (64 >> i, 128 >> i, 256 >> i) for i in range(len(BRANCH_CHANNELS))}
    assert {shape[2:4] for shape in shapes} == {(1, 2)}
    assert [list(of_branch) for of_branch in times] == TORCH_WAYS


def test_the_table_names_what_was_left_out_and_what_a_branch_does_not_have():
    lines = table([{COMPILED: 12.345, DENSE: None}, {SPARSE: 7.0, DENSE: 3.0}], [COMPILED, DENSE], 1024, 1280)
    assert [line.split() for line in lines] == [
        ["branch", "pixels", "compiled,", "ms", "dense,", "ms", "sparse,", "ms", "used"],
        ["0", "1024x1280", "12.3", "left", "out", "-", "compiled"],
        ["1", "512x640", "-", "3.0", "7.0", "dense"]]
    assert len({len(line.rsplit("  ", 1)[0]) for line in lines}) == 1
