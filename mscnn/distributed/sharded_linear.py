"""A linear layer whose weight is dealt out over the ranks: each holds some of its columns, their momentum and average.

Model parallel for this one layer, data parallel for the rest (Krizhevsky 2014, "One weird trick"); RowParallelLinear of
Megatron-LM (Shoeybi et al. 2019) splits the same dimension.  The M-CNN's first linear layer holds 98.5 % of all weights at
1024x1280.  Its gradient is not exchanged: the activations of the fields are, which are far fewer numbers.

Each forward and each backward pass is a collective: all ranks make the same passes in the same order.
Shapes: N fields of this rank, M of all ranks, D input features, d of them on this rank, F output features.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from mscnn.distributed.world import World
from mscnn.model import thin_linear

SHARDED, REPLICATED = "sharded", "replicated"
LEAST_SAVED = 4e6   # bytes a step: less is no reason for more exchanges, each of which waits for all ranks


class ShardedLinear(nn.Linear):
    """The part of a linear layer that this rank holds; its output is that of the whole layer.

    rows_R: fields of each rank in the next forward pass, which the caller sets before it.
    in_bfloat16: activations and their gradients are exchanged in bfloat16.
    """

    def __init__(self, whole: nn.Linear, world: World, *, in_bfloat16: bool = False):
        columns_R = _shares(whole.in_features, world.size)
        super().__init__(columns_R[world.rank], whole.out_features, device="meta")
        self.world, self.in_bfloat16, self.columns_R = world, in_bfloat16, columns_R
        self.rows_R: list[int] = []
        self.weight = nn.Parameter(self.own_columns(whole.weight.detach()))  # (F, d)
        self.bias = whole.bias                                               # (F,), on all ranks
        self._whole_FD: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:  # as nn.Linear names it
        """Map (N, D) to (N, F)."""
        if self._whole_FD is not None:
            return F.linear(input, self._whole_FD, self.bias)
        assert self.rows_R[self.world.rank] == len(input), "rows_R is of other fields"
        return _Exchanged.apply(input, self.weight, self, self.rows_R) + self.bias

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Hold the whole weight on this rank within the block, so that ranks may compute as they like; a collective."""
        self._whole_FD = self.whole(self.weight.detach())
        try:
            yield
        finally:
            self._whole_FD = None

    def whole(self, columns_Fd: Tensor, *, only_on: int | None = None) -> Tensor | None:
        """Return the tensor (F, D) of which each rank holds its columns; only_on: None on the other ranks; a collective."""
        keeps = only_on in (None, self.world.rank)
        whole_FD = columns_Fd.new_empty(len(columns_Fd), sum(self.columns_R)) if keeps else None
        first = 0
        for rank, number in enumerate(self.columns_R):
            part_Fd = columns_Fd.contiguous() if rank == self.world.rank else columns_Fd.new_empty(len(columns_Fd), number)
            self.world.broadcast(part_Fd, rank)
            if whole_FD is not None:
                whole_FD[:, first:first + number] = part_Fd
            first += number
        return whole_FD

    def own_columns(self, whole_FD: Tensor) -> Tensor:
        """Return a copy of this rank's columns (F, d) of a tensor (F, D)."""
        return whole_FD.split(self.columns_R, dim=1)[self.world.rank].clone(memory_format=torch.contiguous_format)

    def own_part(self, tensor: Tensor) -> Tensor:
        """Return this rank's columns of a tensor of the shape of the whole weight, and any other tensor as it is."""
        return self.own_columns(tensor) if tensor.shape == (self.out_features, sum(self.columns_R)) else tensor


@dataclass(frozen=True)
class Exchange:
    """What ranks exchange in a training step: bytes that each hands to the collectives, but for a few scalars."""

    parameters: float           # gradients, to the all-reduce of DistributedDataParallel
    activations: float = 0.0    # of this rank's fields, to an all-to-all; their gradients come back by another
    sums: float = 0.0           # float32 parts of all fields' outputs, to an all-to-all; gradients of outputs to another

    def parts_sent(self, ranks: int) -> dict[str, float]:
        """Return the least bytes that each of n ranks sends in a step, by part."""
        return {"parameters": all_reduce_bytes(self.parameters, ranks),
                "activations": 2 * all_to_all_bytes(self.activations, ranks),
                "sums": 2 * all_to_all_bytes(self.sums, ranks)}

    def bytes_sent(self, ranks: int) -> float:
        """Return the least bytes that each of n ranks sends in a step."""
        return sum(self.parts_sent(ranks).values())


def all_reduce_bytes(payload: float, ranks: int) -> float:
    """Return the least bytes that each of n ranks sends in an all-reduce, by a ring: 2 (n - 1) / n of the payload."""
    return 2 * (ranks - 1) / ranks * payload


