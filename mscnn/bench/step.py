"""A training step by variant: images a second, operations counted, bytes counted, share of the matrix-product peak.

Exercised by `python -m mscnn.bench step` and `pytest tests/test_bench.py`.  Variants take turns within one process, so
that a machine whose speed drifts treats them alike; two steps of each come first and are not timed: they count.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mscnn import accelerate, config
from mscnn.bench.memory import LiveBytes
from mscnn.errors import DataError
from mscnn.model import MCNN
from mscnn.objective import Objective

NUM_CLASSES = 13
MATRIX_SIDE = 4096
PRECISIONS = {"fp32": "float32", "bf16": "bfloat16"}


class Step:
    """A network, its optimiser and a minibatch of random fields."""

    def __init__(self, variant: str, shape: tuple[int, int, int, int], cpu_flags: frozenset[str]):
        gradient, precision, *layout = variant.split("-")
        chosen, self.report = accelerate.choose(PRECISIONS[precision], cpu_flags)
        self.acceleration = accelerate.Acceleration(chosen.precision, channels_last=not layout)
        torch.manual_seed(0)
        self.network = self.acceleration.prepare(
            MCNN(NUM_CLASSES, *shape[1:], gradient="auto" if gradient == "sparse" else "dense"))
        self.objective = Objective(self.network)
        self.optimiser = accelerate.optimiser(self.network, momentum=0.9, weight_decay=5e-5)
        self.optimiser.param_groups[0]["lr"] = 1e-4
        self.fields = self.acceleration.place(torch.randn(shape))
        self.labels, self.shares = torch.arange(shape[0]) % NUM_CLASSES, torch.full(shape[:1], 1 / shape[0])

    def gradients(self) -> None:
        """Forward and backward."""
        with self.acceleration.autocast():
            loss = self.objective(self.fields, self.labels, self.shares)["loss"]
        loss.backward()

    def update(self) -> None:
        """What follows them."""
        self.optimiser.step()
        self.optimiser.zero_grad()

    def whole(self) -> None:
        """A training step."""
        self.gradients()
        self.update()


def measure(settings: config.StepBench, cpu_flags: frozenset[str]) -> dict[str, Any]:
    """Results by variant and the matrix-product peaks of this machine. Raises DataError for sizes that do not fit."""
    height, width = config.parse_size("size", settings.size)
    shape = (settings.minibatch, settings.channels, height, width)
    try:
        dense = dense_gflop(settings.channels, height, width)
    except ValueError as problem:
        raise DataError(str(problem)) from None
    steps = {variant: Step(variant, shape, cpu_flags) for variant in settings.variants.split(",")}
    results: dict[str, dict] = {variant: {"left_out": step.report["why"]} if step.report["used"] != step.report["asked"]
                                else count(step, settings.minibatch) for variant, step in steps.items()}
    steps = {variant: step for variant, step in steps.items() if "left_out" not in results[variant]}
    precisions = sorted({variant.split("-")[1] for variant in steps})
    rates, peaks = {variant: [] for variant in steps}, {precision: [] for precision in precisions}
    for _ in range(settings.repeats):
        for variant, step in steps.items():
            rates[variant].append(settings.minibatch / seconds(step.whole))
        for precision in precisions:
            peaks[precision].append(matrix_gflops(PRECISIONS[precision]))
    peak = {precision: statistics.median(values) for precision, values in peaks.items()}
    for variant, values in rates.items():
        share = statistics.median(values) * dense / peak[variant.split("-")[1]]
        results[variant] |= {"images_per_second": values, "share_of_peak": share}
    return {"size": settings.size, "minibatch": settings.minibatch, "repeats": settings.repeats,
            "dense_gflop_per_image": dense, "matrix_product_gflops": peak, "variants": results}


def count(step: Step, minibatch: int) -> dict[str, float]:
    """Operations, and bytes above input, weights, gradients and the optimiser's state, for one field of the minibatch."""
    with FlopCounterMode(display=False) as flops:
        step.gradients()
    step.update()
    with LiveBytes() as memory:
        step.gradients()
    peak = memory.peak(without=[parameter.grad for parameter in step.network.parameters()])
    step.update()
    return {"gflop_per_image": flops.get_total_flops() / minibatch / 1e9, "mib_per_image": peak / minibatch / 2**20}


def table(results: dict[str, Any]) -> str:
    """The results for people: median, least and most images a second, and the ratio to the first variant."""
    peaks = ", ".join(f"{name} {value:.0f} GFLOP/s" for name, value in results["matrix_product_gflops"].items())
    lines = [f"{results['size']}, {results['minibatch']} fields a step, {results['repeats']} steps each in turn; "
             f"a {MATRIX_SIDE} matrix product: {peaks}",
             f"{'variant':16} {'images/s':>9} {'least':>7} {'most':>7} {'ratio':>6} {'GFLOP/image':>12} {'MiB/image':>10} "
             f"{'dense-equivalent share of peak':>31}"]
    first = None
    for variant, row in results["variants"].items():
        if "left_out" in row:
            lines.append(f"{variant:16} left out: {row['left_out']}")
            continue
        rates = row["images_per_second"]
        median = statistics.median(rates)
        first = first or median
        lines.append(f"{variant:16} {median:9.2f} {min(rates):7.2f} {max(rates):7.2f} "
                     f"{median / first:6.2f} {row['gflop_per_image']:12.1f} {row['mib_per_image']:10.1f} "
                     f"{row['share_of_peak']:31.0%}")
    return "\n".join(lines)


def seconds(action: Callable[[], Any]) -> float:
    """Wall-clock time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def matrix_gflops(precision: str) -> float:
    """Rate of a 4096 x 4096 x 4096 matrix product, GFLOP/s."""
    left = torch.ones(MATRIX_SIDE, MATRIX_SIDE, dtype=getattr(torch, precision))
    return 2 * MATRIX_SIDE**3 / 1e9 / seconds(lambda: left @ left)


def dense_gflop(channels: int, height: int, width: int) -> float:
    """Operations of forward and dense backward for one field, GFLOP, counted on shapes alone."""
    with torch.device("meta"):
        network = MCNN(NUM_CLASSES, channels, height, width, gradient="dense")
        field = torch.empty(1, channels, height, width)
    with FlopCounterMode(display=False) as flops:
        network(field).sum().backward()
    return flops.get_total_flops() / 1e9
