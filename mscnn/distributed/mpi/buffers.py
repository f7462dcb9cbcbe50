"""Tensors as MPI reads and writes them: NumPy arrays of their elements in row-major order, in one dimension.

Only contiguous tensors are read and written in place.  Others are copied, even dense ones such as channels_last: layouts
may differ between ranks, and a sum of raw memory would mix up elements.  DDP's buckets are flat and never copied.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

HALF = (torch.bfloat16, torch.float16)
_PLAIN = (torch.float32, torch.float64, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
# Type: the type that carries its bytes. NumPy has no bfloat16, MPI neither half floats nor PyTorch's bool.
_CARRIER = {**dict(zip(_PLAIN, _PLAIN, strict=True)), **dict.fromkeys(HALF, torch.int16), torch.bool: torch.uint8}
_MOST = 2**31 - 1  # elements that MPI 3 can count


def readable(tensor: torch.Tensor) -> np.ndarray:
    """Return the elements, for MPI to read."""
    return tensor.detach().contiguous().view(-1).view(_CARRIER[tensor.dtype]).numpy()


@contextmanager
def writable(tensor: torch.Tensor, *, add: bool = False) -> Iterator[np.ndarray]:
    """Yield the elements, for MPI to write within the block. add: in a type that MPI can add."""
    dense = (wide(tensor) if add else tensor).contiguous()
    yield readable(dense)
    tensor.copy_(dense)  # nothing to do where it is the tensor itself


@contextmanager
def writable_pieces(tensors: Sequence[torch.Tensor]) -> Iterator[np.ndarray]:
    """Yield room for the elements of all tensors in a row, for MPI to write; copy it into the tensors after the block."""
    room = torch.empty(sum(tensor.numel() for tensor in tensors), dtype=tensors[0].dtype)
    yield readable(room)
    for piece, tensor in zip(room.split([tensor.numel() for tensor in tensors]), tensors, strict=True):
        tensor.copy_(piece.view(tensor.shape))


def joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Concatenate the elements of all tensors."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor in a type that MPI can add: half floats as float32."""
    return tensor.float() if tensor.dtype in HALF else tensor


def check(name: str, tensors: Sequence[torch.Tensor], *, each: int | None = None) -> None:
    """Raise ValueError, before anything is sent, for tensors that MPI cannot transfer. each: elements of every tensor."""
    for tensor in tensors:
        if tensor.dtype not in _CARRIER or tensor.layout != torch.strided or tensor.device.type != "cpu":
            types = ", ".join(str(dtype).removeprefix("torch.") for dtype in _CARRIER)
            raise ValueError(f"{name} over MPI takes dense CPU tensors of {types}; convert this {tensor.dtype} tensor "
                             f"({tensor.layout}, {tensor.device})")
        if tensor.dtype != tensors[0].dtype:
            raise ValueError(f"{name} over MPI: {tensors[0].dtype} and {tensor.dtype} in one call; convert to one type")
        if each is not None and tensor.numel() != each:
            raise ValueError(f"{name} over MPI: {tensor.numel():,} elements where {each:,} fit; make the sizes agree")
    if (total := sum(tensor.numel() for tensor in tensors)) > _MOST:
        raise ValueError(f"{name} over MPI: {total:,} elements in one call, MPI counts to {_MOST:,}; split the tensors")
