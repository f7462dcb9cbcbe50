"""Results of jobs in order, computed ahead by threads: fields for the network, and decoded sites for a pack."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from mscnn.core import activity

Item = TypeVar("Item")


def prefetch(jobs: Iterable[Callable[[], Item]], depth: int = 1, workers: int = 1,
             thread_init: Callable[[], object] = lambda: None) -> Generator[Item, None, None]:
    """Run jobs in threads and yield their results in order; an exception in a job is raised here, in its turn.

    depth: results that may wait, beside the jobs that run.  thread_init: what each thread calls first.
    Closing the generator cancels jobs that have not begun, and waits for those that have.
    """
    waiting = iter(jobs)
    pool = ThreadPoolExecutor(workers, "reader", thread_init)
    try:
        results: deque[Future[Item]] = deque(pool.submit(job) for job in islice(waiting, depth + workers + 1))
        while results:
            with activity.during("waiting for fields that are read ahead"):
                result = results.popleft().result()
            yield result
            results.extend(pool.submit(job) for job in islice(waiting, 1))
    finally:
        pool.shutdown(cancel_futures=True)
