"""What each site teaches: its mechanism, its appearance, or nothing.

Shapes: S sites, D numbers of the second task.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mscnn.core import config
from mscnn.core.logs import log
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.pixels.statistics import pixel_statistics
from mscnn.data.tables import splits
from mscnn.distributed.world import World
from mscnn.training.loss import UNKNOWN, class_weights

CLIP_SD = 4.0  # standard deviations that a target may lie from the mean


@dataclass(frozen=True)
class Targets:
    """labels, weights: (S,), UNKNOWN and 0 for every site that is not on the training side; sites: positions of those that
    training reads; targets: (S, D) of the second task, None without it.
    """

    train_sites: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    aux_targets: Tensor | None = None


def build_targets(fields: FieldReader, split: splits.Split, optim: config.Optim, ranks: World,
                  enter_reader: Callable[[], object] = lambda: None) -> Targets:
    """Labels of the training side alone; appearance of what is read, in sd of the training side. A collective."""
    classes, train = fields.table.mechanisms(), split.train()
    labels, weights = np.full(len(fields.table), UNKNOWN), np.zeros(len(fields.table))
    labels[train] = fields.table.frame["mechanism"].iloc[train].map(classes.index)
    weights[train] = class_weights(labels[train], len(classes), optim.class_weights)[labels[train]]
    if not optim.aux_weight:
        return Targets(train, labels, weights)
    sites = np.sort(np.concatenate([train, split.test()])) if optim.aux_on_held_out else train
    described_ND = _statistics_of_sites(fields, sites, optim.microbatch, ranks, enter_reader)
    trained_ND = described_ND[np.isin(sites, train)]
    sd_D = trained_ND.std(axis=0)
    scaled_ND = (described_ND - trained_ND.mean(axis=0)) / np.where(sd_D > 0, sd_D, 1.0)
    targets_SD = torch.zeros(len(fields.table), described_ND.shape[1])
    targets_SD[sites] = torch.from_numpy(scaled_ND.clip(-CLIP_SD, CLIP_SD)).float()
    log.info("second task: %d statistics of %d fields%s", targets_SD.shape[1], len(sites),
             f", {len(sites) - len(train)} of them held out" if optim.aux_on_held_out else "")
    return Targets(sites, labels, weights, targets_SD)


def _statistics_of_sites(fields: FieldReader, sites: np.ndarray, microbatch: int, world: World,
                         enter_reader: Callable[[], object]) -> np.ndarray:
    """(N, D) float64 numbers of mscnn/data/pixels/statistics.py for N sites, each described once, known to all ranks."""
    described_ND = np.zeros((len(sites), pixel_statistics(fields.read(sites[:1])).shape[1]))
    for share, images_NCHW in fields.read_share(sites, microbatch=microbatch, rank=world.rank, size=world.size,
                                                thread_init=enter_reader):
        described_ND[share] = pixel_statistics(images_NCHW).double()
    return world.sum_array(described_ND)
