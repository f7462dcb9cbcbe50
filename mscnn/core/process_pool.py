"""A pool of worker processes that start fresh: forked ones would inherit the locks of the parent's threads."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context


def spawned_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of so many spawned processes."""
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
