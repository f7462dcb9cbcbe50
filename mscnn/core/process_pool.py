"""A pool of worker processes that start fresh: forked ones would inherit the locks of the parent's threads."""

import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from mscnn.core import signals

PATIENCE = 2.0  # seconds that a worker has to remove what it has half written


@contextmanager
def spawned_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of so many spawned processes. Where the block fails, they end at once."""
    with _blocked():
        resource_tracker.ensure_running()
    context = _Context()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_exit_on_sigterm)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in context.workers:
            worker.terminate()
        for worker in context.workers:
            worker.join(PATIENCE)
            worker.kill()
        raise
    pool.shutdown()


class Worker(SpawnProcess):
    """A process to which no terminal's signals come: its parent handles them, and ends it."""

    def start(self) -> None:
        """Start with these signals blocked; a process inherits that."""
        with _blocked():
            super().start()


class _Context(SpawnContext):
    """Makes the processes of a pool, and keeps them."""

    def __init__(self):
        self.workers: list[Worker] = []

    def Process(self, target: Callable[..., object], args: tuple[Any, ...]) -> Worker:
        """Return a new process, which is not started."""
        self.workers.append(Worker(target=target, args=args))
        return self.workers[-1]


@contextmanager
def _blocked() -> Iterator[None]:
    """Block the signals of a terminal in this thread, and in the processes that it starts in the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.OF_TERMINAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit_on_sigterm() -> None:
    """Let SIGTERM end this worker in order, so that files half written are removed."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
