"""A branch that ends in a max-pool, trained with its exact gradient for a fraction of the arithmetic.

The gradient that enters the last convolution is zero except at one pixel per window and channel.  Each of those pixels
depends on 13x13 input pixels through three 5x5 convolutions.  So the forward pass runs without autograd, in strips of rows
that stay in cache, and keeps only the maxima and their places.  The backward pass gathers the 13x13 patches around them and
differentiates three convolutions without padding (13 -> 9 -> 5 -> 1).

This file uses PyTorch, for any precision and number of channels; kernel.py computes the same in C++ where it can, and over
all pixels where that is faster (WinogradBranch).

Shapes: N fields, C input channels, H W pixels, B branch channels, h w windows, P patches.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mscnn.model import kernel

LAYERS, REACH = 3, 2                 # three convolutions, each reaching 2 pixels beyond its centre
PATCH = 2 * LAYERS * REACH + 1       # 13
STRIP_PIXELS = 1 << 17               # pixels of a strip: with 16 channels in float32, some 8 MiB of activation
CHUNK = 4096                         # patches differentiated at once
ROUND = 128                          # patches are padded to a multiple of this: oneDNN builds kernels for each number


class SparseBranch(torch.autograd.Function):
    """Three 5x5 convolutions with ReLU and a max-pool; the input is data, so it gets no gradient."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")
    def forward(ctx, scaled_NCHW: Tensor, pool: int, compiled: bool, *parameters: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, B, H/pool, W/pool).

        compiled: by kernel.py, in float32.  Autocast to bfloat16 leaves the fields in float32, so it does not reach the
        compiled branches.  parameters: weight and bias of each layer.
        """
        ctx.pool, ctx.compiled = pool, compiled and scaled_NCHW.dtype == torch.float32
        find = kernel.pooled if ctx.compiled else pooled
        maxima, places = find(scaled_NCHW, list(parameters), pool)
        ctx.save_for_backward(scaled_NCHW, maxima, places, *parameters)
        return maxima

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # in the precision of the forward pass
    def backward(ctx, grad_NBhw: Tensor):
        """Return the gradients of weights and biases; None for the other arguments of forward."""
        scaled_NCHW, maxima, places, *parameters = ctx.saved_tensors
        if ctx.compiled:
            gradients = kernel.patch_gradients(scaled_NCHW, maxima, places, grad_NBhw, parameters, ctx.pool)
        else:
            gradients = patch_gradients(scaled_NCHW, maxima, places, grad_NBhw, parameters)
        return None, None, None, *gradients


class WinogradBranch(torch.autograd.Function):
    """The same in C++ over all pixels, in float32: the forward pass keeps the activations of two layers."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")
    def forward(ctx, scaled_NCHW: Tensor, pool: int, *parameters: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, B, H/pool, W/pool); parameters: weight and bias of each layer."""
        ctx.pool = pool
        maxima, places, active1, active2 = kernel.pooled_kept(scaled_NCHW, list(parameters), pool)
        ctx.save_for_backward(scaled_NCHW, maxima, places, active1, active2, *parameters)
        return maxima

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx, grad_NBhw: Tensor):
        """Return the gradients of weights and biases; None for the other arguments of forward."""
        scaled_NCHW, maxima, places, active1, active2, *parameters = ctx.saved_tensors
        return None, None, *kernel.pixel_gradients(scaled_NCHW, maxima, places, active1, active2, grad_NBhw, parameters,
                                                   ctx.pool)


def pooled(scaled_NCHW: Tensor, parameters: list[Tensor], pool: int) -> tuple[Tensor, Tensor]:
    """Compute maxima (N, B, h, w) and their places in the flattened field, strip by strip; keep nothing else."""
    height, width = scaled_NCHW.shape[2:]
    rows = max(pool, STRIP_PIXELS // width // pool * pool)
    strips = []
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        activation, places = F.max_pool2d(strip(scaled_NCHW, parameters, top, bottom), pool, return_indices=True)
        strips.append((activation, places + top * width))
    return torch.cat([maxima for maxima, _ in strips], dim=2), torch.cat([places for _, places in strips], dim=2)


def strip(scaled_NCHW: Tensor, parameters: list[Tensor], top: int, bottom: int) -> Tensor:
    """Compute activations of the rows top .. bottom-1 after three layers, from those rows and 6 more on each side."""
    height = scaled_NCHW.shape[2]
    first, last = max(top - LAYERS * REACH, 0), min(bottom + LAYERS * REACH, height)
    activation = scaled_NCHW[:, :, first:last]
    for layer in range(LAYERS):
        weight, bias = parameters[2 * layer:2 * layer + 2]
        activation = F.relu_(F.conv2d(activation, weight, bias, padding=REACH))
        # Rows at a cut saw zeros instead of the next rows of the field: drop them. At the field's edge zeros are right.
        new_first, new_last = first + REACH * (first > 0), last - REACH * (last < height)
        activation = activation[:, :, new_first - first:activation.shape[2] - (last - new_last)]
        first, last = new_first, new_last
    return activation[:, :, top - first:bottom - first]


def patch_gradients(scaled_NCHW: Tensor, maxima: Tensor, places: Tensor, grad_NBhw: Tensor,
                    parameters: list[Tensor]) -> list[Tensor]:
    """Compute gradients of weights and biases from the patches around the maxima; a maximum of 0 adds nothing."""
    height, width = scaled_NCHW.shape[2:]
    field, channel, row, column = torch.nonzero((maxima > 0) & (grad_NBhw != 0), as_tuple=True)
    grads = grad_NBhw[field, channel, row, column]
    place = places[field, channel, row, column]
    fill = (0, -len(grads) % ROUND)  # pixel 0 with a gradient of 0 adds nothing
    field, channel, place, grads = (F.pad(values, fill) for values in (field, channel, place, grads))
    row, column = place // width, place % width
    margin = PATCH // 2
    padded_NHWC = F.pad(scaled_NCHW, (margin,) * 4).permute(0, 2, 3, 1).contiguous()
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    for start in range(0, len(grads), CHUNK):
        part = slice(start, start + CHUNK)
        patches = gather(padded_NHWC, field[part], row[part], column[part])
        with torch.enable_grad():
            leaves = [parameter.detach().requires_grad_() for parameter in parameters]
            values = apply(patches, leaves, row[part], column[part], height, width)
            chosen = values.gather(1, channel[part][:, None])[:, 0]
            gradients = torch.autograd.grad(chosen, leaves, grads[part].to(chosen.dtype))
        for total, gradient in zip(totals, gradients, strict=True):
            total += gradient
    return totals


def gather(padded_NHWC: Tensor, field_P: Tensor, row_P: Tensor, column_P: Tensor) -> Tensor:
    """Gather patches (P, C, 13, 13), channels last, around pixels of fields that are padded by 6."""
    _, height, width, channels = padded_NHWC.shape
    offset = torch.arange(PATCH)
    rows = (field_P * height + row_P)[:, None] + offset
    pixels = ((rows * width + column_P[:, None])[:, :, None] + offset).reshape(-1)
    patches = padded_NHWC.view(-1, channels).index_select(0, pixels)
    return patches.view(-1, PATCH, PATCH, channels).permute(0, 3, 1, 2)


def apply(patches: Tensor, parameters: list[Tensor], row_P: Tensor, column_P: Tensor, height: int, width: int) -> Tensor:
    """Compute the branch's values before the last ReLU at the centre of each patch, all channels: (P, B)."""
    activation, margin = patches, PATCH // 2
    for layer in range(LAYERS):
        activation = F.conv2d(activation, parameters[2 * layer], parameters[2 * layer + 1])
        margin -= REACH
        if layer < LAYERS - 1:
            activation = F.relu(activation) * inside(row_P, column_P, height, width, margin)
    return activation[:, :, 0, 0]


def inside(row_P: Tensor, column_P: Tensor, height: int, width: int, margin: int) -> Tensor:
    """Tell which pixels of a patch lie in the field, (P, 1, side, side): outside, activations are 0, not conv(0) + bias."""
    offset = torch.arange(-margin, margin + 1)
    rows, columns = row_P[:, None] + offset, column_P[:, None] + offset
    good_rows, good_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    return (good_rows[:, :, None] & good_columns[:, None, :])[:, None]
