"""Measure a training step by part: time, operations, bytes, and the share of the part's bound.

Exercised by `mscnn bench layers`.  One process takes the step in parts, then whole, then goes forward alone, in turns,
so that a drift of the machine's speed affects all alike.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mscnn.bench.settings import LayersSettings
from mscnn.bench.step import MATRIX_SIDE, matrix_gflops
from mscnn.bench.worker import Step, seconds
from mscnn.core.errors import DataError, UsageError
from mscnn.core.settings import parse_size
from mscnn.model import kernel
from mscnn.model.acceleration import choose_acceleration
from mscnn.model.mcnn import halved
from mscnn.model.ways import COMPILED, WINOGRAD

PYRAMID, HEAD_FORWARD, HEAD_BACKWARD, OPTIMISER = "input pyramid", "head forward", "head backward", "optimiser"
WHOLE, FORWARD = "whole step, uncut", "forward alone"
MEMORY_MIB = 256     # of each of the two tensors that measure the memory's speed
ARITHMETIC, MEMORY = "arithmetic", "memory"

Runner = Callable[[str, Callable[[], Any]], Any]  # computes the action of a named part, and returns its result


@dataclass(frozen=True)
class Part:
    """What bounds a part of a step."""

    name: str
    way: str            # of a branch, of ways.WAYS; "-" for other parts
    precision: str      # type of the numbers that it multiplies
    least_bytes: int    # read and written at least, were all between input and output kept in caches


def measure(settings: LayersSettings, cpu_flags: frozenset[str]) -> dict[str, Any]:
    """Time the parts of a step, the step uncut and the forward pass, in turns, and the machine's two bounds.

    Raises UsageError for a precision that this CPU lacks, and DataError for sizes that do not fit.
    """
    step = build_step(settings, cpu_flags)
    flops, found = count_operations(step), parts(step)
    elapsed: dict[str, list[float]] = {}
    peaks = {precision: [] for precision in sorted({part.precision for part in found})}
    memory_rates = []
    for turn in range(1 + settings.repeats):
        if turn == 1:  # the first turn warms up
            elapsed.clear()
        take_all(step, timing(elapsed))
        if turn:
            memory_rates.append(memory_gb_per_second())
            for precision, rates in peaks.items():
                rates.append(matrix_gflops(precision))
    matrix = {precision: statistics.median(rates) for precision, rates in peaks.items()}
    memory_rate = statistics.median(memory_rates)
    rows = [_row(part, elapsed[part.name], flops[part.name], matrix[part.precision], memory_rate) for part in found]
    return {"size": settings.size, "minibatch": settings.minibatch, "repeats": settings.repeats,
            "precision": settings.precision, "kernel": kernel.report(settings.kernel),
            "matrix_product_gflops": matrix, "memory_gb_per_second": memory_rate, "parts": _with_shares(rows),
            "sum": _sum(rows),
            **{name: _uncut(elapsed[part], flops[part], settings.minibatch)
               for name, part in (("whole_step", WHOLE), ("forward", FORWARD))}}


def build_step(settings: LayersSettings, cpu_flags: frozenset[str]) -> Step:
    """Return the step that the settings describe. Raises UsageError or DataError."""
    acceleration, reports = choose_acceleration("native", settings.precision, cpu_flags)
    if acceleration.precision != settings.precision:
        raise UsageError(f"--precision {settings.precision}: {reports['precision']['why']}; "
                         f"measure --precision {acceleration.precision}")
    try:
        return Step(settings.gradient, acceleration,
                    (settings.minibatch, settings.channels, *parse_size("size", settings.size)), settings.kernel)
    except ValueError as problem:
        raise DataError(str(problem)) from None


def take_all(step: Step, run: Runner) -> None:
    """Take the step in parts, take it uncut, and go forward alone."""
    take_parts(step, run)
    run(WHOLE, step.whole)
    step.network.eval()
    with torch.inference_mode(), step.acceleration.autocast():  # as inference.predict
        run(FORWARD, partial(step.network, step.fields))
    step.network.train()


def take_parts(step: Step, run: Runner) -> None:
    """Take a training step part by part; it computes what step.whole() does.

    The graph is cut behind each branch: the head's gradient arrives in a leaf, and goes back from there.
    """
    network = step.network
    scales = run(PYRAMID, partial(pyramid, step.fields, len(network.branches)))
    with step.acceleration.autocast():
        outputs = [run(_branch(i, "forward"), partial(branch, scaled))
                   for i, (branch, scaled) in enumerate(zip(network.branches, scales, strict=True))]
    leaves = [output.detach().requires_grad_() for output in outputs]

    def head() -> Tensor:
        scores_NK = network.classify(network.head(torch.cat(leaves, dim=1)))
        return F.cross_entropy(scores_NK.float(), step.labels)

    with step.acceleration.autocast():
        loss = run(HEAD_FORWARD, head)
    run(HEAD_BACKWARD, loss.backward)
    for i in reversed(range(len(outputs))):
        run(_branch(i, "backward"), partial(outputs[i].backward, leaves[i].grad))
    run(OPTIMISER, step.update)


def pyramid(fields_NCHW: Tensor, levels: int) -> list[Tensor]:
    """Return the inputs of the branches: the fields, and their max-pools by 2, 4 and so on."""
    scales = [fields_NCHW]
    while len(scales) < levels:
        scales.append(halved(scales[-1]))
    return scales


def parts(step: Step) -> list[Part]:
    """Return the parts of a step in the order of the table, with the bytes that each must move.

    The input pyramid reads the fields and writes the smaller scales.  A branch reads its input, and writes its output or
    reads the gradient of it; winograd writes the activations of two layers, and reads them.  The head reads its weights;
    backward it also writes their gradient.  The optimiser reads weights, gradient and momentum, and writes weights and
    momentum.
    """
    network, fields = step.network, step.fields.numel() * 4
    windows = len(step.fields) * (network.height // 64) * (network.width // 64)
    scales, forward, backward = [fields >> 2 * i for i in range(len(network.branches))], [], []
    for i, (branch, way) in enumerate(zip(network.branches, network.ways(), strict=True)):
        precision = "float32" if way in (COMPILED, WINOGRAD) else step.acceleration.precision
        channels, pixels = branch.convolutions[-1].out_channels, scales[i] // (4 * network.in_channels)
        output = windows * channels * getattr(torch, precision).itemsize
        kept = 2 * 4 * pixels * channels if way == WINOGRAD else 0
        for passes, direction in ((forward, "forward"), (backward, "backward")):
            passes.append(Part(_branch(i, direction), way, precision, scales[i] + output + kept))
    everything = 4 * sum(parameter.numel() for parameter in network.parameters())
    head = 4 * sum(parameter.numel() for layer in (network.combine, network.hidden, network.classify)
                   for parameter in layer.parameters())
    return [Part(PYRAMID, "-", "float32", sum(scales)), *forward, *backward, Part(HEAD_FORWARD, "-", "float32", head),
            Part(HEAD_BACKWARD, "-", "float32", 2 * head), Part(OPTIMISER, "-", "float32", 5 * everything)]


def count_operations(step: Step) -> dict[str, int]:
    """Return the floating-point operations of each part, of the uncut step and of the forward pass."""
    flops: dict[str, int] = {}

    def run(name: str, action: Callable[[], Any]) -> Any:
        with FlopCounterMode(display=False) as counter:
            result = action()
        flops[name] = counter.get_total_flops()
        return result

    take_all(step, run)
    return flops


def timing(elapsed: dict[str, list[float]]) -> Runner:
    """Return a runner that adds the wall-clock seconds of each part to the dictionary."""

    def run(name: str, action: Callable[[], Any]) -> Any:
        results = []
        elapsed.setdefault(name, []).append(seconds(lambda: results.append(action())))
        return results[0]

    return run


def memory_gb_per_second() -> float:
    """Return the memory's speed: a += b / 2 over two tensors of 256 MiB, which reads both and writes one, GB/s."""
    a, b = (torch.ones(MEMORY_MIB * 2**20 // 4) for _ in range(2))
    return 3 * MEMORY_MIB * 2**20 / 1e9 / seconds(lambda: a.add_(b, alpha=0.5))


def table(results: dict[str, Any]) -> str:
    """Return the table of the parts, their sum, the uncut step and the forward pass."""
    peaks = ", ".join(f"{rate:.0f} GFLOP/s in {name}" for name, rate in results["matrix_product_gflops"].items())
    lines = [f"{results['size']}, {results['minibatch']} fields a step, {results['precision']}, kernel "
             f"{results['kernel']['used']}; medians of {results['repeats']}",
             f"bounds: a {MATRIX_SIDE} matrix product, {peaks}; memory, {results['memory_gb_per_second']:.1f} GB/s",
             f"{'part':18} {'way':8} {'ms':>8} {'share':>6} {'GFLOP':>8} {'GFLOP/s':>8} {'MB':>8} {'GB/s':>6}  "
             f"{'bound':10} {'of bound':>8}"]
    for row in [*results["parts"], results["sum"]]:
        lines.append(f"{row['part']:18} {row['way']:8} {1e3 * row['median_seconds']:8.1f} {row['share']:6.1%} "
                     f"{row['gflop']:8.2f} {row['gflop_per_second']:8.1f} {row['least_bytes'] / 1e6:8.1f} "
                     f"{row['gb_per_second']:6.2f}  {row['bound']:10} {row['share_of_bound']:8.0%}")
    for name, key in ((WHOLE, "whole_step"), (FORWARD, "forward")):
        row = results[key]
        lines.append(f"{name:18} {'-':8} {1e3 * row['median_seconds']:8.1f} {'':6} {row['gflop']:8.2f} "
                     f"{row['gflop_per_second']:8.1f}  {row['fields_per_second']:.2f} fields/s")
    ratio = results["forward"]["fields_per_second"] / results["whole_step"]["fields_per_second"]
    return "\n".join([*lines, f"forward alone has {ratio:.2f} times the fields/s of the whole step; the parts add up to "
                              f"{results['sum']['median_seconds'] / results['whole_step']['median_seconds']:.2f} of it"])


def _row(part: Part, elapsed: list[float], flops: int, matrix_rate: float, memory_rate: float) -> dict[str, Any]:
    """Return a line of the results; of two bounds the one that takes longer is the part's."""
    bounds = {ARITHMETIC: flops / 1e9 / matrix_rate, MEMORY: part.least_bytes / 1e9 / memory_rate}
    bound = max(bounds, key=lambda name: bounds[name])
    return {"part": part.name, "way": part.way, "seconds": elapsed, "bound": bound, "bound_seconds": bounds[bound],
            **_rates(statistics.median(elapsed), flops / 1e9, part.least_bytes, bounds[bound])}


def _rates(median: float, gflop: float, least_bytes: int, bound_seconds: float) -> dict[str, float]:
    return {"median_seconds": median, "gflop": gflop, "gflop_per_second": gflop / median, "least_bytes": least_bytes,
            "gb_per_second": least_bytes / 1e9 / median, "share_of_bound": bound_seconds / median}


def _with_shares(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    total = sum(row["median_seconds"] for row in rows)
    return [{**row, "share": row["median_seconds"] / total} for row in rows]


def _sum(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sum of all parts; its bound is the sum of theirs."""
    median, gflop, least_bytes, bound_seconds = (
        sum(row[name] for row in rows) for name in ("median_seconds", "gflop", "least_bytes", "bound_seconds"))
    return {"part": "sum", "way": "-", "share": 1.0, "bound": "-", "bound_seconds": bound_seconds,
            **_rates(median, gflop, least_bytes, bound_seconds)}


def _uncut(elapsed: list[float], flops: int, fields: int) -> dict[str, Any]:
    median = statistics.median(elapsed)
    return {"seconds": elapsed, "median_seconds": median, "fields_per_second": fields / median, "gflop": flops / 1e9,
            "gflop_per_second": flops / 1e9 / median}


def _branch(number: int, direction: str) -> str:
    return f"branch {number} {direction}"
