"""Running average of the weights, which generalises better than the last."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class EMA:
    """Exponential moving average of a network's parameters, its decay smaller at first: min(decay, (1 + t) / (10 + t)).

    t: steps so far; as in TensorFlow's ExponentialMovingAverage with num_updates.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.network, self.decay, self.steps = network, decay, 0
        self.shadow = [parameter.detach().clone() for parameter in network.parameters()]

    def update(self) -> None:
        """After a step of the optimiser."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.shadow, [parameter.detach() for parameter in self.network.parameters()], 1 - decay)
        self.steps += 1

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Within it the network has the average weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint; not a copy, so that a file that holds the averaged network too holds the weights once."""
        return {"steps": self.steps, "kept": self.shadow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self.steps = state["steps"]
        for kept, saved in zip(self.shadow, state["kept"], strict=True):
            kept.copy_(saved)

    def _swap(self) -> None:
        for parameter, kept in zip(self.network.parameters(), self.shadow, strict=True):
            parameter.data, kept.data = kept.data, parameter.data
