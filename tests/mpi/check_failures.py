"""Started as ranks by test_collectives.py: what happens when something goes wrong.   check_failures.py WHAT MARK

WHAT: raises, leaves, stops, disagrees or breaks.   MARK: a word by which the processes are found when they are left over.
"""

import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mscnn.distributed.mpi import process_group


class Broken:
    """A communicator whose connection has gone."""

    def Allreduce(self, *arguments: object) -> None:
        raise RuntimeError("the network went away")


def main(what: str) -> None:
    """Meet, then go wrong on the last rank; the others wait for it."""
    process_group.start(timeout_seconds=3 if what == "stops" else 300)
    last = dist.get_rank() == dist.get_world_size() - 1
    dist.all_reduce(torch.ones(5))
    if what == "raises" and last:
        raise RuntimeError("well B07 is missing")
    if what == "leaves" and last:
        sys.exit("gone without a word")
    if what == "stops" and last:
        time.sleep(600)
    if what == "breaks":
        wrapped = DistributedDataParallel(nn.Linear(3, 2))
        dist.group.WORLD._comm = Broken()
        wrapped(torch.ones(1, 3)).sum().backward()
    if what == "disagrees":
        room = torch.ones(2000)  # Open MPI 5.0 reports what is too long, but has written it by then
        try:
            dist.broadcast(room[:1000] if last else room, 0)
        finally:
            dist.barrier()  # refused on the rank that found out
    dist.all_reduce(torch.ones(1000))


if __name__ == "__main__":
    main(sys.argv[1])
