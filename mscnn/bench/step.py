"""A training step by variant: images a second, operations counted, bytes counted, share of the matrix-product peak.

Exercised by `python -m mscnn.bench step`.  Each variant has a process of its own, so that
none inherits another's memory or kernels; they take turns, so that a machine whose speed drifts treats them alike.
"""

import statistics
import sys
from contextlib import ExitStack
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mscnn.bench.process import Process
from mscnn.bench.worker import NUM_CLASSES, seconds
from mscnn.cli import benches
from mscnn.core.errors import DataError
from mscnn.core.settings import parse_size
from mscnn.model import MCNN

MATRIX_SIDE = 4096


def worker(variant: str, settings: benches.StepBench) -> Process:
    """The process of one variant; asked, it takes a step."""
    options = {"variants": variant, "size": settings.size, "channels": settings.channels,
               "minibatch": settings.minibatch, "threads": settings.threads}
    return Process(f"the process of {variant}", [sys.executable, "-m", "mscnn.bench", "step-worker",
                                                 *(f"--{name}={value}" for name, value in options.items())])


def measure(settings: benches.StepBench) -> dict[str, Any]:
    """Results by variant and the matrix-product peaks of this machine. Raises DataError for sizes that do not fit."""
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
            results[variant] = started.answer()  # one after the other: its warm-up is over when the next one starts
            if "left_out" not in results[variant]:
                workers[variant] = started
        peaks = take_turns(workers, results, settings)
    peak = {precision: statistics.median(rates) for precision, rates in peaks.items()}
    for variant in workers:
        row, precision = results[variant], benches.parse_variant(variant)[1]
        row["share_of_peak"] = statistics.median(row["images_per_second"]) * dense / peak[precision]
    return {"size": settings.size, "minibatch": settings.minibatch, "repeats": settings.repeats,
            "dense_gflop_per_image": dense, "matrix_product_gflops": peak, "variants": results}


def take_turns(workers: dict[str, Process], results: dict[str, dict],
               settings: benches.StepBench) -> dict[str, list[float]]:
    """Time a step of each variant and a matrix product of each precision, over and over; returns the products' rates."""
    peaks = {benches.parse_variant(variant)[1]: [] for variant in workers}
    for _ in range(settings.repeats):
        for variant, asked in workers.items():
            row, answer = results[variant], asked.ask()
            row.setdefault("images_per_second", []).append(settings.minibatch / answer["seconds"])
            row["peak_rss_gib"] = answer["peak_rss_gib"]
        for precision, rates in peaks.items():
            rates.append(matrix_gflops(precision))
    return peaks


def table(results: dict[str, Any]) -> str:
    """The results for people: median, least and most images a second, and the ratio to the first variant."""
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


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
