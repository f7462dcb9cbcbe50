"""Who am I among the ranks, and what do all of them know together.

The only package that touches torch.distributed or launcher variables.  Exercised by `pytest tests/test_world.py`.
"""

import datetime
import gc
import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mscnn.errors import UsageError

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_OTHER_LAUNCHERS = {"OMPI_COMM_WORLD_SIZE": "mpirun", "PMI_SIZE": "mpiexec", "SLURM_STEP_NUM_TASKS": "srun"}


@dataclass(frozen=True)
class World:
    """The ranks of a job. Every method is a collective: all ranks call it, at the same place, or none."""

    rank: int
    size: int
    local_rank: int
    local_size: int

    def sum(self, *numbers: float) -> list[float]:
        """Add each number over the ranks, in float64. Counts add; averages of averages do not."""
        return self.sum_array(np.array(numbers, dtype=np.float64)).tolist()

    def any(self, flag: bool) -> bool:
        """Whether any rank says so, known to all."""
        return self.sum(float(flag))[0] > 0

    def sum_array(self, array: np.ndarray) -> np.ndarray:
        """Add float64 arrays of one shape over the ranks. Exact where all but one rank hold zeros."""
        if self.size == 1:
            return array
        total = torch.from_numpy(np.array(array, dtype=np.float64))
        dist.all_reduce(total)
        return total.numpy()

    def gather(self, value: Any) -> list[Any]:
        """What each rank holds, by rank, on all ranks. Values travel as JSON: no code comes with them."""
        if self.size == 1:
            return [value]
        payload = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = self.sum_array(np.eye(self.size)[self.rank] * len(payload)).astype(int)
        padded = torch.zeros(lengths.max(), dtype=torch.uint8)
        padded[:len(payload)] = payload
        received = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(received, padded)
        return [json.loads(part[:length].numpy().tobytes()) for part, length in zip(received, lengths, strict=True)]

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.sum(0.0)

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module whose gradients are averaged over the ranks in backward."""
        if self.size == 1:
            return module
        return DistributedDataParallel(module, gradient_as_bucket_view=True)

    def leave(self) -> None:
        """Part from the others. Drop the wrapped module first: gloo's threads may abort a process that exits early."""
        if self.size > 1:
            self.barrier()
            gc.collect()
            dist.destroy_process_group()

    def accumulate(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager:
        """Within it, backward only adds to the gradients, unless this is the last microbatch of a step."""
        return nullcontext() if self.size == 1 or last else wrapped.no_sync()


def discover(environment: Mapping[str, str]) -> World:
    """Read torchrun's variables, or none for a single process. Raises UsageError for partial sets or other launchers."""
    present = [name for name in _TORCHRUN if name in environment]
    if "RANK" not in present and "WORLD_SIZE" not in present:
        for name, launcher in _OTHER_LAUNCHERS.items():
            if int(environment.get(name, "1")) > 1:
                raise UsageError(f"{launcher} started {environment[name]} processes that would each train alone; "
                                 "start them with torchrun")
        return World(rank=0, size=1, local_rank=0, local_size=1)
    if missing := [name for name in _TORCHRUN if name not in present]:
        raise UsageError(f"RANK or WORLD_SIZE is set, but not {', '.join(missing)}; start with torchrun, which sets all")
    rank, size, local_rank, local_size = (int(environment[name]) for name in _TORCHRUN[:4])
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size):
        raise UsageError(f"rank {rank} of {size}, local rank {local_rank} of {local_size} cannot be; start with torchrun")
    return World(rank=rank, size=size, local_rank=local_rank, local_size=local_size)


def join(timeout_minutes: float = 30.0) -> World:
    """Find out who this process is and meet the other ranks over gloo."""
    world = discover(os.environ)
    if world.size > 1:
        dist.init_process_group("gloo", rank=world.rank, world_size=world.size,
                                timeout=datetime.timedelta(minutes=timeout_minutes))
    return world