def all_to_all_bytes(payload: float, ranks: int) -> float:
    """Return the bytes that each of n ranks sends in an all-to-all of equal parts: (n - 1) / n of the payload."""
    return (ranks - 1) / ranks * payload


def exchanges(*, features: int, outputs: int, minibatch: int, size: int, in_bfloat16: bool,
              others: int = 0) -> dict[str, Exchange]:
    """Return what ranks exchange in a step by how they hold a layer, {"replicated", "sharded"}.

    minibatch: fields of all ranks; in_bfloat16: gradients and activations are sent so; others: parameters of other layers.
    """
    width = 2 if in_bfloat16 else 4
    return {REPLICATED: Exchange((features * outputs + others) * width),
            SHARDED: Exchange(others * width, activations=minibatch / size * features * width,
                              sums=minibatch * outputs * 4)}


def bytes_sent(*, size: int, **layer: Any) -> dict[str, float]:
    """Return the least bytes that a rank sends a step, {"replicated", "sharded"}; arguments are those of `exchanges`."""
    return {way: exchange.bytes_sent(size) for way, exchange in exchanges(size=size, **layer).items()}


def choose(sent: dict[str, float]) -> str:
    """Return the way that is worth it, by bytes of each: sharded where it sends clearly less."""
    return SHARDED if sent[SHARDED] + LEAST_SAVED < sent[REPLICATED] else REPLICATED


class _Exchanged(torch.autograd.Function):
    """The product with the whole weight."""

    @staticmethod
    def forward(ctx: Any, inputs_ND: Tensor, weight_Fd: Tensor, layer: ShardedLinear, rows_R: list[int]) -> Tensor:
        columns_Md = _to_columns(layer, inputs_ND, rows_R)
        ctx.save_for_backward(columns_Md, weight_Fd)
        ctx.layer, ctx.rows_R = layer, rows_R
        own, outputs = len(inputs_ND) * len(weight_Fd), [rows * len(weight_Fd) for rows in rows_R]
        parts = layer.world.all_to_all(thin_linear.outputs(columns_Md, weight_Fd).reshape(-1), outputs, [own] * len(rows_R))
        return parts.view(len(rows_R), len(inputs_ND), len(weight_Fd)).sum(0)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        columns_Md, weight_Fd = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        layer, rows_R = ctx.layer, ctx.rows_R      # pyright: ignore[reportAttributeAccessIssue]
        own_NF, outputs = gradients[0], [rows * len(weight_Fd) for rows in rows_R]
        gradient_MF = layer.world.all_to_all(own_NF.reshape(-1).repeat(len(rows_R)), [own_NF.numel()] * len(rows_R),
                                             outputs).view(-1, len(weight_Fd))
        inputs_ND = _to_rows(layer, thin_linear.input_gradients(gradient_MF, weight_Fd), rows_R)
        mean_MF = gradient_MF / layer.world.size  # DDP averages the other gradients, too
        return inputs_ND, thin_linear.weight_gradients(mean_MF, columns_Md), None, None


def _to_columns(layer: ShardedLinear, inputs_ND: Tensor, rows_R: list[int]) -> Tensor:
    """Send each rank its columns of this rank's fields; return this rank's columns (M, d) of all fields."""
    own, number = layer.columns_R[layer.world.rank], rows_R[layer.world.rank]
    sent = torch.cat([part_Nd.reshape(-1) for part_Nd in inputs_ND.split(layer.columns_R, dim=1)])
    received = layer.world.all_to_all(_rounded(sent, layer), [number * columns for columns in layer.columns_R],
                                      [rows * own for rows in rows_R])
    return received.to(inputs_ND.dtype).view(-1, own)


def _to_rows(layer: ShardedLinear, columns_Md: Tensor, rows_R: list[int]) -> Tensor:
    """Send each rank this rank's columns of its fields; return all columns (N, D) of this rank's fields."""
    own, number = layer.columns_R[layer.world.rank], rows_R[layer.world.rank]
    counts = [number * columns for columns in layer.columns_R]
    received = layer.world.all_to_all(_rounded(columns_Md.reshape(-1), layer), [rows * own for rows in rows_R], counts)
    return torch.cat([part.view(number, columns) for part, columns in
                      zip(received.to(columns_Md.dtype).split(counts), layer.columns_R, strict=True)], dim=1)


def _rounded(sent: Tensor, layer: ShardedLinear) -> Tensor:
    return sent.to(torch.bfloat16) if layer.in_bfloat16 else sent


def _shares(total: int, size: int) -> list[int]:
    """Return how many of so many columns each rank holds; they differ by one at most."""
    return [total // size + (rank < total % size) for rank in range(size)]
