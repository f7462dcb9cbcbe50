"""A linear layer of few rows and a large weight, which reads the weight once in each pass.

The M-CNN's first linear layer has 42 million weights at 1024x1280 and a row for each field of a microbatch: its products
take as long as memory takes to deliver the weight.  MKL, which computes torch's matrix products, first copies the weight
into blocks; oneDNN reads it where it lies.  Exercised by `pytest tests/model/test_thin_linear.py`.

Shapes: N rows, D input features, F output features.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import flop_registry, register_flop_formula

ROWS = range(2, 33)             # MKL multiplies one row at the speed of memory, and more rows than these as fast
CAPABILITIES = ("AVX2", "AVX512")   # of CPUs where oneDNN was measured to be faster
HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # of no public API


def apply(layer: nn.Linear, inputs_ND: Tensor) -> Tensor:
    """Map (N, D) to (N, F), as layer(inputs_ND) does up to rounding; the gradient can be taken once.

    Layers of other classes, as those of IPEX, and programs that are exported compute the layer their own way.
    """
    if type(layer) is not nn.Linear or torch.compiler.is_compiling() or not _is_thin(inputs_ND, len(inputs_ND)):
        return layer(inputs_ND)
    return _ThinLinear.apply(inputs_ND, layer.weight) + layer.bias


def outputs(inputs_ND: Tensor, weight_FD: Tensor) -> Tensor:
    """Return the outputs (N, F) of a layer without bias."""
    return _product(inputs_ND, weight_FD.t(), len(inputs_ND))


def input_gradients(gradients_NF: Tensor, weight_FD: Tensor) -> Tensor:
    """Return the gradients (N, D) of the inputs from those of the outputs."""
    return _product(gradients_NF, weight_FD, len(gradients_NF))


def weight_gradients(gradients_NF: Tensor, inputs_ND: Tensor) -> Tensor:
    """Return the gradient (F, D) of the weight from those of the outputs."""
    return _product(gradients_NF.t(), inputs_ND, len(gradients_NF))


class _ThinLinear(torch.autograd.Function):
    """A layer without bias."""

    @staticmethod
    def forward(ctx: Any, inputs_ND: Tensor, weight_FD: Tensor) -> Tensor:
        ctx.save_for_backward(inputs_ND, weight_FD)
        return outputs(inputs_ND, weight_FD)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients_NF: Tensor) -> tuple[Tensor | None, Tensor | None]:
        inputs_ND, weight_FD = ctx.saved_tensors
        needs_inputs, needs_weight = ctx.needs_input_grad
        return (input_gradients(gradients_NF, weight_FD) if needs_inputs else None,
                weight_gradients(gradients_NF, inputs_ND) if needs_weight else None)


def _product(left: Tensor, right: Tensor, rows: int) -> Tensor:
    """Return the matrix product, which a layer of so many rows asks for."""
    if not _is_thin(left, rows):
        return left @ right
    return torch.ops.mkldnn._linear_pointwise(left.contiguous(), right.t(), None, "none", [], "")


def _is_thin(tensor: Tensor, rows: int) -> bool:
    """Tell whether oneDNN multiplies so many rows of this tensor's type, and faster than MKL."""
    return (HAS_ONEDNN and rows in ROWS and tensor.dtype == torch.float32 and tensor.device.type == "cpu" and
            torch.backends.cpu.get_cpu_capability() in CAPABILITIES)


if HAS_ONEDNN and torch.ops.mkldnn._linear_pointwise not in flop_registry:
    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _(left_shape, right_shape, *_, out_shape=None, **__) -> int:
        return 2 * left_shape.numel() * right_shape[0]
