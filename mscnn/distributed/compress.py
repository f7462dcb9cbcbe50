"""Gradients that travel between the ranks as bfloat16: half the bytes, over gloo and over MPI.

`wrapped.register_comm_hook(None, bfloat16_hook)`; torch's own bf16_compress_hook refuses CPU groups.
"""

import torch
import torch.distributed as dist


def bfloat16_hook(state: dist.ProcessGroup | None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """A DDP communication hook: average a bucket of gradients over the ranks in bfloat16 (8 bits of precision).

    state: the process group, or None for all ranks.  Weights and optimiser stay as they are.
    """
    gradients = bucket.buffer()
    group = state or dist.group.WORLD
    rounded = gradients.div_(group.size()).to(torch.bfloat16)  # divided before it is rounded: one rounding less
    travelling = dist.all_reduce(rounded, group=group, async_op=True).get_future()
    return travelling.then(lambda arrived: gradients.copy_(arrived.value()[0]))
