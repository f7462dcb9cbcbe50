"""A thread that makes blocking calls in order, under a watchdog: process_group.py communicates through it."""

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
    """A submitted operation; wait() returns when it is done, or raises its error."""

    def __init__(self, name: str, tensors: Sequence[torch.Tensor]):
        super().__init__()
        self._name, self._tensors = name, list(tensors)
        self._done, self._error = threading.Event(), None
        self._source = torch.futures.Future()
        # DDP waits for the C++ future. set_exception stores the exception as its value, on which DDP crashes; a callback
        # that raises turns it into an error.
        self._future = self._source.then(lambda future: future.value())

    def __str__(self) -> str:
        if not self._tensors:
            return self._name
        types = {str(tensor.dtype).removeprefix("torch.") for tensor in self._tensors}
        return f"{self._name} of {sum(tensor.numel() for tensor in self._tensors):,} {'/'.join(sorted(types))}"

    def finish(self, error: Exception | None = None) -> None:
        """Release the waiting threads. error: what wait() raises."""
        self._error = error
        self._done.set()
        if error is None:
            self._source.set_result(self._tensors)
        else:
            self._source.set_exception(error)

    def wait(self, timeout: datetime.timedelta | None = None) -> bool:
        """Return True when done. timeout: None and zero, torch's default, mean no limit. Raises DistBackendError."""
        if not self._done.wait(timeout.total_seconds() if timeout else None):
            raise dist.DistBackendError(f"{self} over MPI is not done after {timeout}; wait longer, or find the late rank")
        if self._error is not None:
            raise self._error
        return True

    def get_future(self) -> torch.futures.Future:
        """Return a future of the tensors."""
        return self._future

    def is_completed(self) -> bool:
        """Tell whether wait() returns or raises at once."""
        return self._done.is_set()

    def is_success(self) -> bool:
        """Tell whether wait() returns at once."""
        return self._done.is_set() and self._error is None

    def exception(self) -> Exception | None:
        """Return what wait() raises, or None."""
        return self._error

    def result(self) -> list[torch.Tensor]:
        """Return the tensors."""
        return self._tensors


class Watchdog:
    """Ends the job when an operation exceeds the timeout: MPI has no timeouts, and one stopped rank would block all.

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
        """Watch an operation, which runs within the block."""
        token = object()
        self._running[token] = time.monotonic(), operation
        try:
            yield
        finally:
            del self._running[token]

    def close(self) -> None:
        """Stop watching and join the thread: a tensor that it released while Python exits would abort the process."""
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._seconds / 10)):
            late = [str(operation) for begun, operation in list(self._running.values())
                    if time.monotonic() - begun > self._seconds]  # strings, which keep no tensor alive
            for name in late:
                print(f"{self._who}: {name} over MPI has waited longer than {self._seconds:g} s; another rank "
                      "stopped or is late; ending the job", file=sys.stderr, flush=True)
                self._abort()


class Queue:
    """A thread that makes calls one after the other. After a failure it makes no more and reports the first failure."""

    def __init__(self, name: str, who: str, watchdog: Watchdog):
        self._name, self._who, self._watchdog = name, who, watchdog
        self.failure: str | None = None
        self._calls: queue.SimpleQueue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"mpi-{name}", daemon=True)
        self._thread.start()
        atexit.register(self._stop_at_exit)

    def submit(self, name: str, call: Callable[[], object], tensors: Sequence[torch.Tensor]) -> Work:
        """Queue a call. Raises DistBackendError after an earlier call has failed."""
        if self.failure is not None:
            raise dist.DistBackendError(f"{name} over MPI: {self._name} accepts no more calls, {self.failure}")
        work = Work(name, tensors)
        self._calls.put((call, work))
        return work

    def close(self) -> None:
        """Make the queued calls, then end the thread."""
        self._calls.put(None)
        self._thread.join()
        atexit.unregister(self._stop_at_exit)

    def _stop_at_exit(self) -> None:
        """Stop the thread when the program ends on an error: within PyTorch while Python exits, it would crash the process.

        It may wait in MPI for a rank that failed, so this gives up after one second.
        """
        self.failure = self.failure or "the process is ending"
        self._calls.put(None)
        self._thread.join(1.0)

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            self._perform(*item)
            del item  # else the last tensors would live until the next call

    def _perform(self, call: Callable[[], object], work: Work) -> None:
        error = None
        try:
            if self.failure is not None:
                raise RuntimeError(f"not started, {self.failure}")
            with self._watchdog.over(work), torch.inference_mode():  # else parameters refuse in-place writes
                call()
        except Exception as problem:  # any error belongs to the threads that wait for this work
            reason = " ".join(str(problem).split())  # MPICH's messages have a stack of several lines
            error = dist.DistBackendError(f"{self._who}: {work} over MPI failed: {reason}")
            error.__cause__ = problem
            self.failure = self.failure or f"an earlier operation failed: {error}"
        work.finish(error)
