"""Sites -> tensors, read ahead by a thread while the network computes.

Shapes: N fields of a microbatch, C channels, H W pixels.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from mscnn.core import activity
from mscnn.data.pixels.augment import Jitter, augment, draw, orient
from mscnn.data.pixels.images import fit
from mscnn.data.pixels.packed import pixels
from mscnn.data.pixels.scale import Scale
from mscnn.data.tables.sampler import Stream
from mscnn.data.tables.site_table import SiteTable

Item = TypeVar("Item")
_END = object()


@dataclass(frozen=True)
class FieldReader:
    """Reads fields of a table as the network's input."""

    table: SiteTable
    scale: Scale
    size: tuple[int, int] | None  # crop or pad to (height, width)

    def read(self, sites: np.ndarray, jitter: Jitter | None = None, key: tuple[int, int] = (0, 0)) -> Tensor:
        """Positions in the table -> (N, C, H, W) float32.

        With jitter each field is augmented by a generator of its own, keyed by (seed, epoch) and the site: the same
        change on any rank and in any order.  key: (seed, epoch).
        """
        fields_NCHW, changes, plates = torch.empty(0), [], self.table.frame["plate"]
        for position, site in enumerate(sites):
            site_CHW, plate = pixels(self.table, site), plates.iat[site]
            if self.scale.before_crop:
                site_CHW = self.scale.apply(site_CHW, plate)
            site_CHW = fit(site_CHW, self.size)
            if position == 0:
                fields_NCHW = torch.empty(len(sites), *site_CHW.shape)
            if jitter is not None:
                rng = np.random.default_rng([Stream.AUGMENTATION, *key, int(site)])
                changes.append(draw(jitter, rng, channels=len(site_CHW), square=site_CHW.shape[1] == site_CHW.shape[2]))
                site_CHW = orient(site_CHW, changes[-1])
            if self.scale.before_crop:
                np.copyto(fields_NCHW[position].numpy(), site_CHW)
            else:
                self.scale.apply(site_CHW, plate, fields_NCHW[position].numpy())
        if jitter is not None:
            augment(fields_NCHW, changes, jitter)
        return fields_NCHW


def prefetch(jobs: Iterable[Callable[[], Item]], depth: int = 1,
             thread_init: Callable[[], object] = lambda: None) -> Generator[Item, None, None]:
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
            thread_init()
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
        while True:
            with activity.during("waiting for fields that are read ahead"):
                result = results.get()
            if result is _END:
                return
            item, problem = result
            if problem is not None:
                raise problem
            yield item
    finally:
        stopped.set()
        thread.join()
