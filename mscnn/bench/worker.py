"""Take the training steps of one variant: count the operations of two, then time one for each request.

Exercised by `mscnn bench step`, which starts a process for each variant.  A line in asks for a step, a line out
is JSON.
"""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any, TextIO

import torch
from torch.utils.flop_counter import FlopCounterMode

from mscnn.bench.memory import LiveBytes
from mscnn.bench.settings import StepSettings, parse_variant
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
        """Compute the gradients: forward and backward."""
        with self.acceleration.autocast():
            loss = self.loss_module(self.fields, self.labels, self.shares)["loss"]
        loss.backward()

    def update(self) -> None:
        """Update the weights and reset the gradients."""
        self.optimiser.step()
        self.optimiser.zero_grad()

    def whole(self) -> None:
        """Take a training step."""
        self.gradients()
        self.update()


def serve(settings: StepSettings, cpu_flags: frozenset[str], requests: Iterable[str], answers: TextIO) -> None:
    """Write counts, or why this variant is left out; then, for each line, a step's time and the peak memory."""
    gradient, precision, modifiers = parse_variant(settings.variants)
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
    for _ in requests:
        _answer(answers, seconds=seconds(step.whole), peak_rss_gib=memory.peak_memory_gib())


def warm_up(step: Step, minibatch: int) -> dict[str, float | None]:
    """Take two steps that are not timed, and count operations and bytes for one field of the minibatch.

    Bytes are those beyond input, weights, gradients and the optimiser's state.  The operations of IPEX cannot be counted:
    None.
    """
    with FlopCounterMode(display=False) as flops:
        step.gradients()
    step.update()
    with LiveBytes() as live:
        step.gradients()
    peak = live.peak(without=[parameter.grad for parameter in step.network.parameters() if parameter.grad is not None])
    step.update()
    gflop = flops.get_total_flops() / minibatch / 1e9 if step.acceleration.backend == "native" else None
    return {"gflop_per_image": gflop, "mib_per_image": peak / minibatch / 2**20}


def seconds(action: Callable[[], Any]) -> float:
    """Return the wall-clock seconds of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _answer(answers: TextIO, **content: Any) -> None:
    print(json.dumps(content), file=answers, flush=True)
