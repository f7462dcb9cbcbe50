"""Exponential moving average of the weights, which generalises better than the last ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class EMA:
    """The moving average of a network's parameters; its decay is smaller at first: min(decay, (1 + t) / (10 + t)).

    t: steps so far; as in TensorFlow's ExponentialMovingAverage with num_updates.  The auxiliary head is not averaged.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.network, self.decay, self.steps = network, decay, 0
        self.shadow = [parameter.detach().clone() for parameter in network.parameters()]

    def update(self) -> None:
        """Move the average towards the weights, after a step of the optimiser."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.shadow, [parameter.detach() for parameter in self.network.parameters()], 1 - decay)
        self.steps += 1

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Give the network the average weights within the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Any]:
        """Return steps and average weights for a checkpoint; not a copy, so that the file holds them once."""
        return {"steps": self.steps, "shadow": self.shadow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the steps and average weights of a checkpoint."""
        self.steps = state["steps"]
        for average, saved in zip(self.shadow, state["shadow"], strict=True):
            average.copy_(saved)

    def _swap(self) -> None:
        for parameter, average in zip(self.network.parameters(), self.shadow, strict=True):
            parameter.data, average.data = average.data, parameter.data
