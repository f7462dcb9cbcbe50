"""The ranks of a job: how they meet, and what all of them know together.  `python -m mscnn.world` shows who is where.

The only package that touches torch.distributed and mpi4py.  Tests of several ranks: tests/ranks, tests/mpi.
"""

import dataclasses
import datetime
import gc
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mscnn.core import activity
from mscnn.core.errors import DataError, RankLost, Result, UsageError
from mscnn.distributed import heartbeat, launchers, network, rendezvous
from mscnn.distributed.compress import bfloat16_hook
from mscnn.distributed.launchers import RankInfo
from mscnn.distributed.mpi import process_group


@dataclass(frozen=True)
class World:
    """The ranks of a job. Every method is a collective: all ranks call it, at the same place, or none.

    local: among the ranks on this host, in the order of ranks; rendezvous: a phrase for the log.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    launcher: str = launchers.NONE
    backend: str = "gloo"
    host: str = ""
    rendezvous: str = "a single process"

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
        self.sum_in_place(total)
        return total.numpy()

    def sum_in_place(self, tensor: torch.Tensor) -> None:
        """Add tensors of one shape and type over the ranks, in that type: what `python -m mscnn.bench collective` times."""
        if self.size > 1:
            with _collective():
                dist.all_reduce(tensor)

    def gather(self, value: Any) -> list[Any]:
        """What each rank holds, by rank, on all ranks. Values travel as JSON: no code comes with them."""
        if self.size == 1:
            return [value]
        payload = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = self.sum_array(np.eye(self.size)[self.rank] * len(payload)).astype(int)
        padded = torch.zeros(lengths.max(), dtype=torch.uint8)
        padded[:len(payload)] = payload
        received = [torch.empty_like(padded) for _ in range(self.size)]
        with _collective():
            dist.all_gather(received, padded)
        return [json.loads(part[:length].numpy().tobytes()) for part, length in zip(received, lengths, strict=True)]

    def require_equal(self, **facts: str) -> None:
        """Raise UsageError on all ranks alike, naming rank and fact, unless all of them hold the same facts."""
        for rank, (host, theirs) in enumerate(self.gather((self.host, facts))):
            if rank == 0:
                expected = theirs
            for name, value in theirs.items():
                if value != expected[name]:
                    raise UsageError(f"rank {rank} on {host} has {name} {value}, rank 0 has {expected[name]}; "
                                     "give all ranks the same program, settings and data")

    def run_on_all_or_raise(self, action: Callable[[], Result]) -> Result:
        """Do the same on all ranks. Where it raises a UsageError or DataError on any, all raise it, naming that rank."""
        result, problem = None, None
        try:
            result = action()
        except (UsageError, DataError) as raised:
            problem = raised
        said = self.gather(None if problem is None else [self.host, isinstance(problem, DataError), str(problem)])
        if problem is not None:
            raise problem
        for rank, what in enumerate(said):
            if what:
                host, of_data, text = what
                raise (DataError if of_data else UsageError)(f"rank {rank} on {host} alone: {text}")
        return result

    def gather_local(self, value: Any) -> list[Any]:
        """What each rank on this host holds, by local rank."""
        return [theirs for host, theirs in self.gather((self.host, value)) if host == self.host]

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.sum(0.0)

    def to_ddp(self, module: nn.Module, compress: str = "none") -> nn.Module:
        """The module whose gradients are averaged over the ranks in backward; compress: "bfloat16" halves their bytes."""
        if self.size == 1:
            return module
        with _collective():
            wrapped = DistributedDataParallel(module, gradient_as_bucket_view=True)
        if compress == "bfloat16":
            if dist.get_backend() == "mpi":
                raise UsageError("PyTorch's own MPI adds no bfloat16; leave out --compress, or say --backend gloo")
            wrapped.register_comm_hook(None, bfloat16_hook)
        return wrapped

    def shutdown(self) -> None:
        """Part from the others. Drop the wrapped module first: gloo's threads may abort a process that exits early."""
        if self.size > 1:
            self.barrier()
            gc.collect()
            dist.destroy_process_group()
            launchers.abort_at_exit(0)

    def sync_only_if(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager:
        """Within it, backward only adds to the gradients, unless this is the last microbatch of a step: then all meet."""
        if self.size == 1:
            return nullcontext()
        return _as_rank_lost() if last else wrapped.no_sync()


@contextmanager
def _collective() -> Iterator[None]:
    """Within it ranks wait for each other. Raises RankLost."""
    with activity.during(activity.EXCHANGE), _as_rank_lost():
        yield


@contextmanager
def _as_rank_lost() -> Iterator[None]:
    """Raises RankLost where ranks do not meet within it, whatever the backend calls that."""
    try:
        yield
    except RuntimeError as problem:
        text = str(problem)
        if isinstance(problem, dist.DistError) or "gloo" in text or "over MPI" in text:
            raise RankLost(f"the other ranks were lost ({text.splitlines()[0]})") from problem
        raise


def init(backend: str = "gloo", *, join_seconds: float = 30.0, wait_seconds: float = heartbeat.BACKEND_TIMEOUT) -> World:
    """Find out who this process is, and meet the other ranks.

    join_seconds: until ranks that are missing end the job; wait_seconds: until a collective that does not end does; under
    heartbeat.watch it ends much earlier.
    Raises UsageError for launchers' variables that do not fit, ranks that are missing or come twice, ports in use.
    """
    place = launchers.detect()
    if place.size == 1:
        return World(launcher=place.launcher, host=socket.gethostname())
    if backend == "mpi":
        _require_mpi(place)
        how = process_group.start(wait_seconds)
    else:
        how = _init_gloo(place, join_seconds, wait_seconds)
    return _with_local_ranks(World(rank=dist.get_rank(), size=dist.get_world_size(), launcher=place.launcher,
                                   backend=backend, host=socket.gethostname(), rendezvous=how), place)


def _init_gloo(place: RankInfo, join_seconds: float, wait_seconds: float) -> str:
    """Start the process group; returns where ranks met and which interface they use."""
    if place.launcher in (launchers.TORCHRUN, launchers.SRUN):
        store, where = rendezvous.open_store(rendezvous.endpoint(place, os.environ), place, join_seconds)
    else:
        _require_mpi(place)
        store, where = rendezvous.store_over_mpi(place, process_group.broadcast_object, join_seconds)
    hosts = rendezvous.wait_for_ranks(store, place, join_seconds)
    name = os.environ.get("GLOO_SOCKET_IFNAME") or network.interface(socket.gethostname(), hosts)
    if name:
        os.environ["GLOO_SOCKET_IFNAME"] = name  # else gloo takes the address of the host's name, often 127.0.1.1
    dist.init_process_group("gloo", store=dist.PrefixStore("gloo", store), rank=place.rank, world_size=place.size,
                            timeout=datetime.timedelta(seconds=wait_seconds))
    return f"gloo, met at {where}, interface {name or 'of the host name'}"


def _require_mpi(place: RankInfo) -> None:
    """Raise UsageError unless MPI has the ranks that were started; under the wrong MPI each one is a job of its own."""
    size = process_group.communicator().size
    if size != place.size:
        raise UsageError(f"MPI knows {size} rank{'s' if size > 1 else ''}, {place.launcher} started {place.size}; use "
                         "the mpirun of the MPI that mpi4py finds, or under srun name that MPI (--mpi=pmix for Open MPI, "
                         "--mpi=pmi2 for MPICH and Intel MPI)")


def _with_local_ranks(world: World, place: RankInfo) -> World:
    """The world with local ranks counted by host: two agents of torchrun on one host number theirs from 0 both.

    Raises UsageError where two ranks have one place.
    """
    theirs = world.gather([world.host, place.node, place.local_rank])
    for rank, one in enumerate(theirs):
        if one in theirs[:rank]:
            raise UsageError(f"ranks {theirs.index(one)} and {rank} are both local rank {one[2]} on {one[0]}; "
                             "start all ranks with one launcher")
    here = [rank for rank, one in enumerate(theirs) if one[0] == world.host]
    return dataclasses.replace(world, local_rank=here.index(world.rank), local_size=len(here))
