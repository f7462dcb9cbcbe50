"""How the network runs on this CPU: memory layout, precision and optimiser; what was asked for, used, and why.

Exercised by `pytest tests/test_accelerate.py` and measured by `python -m mscnn.bench step`.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Acceleration:
    """Layout and precision of the forward and backward passes. Weights and their updates stay float32."""

    precision: str = "float32"      # or bfloat16, by autocast
    channels_last: bool = True      # oneDNN convolves it without reordering; False only serves comparison

    def prepare(self, network: nn.Module) -> nn.Module:
        """Lay out the weights."""
        return network.to(memory_format=self._layout())

    def place(self, fields_NCHW: Tensor) -> Tensor:
        """A minibatch in the layout of the prepared network."""
        return fields_NCHW.contiguous(memory_format=self._layout())

    def autocast(self) -> AbstractContextManager:
        """The precision of the forward pass; backward follows by itself."""
        return torch.autocast("cpu", torch.bfloat16) if self.precision == "bfloat16" else nullcontext()

    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


def choose(precision: str, cpu_flags: frozenset[str]) -> tuple[Acceleration, dict[str, str]]:
    """The acceleration for a CPU with these feature flags, and what was asked for, used and why.

    bfloat16 needs AVX512_BF16 or AMX; where neither is there it would be slower than float32, which is used instead.
    """
    if precision == "bfloat16" and not cpu_flags & {"avx512_bf16", "amx_bf16"}:
        used, why = "float32", "no AVX512_BF16 or AMX in this CPU"
    else:
        used, why = precision, "as asked"
    return Acceleration(used), {"asked": precision, "used": used, "why": why}


def optimiser(network: nn.Module, *, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """SGD with Nesterov momentum and weight decay on all parameters, fused: one pass over the 160 MiB linear layer."""
    return torch.optim.SGD(network.parameters(), lr=0.0, momentum=momentum, nesterov=True, weight_decay=weight_decay,
                           fused=True)
