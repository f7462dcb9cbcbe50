"""Sites -> tensors, read ahead by a thread while the network computes.  Exercised by `pytest tests/test_loader.py`.

Shapes: N fields of a microbatch, C channels, H W pixels.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from mscnn.data.augment import Jitter, augment
from mscnn.data.images import fit, read_site
from mscnn.data.normalise import Normalisation
from mscnn.data.sampler import Stream
from mscnn.data.tables import SiteTable

Item = TypeVar("Item")
_END = object()


@dataclass(frozen=True)
class Fields:
    """Reads fields of a table as the network's input."""

    table: SiteTable
    normalisation: Normalisation
    size: tuple[int, int] | None  # crop or pad to (height, width)

    def read(self, sites: np.ndarray, jitter: Jitter | None = None, key: tuple[int, int] = (0, 0)) -> Tensor:
        """Positions in the table -> (N, C, H, W) float32.

        With jitter each field is augmented by a generator of its own, keyed by (seed, epoch) and the site: the same
        change on any rank and in any order.  key: (seed, epoch).
        """
        fields_NCHW = torch.empty(0)
        for position, site in enumerate(sites):
            field = torch.from_numpy(self.normalisation.apply(fit(read_site(self.table.frame["files"][site]), self.size)))
            if jitter is not None:
                field = augment(field, jitter, np.random.default_rng([Stream.AUGMENTATION, *key, int(site)]))
            if position == 0:
                fields_NCHW = field.new_empty((len(sites), *field.shape))
            fields_NCHW[position] = field
        return fields_NCHW


def ahead(jobs: Iterable[Callable[[], Item]], depth: int = 1, enter: Callable[[], object] = lambda: None) -> Iterator[Item]:
    """Run jobs in a thread, at most `depth` results ahead; an exception in a job is raised here, in its turn.

    enter: what the thread calls first.  Leaving the loop early stops the thread.
    """
    results: queue.Queue = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(result: object) -> None:
        while not stopped.is_set():
            try:
                return results.put(result, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            enter()
            for job in jobs:
                if stopped.is_set():
                    return
                put((job(), None))
            put(_END)
        except BaseException as problem:
            put((None, problem))

    thread = threading.Thread(target=work, name="reader", daemon=True)
    thread.start()
    try:
        while (result := results.get()) is not _END:
            item, problem = result
            if problem is not None:
                raise problem
            yield item
    finally:
        stopped.set()
        thread.join()
