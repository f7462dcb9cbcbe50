"""Calls that may block, made in order by a thread of their own, under a watchdog; what mpi.py communicates through."""

import atexit
import datetime
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist


class Work(dist.Work):
    """One operation asked for; wait() returns when it is done, or raises what went wrong."""

    def __init__(self, name: str, tensors: Sequence[torch.Tensor]):
        super().__init__()
        self._name, self._tensors = name, list(tensors)
        self._done, self._error = threading.Event(), None
        self._source = torch.futures.Future()
        # DDP waits for the C++ future. set_exception leaves the exception in it as if it were its value, on which DDP
        # crashes; a callback that raises makes it a true error.
        self._future = self._source.then(lambda future: future.value())

    def __str__(self) -> str:
        if not self._tensors:
            return self._name
        types = {str(tensor.dtype).removeprefix("torch.") for tensor in self._tensors}
        return f"{self._name} of {sum(tensor.numel() for tensor in self._tensors):,} {'/'.join(sorted(types))}"

    def finish(self, error: Exception | None = None) -> None:
        """Let go whoever waits."""
        self._error = error
        self._done.set()
        if error is None:
            self._source.set_result(self._tensors)
        else:
            self._source.set_exception(error)

    def wait(self, timeout: datetime.timedelta | None = None) -> bool:
        """Return True when done. timeout: none and zero, torch's default, are without limit."""
        if not self._done.wait(timeout.total_seconds() if timeout else None):
            raise dist.DistBackendError(f"{self} over MPI is not done after {timeout}; wait longer, or find the late rank")
        if self._error is not None:
            raise self._error
        return True

    def get_future(self) -> torch.futures.Future:
        """A future of the tensors."""
        return self._future

    def is_completed(self) -> bool:
        """Whether wait() returns or raises at once."""
        return self._done.is_set()

    def is_success(self) -> bool:
        """Whether wait() returns at once."""
        return self._done.is_set() and self._error is None

    def exception(self) -> Exception | None:
        """What wait() raises."""
        return self._error

    def result(self) -> list[torch.Tensor]:
        """The tensors."""
        return self._tensors


class Watchdog:
    """Ends the job when one operation takes too long: MPI knows no timeouts, and one stopped rank would hold all.

    who: rank and host, for the message; abort: ends the job on all ranks.
    """

    def __init__(self, seconds: float, who: str, abort: Callable[[], None]):
        self._seconds, self._who, self._abort = seconds, who, abort
        self._running: dict[object, tuple[float, object]] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mpi-watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def over(self, operation: object) -> Iterator[None]:
        """Watch what happens within."""
        token = object()
        self._running[token] = time.monotonic(), operation
        try:
            yield
        finally:
            del self._running[token]

    def close(self) -> None:
        """Stop watching, and wait for the thread: a tensor that it let go of while Python ends would abort the process."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._seconds / 10)):
            late = [str(operation) for begun, operation in list(self._running.values())
                    if time.monotonic() - begun > self._seconds]  # names: no tensor is kept
            for name in late:
                print(f"{self._who}: {name} over MPI has waited longer than {self._seconds:g} s; another rank "
                      "stopped or is too late; ending the job", file=sys.stderr, flush=True)
                self._abort()


class Queue:
    """Makes calls one after the other in a thread. After one has failed it makes no more, and names the first failure."""

    def __init__(self, name: str, who: str, watchdog: Watchdog):
        self._name, self._who, self._watchdog = name, who, watchdog
        self.failure: str | None = None
        self._calls: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work_off, name=f"mpi-{name}", daemon=True)
        self._thread.start()
        atexit.register(self._come_to_rest)

    def submit(self, name: str, call: Callable[[], object], tensors: Sequence[torch.Tensor], *,
               aside: bool = False) -> Work:
        """Queue a call; or make it at once, aside, in a thread of its own."""
        if self.failure is not None:
            raise dist.DistBackendError(f"{name} over MPI: {self._name} takes no more work, {self.failure}")
        work = Work(name, tensors)
        if aside:
            threading.Thread(target=self._perform, args=(call, work), name=f"mpi-{name}", daemon=True).start()
        else:
            self._calls.put((call, work))
        return work

    def close(self) -> None:
        """Make the calls that are queued, then end the thread."""
        self._calls.put(None)
        self._thread.join()
        atexit.unregister(self._come_to_rest)

    def _come_to_rest(self) -> None:
        """Where the program ends on an error: a thread that is within PyTorch when Python goes crashes the process.

        Waiting in MPI for a rank that failed it may stay, so it gets a second.
        """
        self.failure = self.failure or "the process is ending"
        self._calls.put(None)
        self._thread.join(1.0)

    def _work_off(self) -> None:
        while (item := self._calls.get()) is not None:
            self._perform(*item)
            del item  # or the last tensors would live on until there is more to do

    def _perform(self, call: Callable[[], object], work: Work) -> None:
        error = None
        try:
            if self.failure is not None:
                raise RuntimeError(f"not begun, {self.failure}")
            with self._watchdog.over(work), torch.inference_mode():  # else parameters refuse to be written
                call()
        except Exception as problem:  # whatever it is, it belongs to those who wait for this work
            reason = " ".join(str(problem).split())  # MPICH gives a stack of its own, a line a call
            error = dist.DistBackendError(f"{self._who}: {work} over MPI failed: {reason}")
            error.__cause__ = problem
            self.failure = self.failure or f"an earlier operation failed: {error}"
        work.finish(error)
