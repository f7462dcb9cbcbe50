"""Take the training steps of one variant: count the operations of two, then time one for each request.

Exercised by `mscnn bench step`, which starts a process for each variant.  A line in asks for a step, a line out
is JSON.
"""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any, TextIO

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mscnn.bench.memory import LiveBytes
from mscnn.bench.settings import StepSettings, parse_variant
from mscnn.core import memory
from mscnn.core.config import Objective
from mscnn.core.settings import parse_size
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration, choose_acceleration, nesterov_sgd
from mscnn.training.contrast import Contrast, build_contrast
from mscnn.training.loss import LossModule
from mscnn.training.targets import Targets

NUM_CLASSES = 13


class Step:
    """A network, its optimiser and a minibatch of random fields: of pairs of replicates, where they are contrasted.

    gradient, kernel, pooling: as of MCNN; shard: returns what takes the place of the first linear layer.
    """

    def __init__(self, gradient: str, acceleration: Acceleration, shape: tuple[int, int, int, int],
                 kernel: str = "auto", pooling: str = "none", contrasted: bool = False,
                 shard: Callable[[nn.Linear], nn.Linear] | None = None):
        self.acceleration, self.contrast = acceleration, replicates(shape[0]) if contrasted else None
        torch.manual_seed(0)
        self.network = acceleration.prepare(
            MCNN(NUM_CLASSES, *shape[1:], gradient=gradient, kernel=kernel, pooling=pooling))
        if shard:
            self.network.hidden = shard(self.network.hidden)
        self.loss_module = LossModule(self.network, mechanism_weight=0.0 if contrasted else 1.0, contrast=contrasted)
        self.optimiser = nesterov_sgd(self.loss_module, momentum=0.9, weight_decay=5e-5)
        self.optimiser.param_groups[0]["lr"] = 1e-4
        acceleration.take_over(self.network, self.optimiser)
        self.fields = acceleration.place(torch.randn(shape))
        self.labels, self.shares = torch.arange(shape[0]) % NUM_CLASSES, torch.full(shape[:1], 1 / shape[0])

    def gradients(self) -> None:
        """Compute the gradients: forward and backward; of a contrast for two microbatches, as training does."""
        if self.contrast:
            self.contrast_gradients(self.contrast)
            return
        with self.acceleration.autocast():
            loss = self.loss_module(self.fields, self.labels, self.shares)["loss"]
        loss.backward()

    def contrast_gradients(self, contrast: Contrast) -> None:
        """Go forward with the first half once and with the second twice, and back with both."""
        halves = self.fields.tensor_split(2)
        with self.acceleration.autocast():
            first_NE = self.loss_module.embed(self.network.features(halves[0]))
            with torch.no_grad():
                second_NE = self.loss_module.embed(self.network.features(halves[1]))
        gradients_ME = contrast.loss(torch.cat([first_NE.detach(), second_NE]), np.arange(len(self.fields))).gradients_ME
        first_NE.backward(gradients_ME[:len(first_NE)])
        with self.acceleration.autocast():
            self.loss_module.embed(self.network.features(halves[1])).backward(gradients_ME[len(first_NE):])

    def update(self) -> None:
        """Update the weights and reset the gradients."""
        self.optimiser.step()
        self.optimiser.zero_grad()

    def whole(self) -> None:
        """Take a training step."""
        self.gradients()
        self.update()


def replicates(fields: int) -> Contrast:
    """Return the contrast of so many fields, neighbours of which are replicates on two plates."""
    sites = np.arange(fields)
    targets = Targets(sites, sites, np.zeros(fields), sites // 2, sites // 2, sites % 2, np.zeros(fields, bool))
    contrast = build_contrast(Objective(mechanism_weight=0, replicate_weight=1), targets)
    assert contrast is not None
    return contrast


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
    step = Step("auto" if gradient == "sparse" else "dense", acceleration, shape,
                "torch" if "torch" in modifiers else "auto",
                "mean-max" if "pooled" in modifiers else "none", "contrast" in modifiers)
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
