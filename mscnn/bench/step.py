"""Measure a training step by variant: images per second, operations, bytes, share of the peak; time the ways of branches.

Exercised by `mscnn bench step`.  Each variant has a process of its own, so that none inherits another's memory
or kernels.  The variants take turns, so that a drift of the machine's speed affects all alike.
"""

import statistics
import sys
from contextlib import ExitStack
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mscnn.bench.process import Process
from mscnn.bench.settings import StepSettings, parse_variant
from mscnn.bench.worker import NUM_CLASSES, seconds
from mscnn.core.errors import DataError
from mscnn.core.settings import parse_size
from mscnn.model import MCNN, measured_ways, ways
from mscnn.model.acceleration import choose_acceleration

MATRIX_SIDE = 4096


def worker(variant: str, settings: StepSettings) -> Process:
    """Return the process of one variant, which takes a step for each line."""
    options = {"variants": variant, "size": settings.size, "channels": settings.channels,
               "minibatch": settings.minibatch, "threads": settings.threads}
    return Process(f"the process of {variant}", [sys.executable, "-m", "mscnn.bench", "step-worker",
                                                 *(f"--{name}={value}" for name, value in options.items())])


def measure(settings: StepSettings) -> dict[str, Any]:
    """Measure all variants and the matrix-product peaks of this machine. Raises DataError for sizes that do not fit."""
    height, width = parse_size("size", settings.size)
    try:
        dense = dense_gflop(settings.channels, height, width)
    except ValueError as problem:
        raise DataError(str(problem)) from None
    results: dict[str, dict] = {}
    with ExitStack() as running:
        workers = {}
        for variant in settings.variants.split(","):
            started = running.enter_context(worker(variant, settings))
            results[variant] = started.answer()  # its warm-up is over when the next process starts
            if "left_out" not in results[variant]:
                workers[variant] = started
        peaks = take_turns(workers, results, settings)
    peak = {precision: statistics.median(rates) for precision, rates in peaks.items()}
    for variant in workers:
        row, precision = results[variant], parse_variant(variant)[1]
        row["share_of_peak"] = statistics.median(row["images_per_second"]) * dense / peak[precision]
    return {"size": settings.size, "minibatch": settings.minibatch, "repeats": settings.repeats,
            "dense_gflop_per_image": dense, "matrix_product_gflops": peak, "variants": results}


def measure_ways(settings: StepSettings, cpu_flags: frozenset[str]) -> dict[str, dict[str, Any]]:
    """Time the ways of each branch anew, as training does before its first step (training/choose_ways.py).

    Returns {precision: {"measured_ms", "chosen", "counted"}} for the precisions of the variants that this CPU has.
    """
    height, width = parse_size("size", settings.size)
    candidates = ways.candidates_of_all("auto", "auto")
    found = {}
    for precision in dict.fromkeys(parse_variant(variant)[1] for variant in settings.variants.split(",")):
        acceleration, _ = choose_acceleration("native", precision, cpu_flags)
        if acceleration.precision == precision:
            times = measured_ways.measure(candidates, settings.channels, height, width, acceleration)
            found[precision] = {"measured_ms": times,
                                "chosen": measured_ways.choose(times, settings.channels, height, width),
                                "counted": ways.by_counting("auto", "auto", settings.channels, height, width)}
    return found


def take_turns(workers: dict[str, Process], results: dict[str, dict],
               settings: StepSettings) -> dict[str, list[float]]:
    """Time a step of each variant and a matrix product of each precision, in turns. Returns the products' rates."""
    peaks = {parse_variant(variant)[1]: [] for variant in workers}
    for _ in range(settings.repeats):
        for variant, process in workers.items():
            row, answer = results[variant], process.ask()
            row.setdefault("images_per_second", []).append(settings.minibatch / answer["seconds"])
            row["peak_rss_gib"] = answer["peak_rss_gib"]
        for precision, rates in peaks.items():
            rates.append(matrix_gflops(precision))
    return peaks


def table(results: dict[str, Any]) -> str:
    """Return a table of median, least and most images per second, and the ratio to the first variant."""
    peaks = ", ".join(f"{name} {value:.0f} GFLOP/s" for name, value in results["matrix_product_gflops"].items())
    lines = [f"{results['size']}, {results['minibatch']} fields a step, {results['repeats']} steps each in turn; "
             f"a {MATRIX_SIDE} matrix product: {peaks}",
             f"{'variant':20} {'images/s':>8} {'least':>6} {'most':>6} {'ratio':>6} {'GFLOP/image':>11} {'MiB/image':>9} "
             f"{'peak GiB':>8} {'dense-equivalent share of peak':>30}"]
    first = None
    for variant, row in results["variants"].items():
        if "left_out" in row:
            lines.append(f"{variant:20} left out: {row['left_out']}")
            continue
        rates = row["images_per_second"]
        median = statistics.median(rates)
        first = first or median
        lines.append(f"{variant:20} {median:8.2f} {min(rates):6.2f} {max(rates):6.2f} {median / first:6.2f} "
                     f"{_number(row['gflop_per_image']):>11} {_number(row['mib_per_image']):>9} "
                     f"{row['peak_rss_gib']:8.2f} {row['share_of_peak']:30.0%}")
    return "\n".join(lines)


def table_of_ways(found: dict[str, dict[str, Any]], size: str) -> str:
    """Return a table for each precision of measure_ways."""
    height, width = parse_size("size", size)
    return "\n".join(line for precision, row in found.items() for line in (
        "", f"ways of the branches, {precision}, milliseconds forward and backward for one field",
        *measured_ways.table(row["measured_ms"], row["chosen"], height, width)))


def matrix_gflops(precision: str) -> float:
    """Return the rate of a 4096 x 4096 x 4096 matrix product, GFLOP/s."""
    left = torch.ones(MATRIX_SIDE, MATRIX_SIDE, dtype=getattr(torch, precision))
    return 2 * MATRIX_SIDE**3 / 1e9 / seconds(lambda: left @ left)


def dense_gflop(channels: int, height: int, width: int) -> float:
    """Count the operations of forward and dense backward for one field, GFLOP, from shapes alone."""
    with torch.device("meta"):
        network = MCNN(NUM_CLASSES, channels, height, width, gradient="dense")
        field = torch.empty(1, channels, height, width)
    with FlopCounterMode(display=False) as flops:
        network(field).sum().backward()
    return flops.get_total_flops() / 1e9


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
