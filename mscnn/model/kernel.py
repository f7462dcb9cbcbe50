"""Branches in C++: the files of cpp/, compiled once by the machine's own compiler and called through ctypes.

They compute the same as sparse.py, several times as fast: on CPUs with AVX-512 or AVX2, in float32, for 16 or 32 channels.

Shapes: N fields, C input channels, H W pixels, B branch channels, h w windows; everything is stored channels last.
"""

import ctypes
import functools
import shutil
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mscnn.model import kernel_library

CHANNELS, PATCH_CHANNELS = (16, 32), 16  # of a branch; for which there are gradients by patches
TILE, BLOCK = 4, 256                     # a pool is a multiple of TILE and divides BLOCK (cpp/winograd.h, cpp/forward.h)
SOURCE = Path(__file__).parent / "cpp" / "branch.cpp"
CACHE = Path("~/.cache/mscnn")
RETRY = 300.0  # seconds
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fopenmp",
         "-fno-predictive-commoning")           # GCC would keep pixels for the next tap, and run out of registers
VECTORS = {"AVX512": ("-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"), "AVX2": ("-mavx2", "-mfma")}


def available() -> tuple[bool, str]:
    """Tell whether the kernel can be used here, and why or why not; the first call compiles it, in some seconds.

    A failure is tried again after RETRY seconds.
    """
    if _library()[0] is None and time.monotonic() > _retry_at():
        _library.cache_clear()
        _retry_at.cache_clear()
    library, why = _library()
    return library is not None, why


def report(asked: str) -> dict[str, str]:
    """Return what was asked for ("auto" or "torch"), what is used, and why."""
    usable, why = (False, "as asked") if asked == "torch" else available()
    return {"asked": asked, "used": "compiled C++" if usable else "torch", "why": why}


def computes(channels: int, pool: int) -> bool:
    """Tell whether the kernel supports a branch of so many channels that is pooled by `pool`."""
    return channels in CHANNELS and pool % TILE == 0 == BLOCK % pool


def computes_patches(channels: int, pool: int) -> bool:
    """Tell whether the kernel computes the gradient of such a branch by patches too."""
    return channels == PATCH_CHANNELS and computes(channels, pool)


@torch.library.custom_op("mscnn::pooled", mutates_args=())
def pooled(scaled_NCHW: Tensor, parameters: list[Tensor], pool: int) -> tuple[Tensor, Tensor]:
    """Compute maxima (N, B, h, w) after three layers, and their places in the flattened field, int32.

    parameters: weight (out, in, 5, 5) and bias of each layer.  Equal to sparse.pooled up to rounding: the B -> B
    convolutions are Winograd's, whose error is some 6 times that of a direct float32 sum (CHANGELOG.md).
    """
    maxima, places, *_ = _forward(scaled_NCHW, parameters, pool, is_kept=False)
    return maxima, places


