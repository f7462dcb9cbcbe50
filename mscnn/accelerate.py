"""How the network is laid out for this CPU's kernels; returns what was used and why.

Exercised by `pytest tests/test_accelerate.py`.
"""

import torch
from torch import Tensor, nn


def prepare(network: nn.Module) -> tuple[nn.Module, dict[str, str]]:
    """Lay the weights out channels last, which oneDNN's convolutions take without reordering activations.

    Returns the network and what was asked, used and why.
    """
    report = {"memory_format": "channels_last: oneDNN convolves it without reordering", "precision": "float32",
              "cpu_capability": torch.backends.cpu.get_cpu_capability()}
    return network.to(memory_format=torch.channels_last), report


def place(fields_NCHW: Tensor) -> Tensor:
    """A minibatch in the layout of the prepared network."""
    return fields_NCHW.contiguous(memory_format=torch.channels_last)


def optimiser(network: nn.Module, *, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """SGD with Nesterov momentum and weight decay on all parameters, fused: one pass over the 160 MiB linear layer."""
    return torch.optim.SGD(network.parameters(), lr=0.0, momentum=momentum, nesterov=True, weight_decay=weight_decay,
                           fused=True)
