"""Sites -> tensors for the network, in minibatches, read ahead by a thread while the network computes.

Shapes: N fields of a microbatch, C channels, H W pixels.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mscnn.data.pixels.augment import Jitter, augment, draw, orient
from mscnn.data.pixels.images import fit
from mscnn.data.pixels.prefetch import prefetch
from mscnn.data.pixels.read_pixels import read_pixels
from mscnn.data.pixels.scale import Scale
from mscnn.data.tables.sampler import Stream, microbatches, shard
from mscnn.data.tables.site_table import SiteTable


@dataclass(frozen=True)
class FieldReader:
    """Read fields of a table as the network's input."""

    table: SiteTable
    scale: Scale
    size: tuple[int, int] | None  # crop or pad to (height, width)

    def read(self, sites: np.ndarray, jitter: Jitter | None = None, key: tuple[int, int] = (0, 0),
             views: np.ndarray | None = None) -> Tensor:
        """Return the fields (N, C, H, W) float32 of the sites at these positions in the table.

        With jitter each field is augmented by a generator of its own, keyed by (seed, epoch), the site and its view: the
        same change on any rank and in any order.  key: (seed, epoch); views: (N,) number of each view, None: 0.
        """
        fields_NCHW, changes, plates = torch.empty(0), [], self.table.frame["plate"]
        for position, site in enumerate(sites):
            site_CHW, plate = read_pixels(self.table, site), str(plates.iat[site])
            if self.scale.before_crop:
                site_CHW = self.scale.apply(site_CHW, plate)
            site_CHW = fit(site_CHW, self.size)
            if position == 0:
                fields_NCHW = torch.empty(len(sites), *site_CHW.shape)
            if jitter is not None:
                view = [] if views is None or views[position] == 0 else [int(views[position])]
                rng = np.random.default_rng([Stream.AUGMENTATION, *key, int(site), *view])
                changes.append(draw(jitter, rng, channels=len(site_CHW), square=site_CHW.shape[1] == site_CHW.shape[2]))
                site_CHW = orient(site_CHW, changes[-1])
            if self.scale.before_crop:
                np.copyto(fields_NCHW[position].numpy(), site_CHW)
            else:
                self.scale.apply(site_CHW, plate, fields_NCHW[position].numpy())
        if jitter is not None:
            augment(fields_NCHW, changes, jitter)
        return fields_NCHW

    def read_share(self, sites: np.ndarray, *, microbatch: int, rank: int, size: int,
                   place: Callable[[Tensor], Tensor] = lambda fields_NCHW: fields_NCHW,
                   thread_init: Callable[[], object] = lambda: None) -> Generator[tuple[np.ndarray, Tensor], None, None]:
        """Yield one rank's microbatches of the sites: positions in `sites`, and their fields (N, C, H, W), read ahead.

        Ranks take whole microbatches, which are the same for any number of ranks; each site is in one of them.
        place: what the reading thread does last with the fields; thread_init: what it does first.
        """
        shares = shard(microbatches(np.arange(len(sites)), microbatch), rank=rank, size=size)
        jobs = ((lambda share=share: place(self.read(sites[share]))) for share in shares)
        with closing(prefetch(jobs, thread_init=thread_init)) as fields:
            yield from zip(shares, fields, strict=True)