@torch.library.custom_op("mscnn::pooled_kept", mutates_args=())
def pooled_kept(scaled_NCHW: Tensor, parameters: list[Tensor], pool: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the same, and keep the activations of the first two layers, each (N, B, H, W), for pixel_gradients."""
    maxima, places, active1, active2 = _forward(scaled_NCHW, parameters, pool, is_kept=True)
    return maxima, places, active1, active2


@torch.library.custom_op("mscnn::patch_gradients", mutates_args=())
def patch_gradients(scaled_NCHW: Tensor, maxima: Tensor, places: Tensor, grad: Tensor, parameters: list[Tensor],
                    pool: int) -> list[Tensor]:
    """Compute gradients of weights and biases from the patches around the maxima, as sparse.patch_gradients."""
    return _backward("branch_backward_patches", scaled_NCHW, (maxima, places, grad), parameters, pool)


@torch.library.custom_op("mscnn::pixel_gradients", mutates_args=())
def pixel_gradients(scaled_NCHW: Tensor, maxima: Tensor, places: Tensor, active1: Tensor, active2: Tensor, grad: Tensor,
                    parameters: list[Tensor], pool: int) -> list[Tensor]:
    """Compute the same gradients over all pixels by Winograd's filtering, from the activations of pooled_kept."""
    return _backward("branch_backward", scaled_NCHW, (maxima, places, grad, active1, active2), parameters, pool)


def products(in_channels: int) -> tuple[int, int]:
    """Count the multiplications by patches: for a pixel of the forward pass, and for a maximum in the backward pass.

    Backward: two passes over 9x9 pixels of the first layer (values, gradients of weights), three over 5x5 of the second.
    Two of those three skip activations that ReLU made zero, here taken to be half.
    """
    first, second = 25 * in_channels * PATCH_CHANNELS, 25 * PATCH_CHANNELS**2
    return _forward_products(in_channels, PATCH_CHANNELS), 2 * 81 * first + 2 * 25 * second


def pixel_products(in_channels: int, channels: int) -> tuple[int, int]:
    """Count the multiplications over all pixels: for a pixel of both passes, and for a maximum in the backward pass.

    Backward: the second layer's gradients of inputs and of weights, the first layer's of weights; the third layer's for
    each maximum alone.
    """
    backward = 2 * _filtered(channels) + 25 * in_channels * channels
    return _forward_products(in_channels, channels) + backward, 2 * 25 * channels


def _forward_products(in_channels: int, channels: int) -> int:
    """Count those for a pixel of the forward pass: 25 taps of the first layer, and the other two layers."""
    return 25 * in_channels * channels + 2 * _filtered(channels)


def _filtered(channels: int) -> int:
    """Count those of a layer by Winograd's filtering for a pixel: 64 a tile of 16 pixels, without transforms."""
    return 64 * channels**2 // TILE**2


@pooled.register_fake
def _(scaled_NCHW: Tensor, parameters: list[Tensor], pool: int) -> tuple[Tensor, Tensor]:
    return _empty_maxima(scaled_NCHW, parameters, pool)


@pooled_kept.register_fake
def _(scaled_NCHW: Tensor, parameters: list[Tensor], pool: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return *_empty_maxima(scaled_NCHW, parameters, pool), *_empty_activations(scaled_NCHW, parameters)


@patch_gradients.register_fake
def _(scaled_NCHW: Tensor, maxima: Tensor, places: Tensor, grad: Tensor, parameters: list[Tensor],
      pool: int) -> list[Tensor]:
    return [torch.empty_like(parameter, memory_format=torch.contiguous_format) for parameter in parameters]


@pixel_gradients.register_fake
def _(scaled_NCHW: Tensor, maxima: Tensor, places: Tensor, active1: Tensor, active2: Tensor, grad: Tensor,
      parameters: list[Tensor], pool: int) -> list[Tensor]:
    return [torch.empty_like(parameter, memory_format=torch.contiguous_format) for parameter in parameters]


@register_flop_formula([torch.ops.mscnn.pooled, torch.ops.mscnn.pooled_kept])
def _(scaled_shape, parameters_shape, pool, out_shape=None, **_) -> int:
    fields, in_channels, height, width = scaled_shape
    return 2 * fields * height * width * _forward_products(in_channels, parameters_shape[0][0])


@register_flop_formula(torch.ops.mscnn.patch_gradients)
def _(scaled_shape, maxima_shape, *rest, out_shape=None, **_) -> int:
    return 2 * maxima_shape.numel() * products(scaled_shape[1])[1]


@register_flop_formula(torch.ops.mscnn.pixel_gradients)
def _(scaled_shape, maxima_shape, *rest, out_shape=None, **_) -> int:
    fields, in_channels, height, width = scaled_shape
    pixel, maximum = pixel_products(in_channels, maxima_shape[1])
    backward = pixel - _forward_products(in_channels, maxima_shape[1])
    return 2 * (fields * height * width * backward + maxima_shape.numel() * maximum)


class _Shape(ctypes.Structure):
    """The argument of the same name in cpp/vectors.h."""

    _fields_ = [(name, ctypes.c_int64) for name in ("fields", "height", "width", "channels", "pool", "branch_channels")]


def _forward(scaled_NCHW: Tensor, parameters: list[Tensor], pool: int, is_kept: bool) -> tuple[Tensor, ...]:
    shape, fields_NHWC = _shape(scaled_NCHW, parameters, pool), _last(scaled_NCHW)
    outputs = [*_empty_maxima(scaled_NCHW, parameters, pool),
               *(_empty_activations(scaled_NCHW, parameters) if is_kept else ())]
    weights = [parameter.contiguous() for parameter in parameters]
    addresses = [_address(output) for output in outputs] + [None] * (4 - len(outputs))
    _loaded().branch_forward(ctypes.byref(shape), _address(fields_NHWC), _addresses(weights), *addresses)
    return tuple(outputs)


def _backward(function: str, scaled_NCHW: Tensor, others: tuple[Tensor, ...], parameters: list[Tensor],
              pool: int) -> list[Tensor]:
    shape, kept = _shape(scaled_NCHW, parameters, pool), [_last(tensor) for tensor in (scaled_NCHW, *others)]
    weights = [parameter.contiguous() for parameter in parameters]
    gradients = [torch.zeros_like(weight) for weight in weights]
    fields_NHWC, *rest = map(_address, kept)
    getattr(_loaded(), function)(ctypes.byref(shape), fields_NHWC, _addresses(weights), *rest, _addresses(gradients))
    return gradients


def _empty_maxima(scaled_NCHW: Tensor, parameters: list[Tensor], pool: int) -> tuple[Tensor, Tensor]:
    fields, _, height, width = scaled_NCHW.shape
    size = (fields, height // pool, width // pool, len(parameters[0]))
    maxima, places = scaled_NCHW.new_empty(size), scaled_NCHW.new_empty(size, dtype=torch.int32)
    return maxima.permute(0, 3, 1, 2), places.permute(0, 3, 1, 2)


def _empty_activations(scaled_NCHW: Tensor, parameters: list[Tensor]) -> tuple[Tensor, Tensor]:
    fields, _, height, width = scaled_NCHW.shape
    first, second = (scaled_NCHW.new_empty((fields, height, width, len(parameters[0]))).permute(0, 3, 1, 2) for _ in "12")
    return first, second


def _shape(scaled_NCHW: Tensor, parameters: list[Tensor], pool: int) -> _Shape:
    """Return the shape for the kernel, and assert what it relies on."""
    fields, in_channels, height, width = scaled_NCHW.shape
    channels = len(parameters[0])
    assert all(tensor.dtype == torch.float32 for tensor in (scaled_NCHW, *parameters))
    sizes = [(channels, inputs, 5, 5) for inputs in (in_channels, channels, channels)]
    assert [parameter.shape for parameter in parameters] == [size for weight in sizes for size in (weight, (channels,))]
    assert computes(channels, pool)
    assert height % pool == 0 == width % pool
    assert height * width < 2**31
    return _Shape(fields, height, width, in_channels, pool, channels)


def _last(tensor_NCHW: Tensor) -> Tensor:
    return tensor_NCHW.permute(0, 2, 3, 1).contiguous()


def _address(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _addresses(tensors: list[Tensor]) -> ctypes.Array:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


def _loaded() -> ctypes.CDLL:
    """Return the compiled kernel, which `available` has found."""
    library, why = _library()
    assert library is not None, why
    return library


@functools.cache
def _retry_at() -> float:
    """Return when a failure is tried again: RETRY seconds after this was first asked, which is when it failed."""
    return time.monotonic() + RETRY


@functools.cache
def _library() -> tuple[ctypes.CDLL | None, str]:
    """Compile and load the kernel; return it or None, and its path or the reason. torch's OpenMP runs its threads."""
    vectors = torch.backends.cpu.get_cpu_capability()
    if vectors not in VECTORS:
        return None, "neither AVX-512 nor AVX2 in this CPU"
    compiler = shutil.which("g++") or shutil.which("c++")
    try:  # the cache may hold the library of a node that has a compiler
        library, where = kernel_library.obtain(SOURCE, compiler, (*FLAGS, *VECTORS[vectors]), CACHE)
        return library, f"{vectors}: {where}"
    except (OSError, kernel_library.BuildError) as problem:
        return None, str(problem)
