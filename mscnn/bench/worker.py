"""One variant of a training step in a process of its own: counted at the start, then timed a step at a time when asked.

Started by step.py, which speaks to it in lines: a line in is a step to take, a line out is JSON.
"""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any, TextIO

import torch
from torch.utils.flop_counter import FlopCounterMode

from mscnn.bench.memory import LiveBytes
from mscnn.cli import benches
from mscnn.core import memory
from mscnn.core.settings import parse_size
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration, choose_acceleration, nesterov_sgd
from mscnn.training.loss import LossModule

NUM_CLASSES = 13


class Step:
    """A network, its optimiser and a minibatch of random fields."""

    def __init__(self, gradient: str, acceleration: Acceleration, shape: tuple[int, int, int, int],
                 kernel: str = "auto"):
        self.acceleration = acceleration
        torch.manual_seed(0)
        self.network = acceleration.prepare(
            MCNN(NUM_CLASSES, *shape[1:], gradient="auto" if gradient == "sparse" else "dense", kernel=kernel))
        self.loss_module = LossModule(self.network)
        self.optimiser = nesterov_sgd(self.network, momentum=0.9, weight_decay=5e-5)
        self.optimiser.param_groups[0]["lr"] = 1e-4
        acceleration.take_over(self.network, self.optimiser)
        self.fields = acceleration.place(torch.randn(shape))
        self.labels, self.shares = torch.arange(shape[0]) % NUM_CLASSES, torch.full(shape[:1], 1 / shape[0])

    def gradients(self) -> None:
        """Forward and backward."""
        with self.acceleration.autocast():
            loss = self.loss_module(self.fields, self.labels, self.shares)["loss"]
        loss.backward()

    def update(self) -> None:
        """What follows them."""
        self.optimiser.step()
        self.optimiser.zero_grad()

    def whole(self) -> None:
        """A training step."""
        self.gradients()
        self.update()


def serve(settings: benches.StepBench, cpu_flags: frozenset[str], asked: Iterable[str], answers: TextIO) -> None:
    """Answer first with counts, or why this variant is left out; then, for each line, with a step's time and the memory."""
    gradient, precision, modifiers = benches.parse_variant(settings.variants)
    backend = "ipex" if "ipex" in modifiers else "native"
    _, reports = choose_acceleration(backend, precision, cpu_flags)
    missing = [report["why"] for report in reports.values() if report["used"] != report["asked"]]
    if missing:
        _answer(answers, left_out="; ".join(missing))
        return
    kept = gradient == "sparse" or "kept" in modifiers
    malloc = memory.keep_memory() if kept else "the system's own"
    acceleration = Acceleration(precision, channels_last="nchw" not in modifiers, backend=backend)
    shape = (settings.minibatch, settings.channels, *parse_size("size", settings.size))
    step = Step(gradient, acceleration, shape, "torch" if "torch" in modifiers else "auto")
    _answer(answers, malloc=malloc, **warm_up(step, settings.minibatch))
    for _ in asked:
        _answer(answers, seconds=seconds(step.whole), peak_rss_gib=memory.peak_memory_gib())


def warm_up(step: Step, minibatch: int) -> dict[str, float | None]:
    """Two steps that are not timed: they count operations, and bytes above input, weights, gradients and optimiser's state.

    For one field of the minibatch.  None where kernels bypass what counts: the operations of IPEX.
    """
    with FlopCounterMode(display=False) as flops:
        step.gradients()
    step.update()
    with LiveBytes() as memory:
        step.gradients()
    peak = memory.peak(without=[parameter.grad for parameter in step.network.parameters() if parameter.grad is not None])
    step.update()
    gflop = flops.get_total_flops() / minibatch / 1e9 if step.acceleration.backend == "native" else None
    return {"gflop_per_image": gflop, "mib_per_image": peak / minibatch / 2**20}


def seconds(action: Callable[[], Any]) -> float:
    """Wall-clock time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _answer(answers: TextIO, **content: Any) -> None:
    print(json.dumps(content), file=answers, flush=True)
