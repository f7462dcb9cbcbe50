"""The sparse gradient in C++: sparse.cpp, compiled once by the machine's own compiler and called through ctypes.

It computes the same as sparse.py, several times as fast: on CPUs with AVX-512 or AVX2, in float32, for 16 channels.

Shapes: N fields, C input channels, H W pixels, h w windows; everything is stored channels last.
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

CHANNELS, TILE, BLOCK = 16, 4, 256           # of a branch; a pool is a multiple of TILE and divides BLOCK (sparse.cpp)
SOURCE = Path(__file__).with_name("sparse.cpp")
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
    return channels == CHANNELS and pool % TILE == 0 == BLOCK % pool


@torch.library.custom_op("mscnn::pooled", mutates_args=())
def pooled(scaled_NCHW: Tensor, parameters: list[Tensor], pool: int) -> tuple[Tensor, Tensor]:
    """Compute maxima (N, 16, h, w) after three layers, and their places in the flattened field, int32.

    parameters: weight (out, in, 5, 5) and bias of each layer.  Equal to sparse.pooled up to rounding: the 16 -> 16
    convolutions are Winograd's, whose error is some 6 times that of a direct float32 sum (CHANGELOG.md).
    """
    shape, fields_NHWC = _shape(scaled_NCHW, parameters, pool), _last(scaled_NCHW)
    size = (shape.fields, shape.height // pool, shape.width // pool, CHANNELS)
    maxima, places = torch.empty(size), torch.empty(size, dtype=torch.int32)
    weights = [parameter.contiguous() for parameter in parameters]
    _loaded().sparse_forward(ctypes.byref(shape), _address(fields_NHWC), _addresses(weights), _address(maxima),
                             _address(places))
    return maxima.permute(0, 3, 1, 2), places.permute(0, 3, 1, 2)


@torch.library.custom_op("mscnn::patch_gradients", mutates_args=())
def patch_gradients(scaled_NCHW: Tensor, maxima: Tensor, places: Tensor, grad: Tensor, parameters: list[Tensor],
                    pool: int) -> list[Tensor]:
    """Compute gradients of weights and biases from the patches around the maxima, as sparse.patch_gradients."""
    shape, kept = _shape(scaled_NCHW, parameters, pool), [_last(tensor) for tensor in (scaled_NCHW, maxima, places, grad)]
    weights = [parameter.contiguous() for parameter in parameters]
    gradients = [torch.zeros_like(weight) for weight in weights]
    fields_NHWC, *rest = map(_address, kept)
    _loaded().sparse_backward(ctypes.byref(shape), fields_NHWC, _addresses(weights), *rest, _addresses(gradients))
    return gradients


def products(in_channels: int) -> tuple[int, int]:
    """Count the multiplications for a pixel of the forward pass, and for a maximum in the backward pass.

    Forward: 25 taps of the first layer; 64 products a tile of 16 pixels in each of the other two, without transforms.
    Backward: two passes over 9x9 pixels of the first layer (values, gradients of weights), three over 5x5 of the second.
    Two of those three skip activations that ReLU made zero, here taken to be half.
    """
    first, second = 25 * in_channels * CHANNELS, 25 * CHANNELS**2
    return first + 2 * 64 * CHANNELS**2 // TILE**2, 2 * 81 * first + 2 * 25 * second


@pooled.register_fake
def _(scaled_NCHW: Tensor, parameters: list[Tensor], pool: int) -> tuple[Tensor, Tensor]:
    fields, _, height, width = scaled_NCHW.shape
    size = (fields, height // pool, width // pool, CHANNELS)
    maxima, places = scaled_NCHW.new_empty(size), scaled_NCHW.new_empty(size, dtype=torch.int32)
    return maxima.permute(0, 3, 1, 2), places.permute(0, 3, 1, 2)


@patch_gradients.register_fake
def _(scaled_NCHW: Tensor, maxima: Tensor, places: Tensor, grad: Tensor, parameters: list[Tensor],
      pool: int) -> list[Tensor]:
    return [torch.empty_like(parameter, memory_format=torch.contiguous_format) for parameter in parameters]


@register_flop_formula(torch.ops.mscnn.pooled)
def _(scaled_shape, parameters_shape, pool, out_shape=None, **_) -> int:
    fields, channels, height, width = scaled_shape
    return 2 * fields * height * width * products(channels)[0]


@register_flop_formula(torch.ops.mscnn.patch_gradients)
def _(scaled_shape, maxima_shape, *rest, out_shape=None, **_) -> int:
    return 2 * maxima_shape.numel() * products(scaled_shape[1])[1]


class _Shape(ctypes.Structure):
    """The argument of the same name in sparse.cpp."""

    _fields_ = [(name, ctypes.c_int64) for name in ("fields", "height", "width", "channels", "pool")]


def _shape(scaled_NCHW: Tensor, parameters: list[Tensor], pool: int) -> _Shape:
    """Return the shape for sparse.cpp, and assert what sparse.cpp relies on."""
    fields, channels, height, width = scaled_NCHW.shape
    assert all(tensor.dtype == torch.float32 for tensor in (scaled_NCHW, *parameters))
    sizes = [(CHANNELS, inputs, 5, 5) for inputs in (channels, CHANNELS, CHANNELS)]
    assert [parameter.shape for parameter in parameters] == [size for weight in sizes for size in (weight, (CHANNELS,))]
    assert computes(CHANNELS, pool)
    assert height % pool == 0 == width % pool
    assert height * width < 2**31
    return _Shape(fields, height, width, channels, pool)


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
