"""A pool of worker processes that start fresh: forked ones would inherit the locks of the parent's threads."""

import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess

from mscnn.core import signals


class Worker(SpawnProcess):
    """A process to which no terminal's signals come: its parent handles them, and ends it."""

    def start(self) -> None:
        """Start with these signals blocked; a process inherits that."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.OF_TERMINAL)
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Context(SpawnContext):
    Process = Worker


@contextmanager
def spawned_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of so many spawned processes. Where the block fails, work that has not begun is dropped."""
    pool = ProcessPoolExecutor(workers, mp_context=_Context())
    try:
        yield pool
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()
