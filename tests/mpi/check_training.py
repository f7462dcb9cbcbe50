"""DDP on several ranks against the same steps in one process; part of check_collectives.py."""

import copy
from collections.abc import Iterator

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mscnn.distributed.compress import bfloat16_hook

SITES, CLASSES, STEPS = 11, 5, 3  # sites in a minibatch: uneven shares for 2 and 3 ranks


class Network(nn.Module):
    """Small, with a branch that not all ranks use."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3, stride=2)
        self.classify, self.sometimes = nn.Linear(16, CLASSES), nn.Linear(4, CLASSES)

    def forward(self, images_NCHW: torch.Tensor, extra_N: torch.Tensor) -> torch.Tensor:
        logits = self.classify(self.second(self.first(images_NCHW).relu()).relu().mean((2, 3)))
        return logits + extra_N[:, None] * self.sometimes(torch.ones(4)) if extra_N.any() else logits


def loss(network: nn.Module, step: int, sites: torch.Tensor) -> torch.Tensor:
    """The part of the minibatch's mean loss that these sites make; site 0 alone uses the branch, and not in every step."""
    images = torch.randn(SITES, 3, 12, 12, generator=torch.Generator().manual_seed(step))
    logits = network(images[sites], (sites == 0) & (step != 1))
    return F.cross_entropy(logits, sites % CLASSES, reduction="sum") / SITES


def gradients(network: nn.Module) -> torch.Tensor:
    """All of them, in row-major order; zeros where there are none."""
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in network.parameters()])


def training(r: int, N: int) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Three steps each, in both memory formats, with float32 gradients and with bfloat16 ones."""
    if N not in (2, 3):
        return
    for layout in (torch.contiguous_format, torch.channels_last):
        for hook, tolerance in ((None, 1e-5), (bfloat16_hook, 1e-2)):
            torch.manual_seed(0)
            alone = Network()
            torch.manual_seed(r)  # DDP gives all ranks the weights of rank 0
            mine = (copy.deepcopy(alone) if r == 0 else Network()).to(memory_format=layout)
            wrapped = DistributedDataParallel(mine, gradient_as_bucket_view=True, find_unused_parameters=True,
                                              bucket_cap_mb=0.002)
            if hook:
                wrapped.register_comm_hook(None, hook)
            for step in range(STEPS):
                difference = one_step(wrapped, mine, alone, step, r, N)
                yield f"gradients {layout} {hook} {step}: {difference}", difference < tolerance, torch.tensor(True)
            weights = torch.cat([p.detach().reshape(-1) for p in mine.parameters()])
            copies = [torch.empty_like(weights) for _ in range(N)]
            dist.all_gather(copies, weights)
            yield f"the same bits {layout} {hook}", torch.stack(copies), weights.expand(N, -1)


def one_step(wrapped: nn.Module, mine: nn.Module, alone: nn.Module, step: int, r: int, N: int) -> torch.Tensor:
    """Take it on all ranks in two microbatches, and alone in one; the gradients' largest difference, relative."""
    mine.zero_grad()
    alone.zero_grad()
    shares = torch.arange(SITES).tensor_split(N)
    with wrapped.no_sync():
        (loss(wrapped, step, shares[r][:2]) * N).backward()  # DDP averages
    (loss(wrapped, step, shares[r][2:]) * N).backward()
    loss(alone, step, torch.arange(SITES)).backward()
    difference = (gradients(mine) - gradients(alone)).abs().max() / gradients(alone).abs().max()
    with torch.no_grad():
        for p, q in zip(mine.parameters(), alone.parameters(), strict=True):
            p -= 0.1 * (0 if p.grad is None else p.grad)
            q.copy_(p)  # compared step by step, from the same weights
    return difference
