"""Exchange gradients as bfloat16: half the bytes, over gloo and over MPI.

`wrapped.register_comm_hook(None, bfloat16_hook)`; torch's own bf16_compress_hook refuses CPU groups.
"""

import torch
import torch.distributed as dist


def bfloat16_hook(state: dist.ProcessGroup | None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Average a bucket of gradients over the ranks in bfloat16 (8 bits of precision): a communication hook of DDP.

    state: the process group, or None for all ranks.  Weights and optimiser keep their precision.
    """
    gradients = bucket.buffer()
    group = state or dist.group.WORLD
    assert group is not None
    rounded = gradients.div_(group.size()).to(torch.bfloat16)  # divided before it is rounded: one rounding less
    work = dist.all_reduce(rounded, group=group, async_op=True)
    assert work is not None
    return work.get_future().then(lambda summed: gradients.copy_(summed.value()[0]))
