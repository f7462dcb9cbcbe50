"""The ranks of a job: their rendezvous and their collectives.  `mscnn ranks` shows where each rank runs.

Only this folder uses torch.distributed and mpi4py.  Tests of several ranks: tests/ranks, tests/mpi.
"""

import dataclasses
import datetime
import gc
import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mscnn.core import activity
from mscnn.core.errors import DataError, RankLost, Result, UsageError
from mscnn.core.words import counted
from mscnn.distributed import heartbeat, launchers, network, rendezvous
from mscnn.distributed.compress import bfloat16_hook
from mscnn.distributed.launchers import RankInfo
from mscnn.distributed.mpi import process_group


@dataclass(frozen=True)
class World:
    """The ranks of a job. Every method but sync_only_if is a collective: all ranks call it, at the same place, or none."""

    rank: int = 0
    size: int = 1               # ranks of the job
    local_rank: int = 0         # among the ranks on this host, in the order of ranks
    local_size: int = 1         # ranks on this host
    launcher: str = launchers.NONE
    backend: str = "gloo"       # or mpi
    host: str = ""
    rendezvous: str = "a single process"        # how the ranks found each other, for the log

    def sum(self, *numbers: float) -> list[float]:
        """Add each number over the ranks, in float64. Counts add; averages of averages do not."""
        return self.sum_array(np.array(numbers, dtype=np.float64)).tolist()

    def any(self, flag: bool) -> bool:
        """Tell on all ranks whether the flag is set on any rank."""
        return self.sum(float(flag))[0] > 0

    def sum_array(self, array: np.ndarray) -> np.ndarray:
        """Add float64 arrays of one shape over the ranks. Exact where all but one rank hold zeros."""
        if self.size == 1:
            return array
        total = torch.from_numpy(np.array(array, dtype=np.float64))
        self.sum_in_place(total)
        return total.numpy()

    def sum_in_place(self, tensor: torch.Tensor) -> None:
        """Add tensors of one shape and type over the ranks, in that type; `mscnn bench collective` times it."""
        if self.size > 1:
            with _collective():
                dist.all_reduce(tensor)

    def broadcast(self, tensor: torch.Tensor, root: int) -> None:
        """Overwrite a tensor, of one shape and type on all ranks, by that of one rank."""
        if self.size > 1:
            with _collective():
                dist.broadcast(tensor, root)

    def all_to_all(self, numbers: torch.Tensor, sent_R: list[int], received_R: list[int]) -> torch.Tensor:
        """Send each rank so many numbers of a flat tensor, in turn; return what each rank sent to this one, in turn."""
        received = numbers.new_empty(sum(received_R))
        with _collective():
            dist.all_to_all_single(received, numbers, received_R, sent_R)
        return received

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank, on all ranks. Values are sent as JSON, which carries no code."""
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
        """Raise UsageError on all ranks, naming rank and fact, unless all ranks hold the same facts."""
        for rank, (host, theirs) in enumerate(self.gather((self.host, facts))):
            if rank == 0:
                expected = theirs
            for name, value in theirs.items():
                if value != expected[name]:
                    raise UsageError(f"rank {rank} on {host} has {name} {value}, rank 0 has {expected[name]}; "
                                     "give all ranks the same program, settings and data")

    def run_on_all_or_raise(self, action: Callable[[], Result]) -> Result:
        """Run the action on all ranks. Its UsageError or DataError on any rank is raised on all, naming that rank."""
        result: Result | None = None
        problem: UsageError | DataError | None = None
        try:
            result = action()
        except (UsageError, DataError) as raised:
            problem = raised
        problems = self.gather(None if problem is None else [self.host, isinstance(problem, DataError), str(problem)])
        if problem is not None:
            raise problem
        for rank, other in enumerate(problems):
            if other:
                host, is_data_error, message = other
                raise (DataError if is_data_error else UsageError)(f"rank {rank} on {host} alone: {message}")
        return cast(Result, result)

    def gather_local(self, value: Any) -> list[Any]:
        """Return the values of the ranks on this host, by local rank."""
        return [theirs for host, theirs in self.gather((self.host, value)) if host == self.host]

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.sum(0.0)

    def to_ddp(self, module: nn.Module, compress: str = "none", *, own: Iterable[str] = ()) -> nn.Module:
        """Wrap a module so that backward averages its gradients over the ranks; compress: "bfloat16" halves their bytes.

        own: names of parameters that differ between ranks, and are not averaged.
        """
        if self.size == 1:
            return module
        if own := list(own):
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, own)
        with _collective():
            wrapped = DistributedDataParallel(module, gradient_as_bucket_view=True)
        if compress == "bfloat16":
            if dist.get_backend() == "mpi":
                raise UsageError("PyTorch's own MPI adds no bfloat16; leave out --compress, or use --backend gloo")
            wrapped.register_comm_hook(None, bfloat16_hook)
        return wrapped

    def shutdown(self) -> None:
        """Wait for all ranks, then destroy the process group.

        Delete the wrapped module first: gloo's threads may abort a process that exits early.
        """
        if self.size > 1:
            self.barrier()
            gc.collect()
            dist.destroy_process_group()
            launchers.abort_at_exit(0)

    def sync_only_if(self, wrapped: nn.Module, *, last: bool) -> AbstractContextManager:
        """Return a context in which backward accumulates gradients, and exchanges them at the last microbatch of a step."""
        if self.size == 1:
            return nullcontext()
        assert isinstance(wrapped, DistributedDataParallel)
        return _as_rank_lost() if last else wrapped.no_sync()


@contextmanager
def _collective() -> Iterator[None]:
    """Set the activity while ranks wait for each other within the block. Raises RankLost."""
    with activity.during(activity.EXCHANGE), _as_rank_lost():
        yield


@contextmanager
def _as_rank_lost() -> Iterator[None]:
    """Turn the errors by which backends report a lost rank, within the block, into RankLost."""
    try:
        yield
    except RuntimeError as problem:
        text = str(problem)
        if isinstance(problem, dist.DistError) or "gloo" in text or "over MPI" in text:
            raise RankLost(f"the other ranks were lost ({text.splitlines()[0]})") from problem
        raise


def init(backend: str = "gloo", *, join_seconds: float = 30.0, wait_seconds: float = heartbeat.BACKEND_TIMEOUT) -> World:
    """Find the rank of this process, and join the other ranks.

    join_seconds: timeout of the rendezvous; wait_seconds: timeout of a collective, which under heartbeat.watch ends much
    earlier.  Raises UsageError for inconsistent variables of launchers, missing or duplicate ranks, and ports in use.
    """
    info = launchers.detect()
    if info.size == 1:
        return World(launcher=info.launcher, host=socket.gethostname())
    if backend == "mpi":
        _require_mpi(info)
        rendezvous_text = process_group.start(wait_seconds)
    else:
        rendezvous_text = _init_gloo(info, join_seconds, wait_seconds)
    return _with_local_ranks(World(rank=dist.get_rank(), size=dist.get_world_size(), launcher=info.launcher,
                                   backend=backend, host=socket.gethostname(), rendezvous=rendezvous_text), info)


def _init_gloo(info: RankInfo, join_seconds: float, wait_seconds: float) -> str:
    """Start the process group; return where the rendezvous was and which interface is used, for the log."""
    if info.launcher in (launchers.TORCHRUN, launchers.SRUN):
        store, where = rendezvous.open_store(rendezvous.endpoint(info, os.environ), info, join_seconds)
    else:
        _require_mpi(info)
        store, where = rendezvous.store_over_mpi(info, process_group.broadcast_object, join_seconds)
    hosts = rendezvous.wait_for_ranks(store, info, join_seconds)
    name = os.environ.get("GLOO_SOCKET_IFNAME") or network.interface(socket.gethostname(), hosts)
    if name:
        os.environ["GLOO_SOCKET_IFNAME"] = name  # else gloo takes the address of the host's name, often 127.0.1.1
    dist.init_process_group("gloo", store=dist.PrefixStore("gloo", store), rank=info.rank, world_size=info.size,
                            timeout=datetime.timedelta(seconds=wait_seconds))
    return f"gloo, rendezvous at {where}, interface {name or 'of the host name'}"


def _require_mpi(info: RankInfo) -> None:
    """Raise UsageError unless MPI knows all ranks that were started; under the wrong MPI each rank is a job of its own."""
    size = process_group.communicator().size
    if size != info.size:
        raise UsageError(f"MPI knows {counted(size, 'rank')}, {info.launcher} started {info.size}; use "
                         "the mpirun of the MPI that mpi4py finds, or under srun select that MPI (--mpi=pmix for Open MPI, "
                         "--mpi=pmi2 for MPICH and Intel MPI)")


def _with_local_ranks(world: World, info: RankInfo) -> World:
    """Return the world with local ranks counted by host: two agents of torchrun on one host both count from 0.

    Raises UsageError where two ranks of one launcher node have the same local rank.
    """
    places = world.gather([world.host, info.node, info.local_rank])
    for rank, (host, node, local_rank) in enumerate(places):
        if (first := places.index([host, node, local_rank])) < rank:
            raise UsageError(f"ranks {first} and {rank} are both local rank {local_rank} on {host}; start all ranks with "
                             "one launcher")
    here = [rank for rank, (host, _, _) in enumerate(places) if host == world.host]
    return dataclasses.replace(world, local_rank=here.index(world.rank), local_size=len(here))
