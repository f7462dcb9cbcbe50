"""Targets of each site: the label of its mechanism, and the pixel statistics of the auxiliary task.

Shapes: S sites of the table, N sites that are read, D statistics.
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
    """Targets of the sites of a table."""

    train_sites: np.ndarray            # positions of the sites that training reads
    labels: np.ndarray                 # (S,) of the mechanism; UNKNOWN unless on the training side
    weights: np.ndarray                # (S,) in the loss of the mechanism; 0 unless on the training side
    aux_targets: Tensor | None = None  # (S, D) of the auxiliary task; None without it


def build_targets(fields: FieldReader, split: splits.Split, objective: config.Objective, optim: config.Optim, world: World,
                  loader_thread_init: Callable[[], object] = lambda: None) -> Targets:
    """Return labels of the training side alone, and auxiliary targets of all sites that are read. A collective.

    Auxiliary targets are in standard deviations of the training side.
    """
    classes, train = fields.table.mechanisms(), split.train()
    labels, weights = np.full(len(fields.table), UNKNOWN), np.zeros(len(fields.table))
    labels[train] = fields.table.frame["mechanism"].iloc[train].map(classes.index)
    weights[train] = class_weights(labels[train], len(classes), optim.class_weights)[labels[train]]
    if not objective.statistics_weight:
        return Targets(train, labels, weights)
    sites = np.sort(np.concatenate([train, split.test()])) if objective.transductive else train
    statistics_ND = _statistics_of_sites(fields, sites, optim.microbatch, world, loader_thread_init)
    of_train_ND = statistics_ND[np.isin(sites, train)]
    sd_D = of_train_ND.std(axis=0)
    scaled_ND = (statistics_ND - of_train_ND.mean(axis=0)) / np.where(sd_D > 0, sd_D, 1.0)
    targets_SD = torch.zeros(len(fields.table), statistics_ND.shape[1])
    targets_SD[sites] = torch.from_numpy(scaled_ND.clip(-CLIP_SD, CLIP_SD)).float()
    log.info("auxiliary task: %d statistics of %d fields%s", targets_SD.shape[1], len(sites),
             f", {len(sites) - len(train)} of them held out" if objective.transductive else "")
    return Targets(sites, labels, weights, targets_SD)


def _statistics_of_sites(fields: FieldReader, sites: np.ndarray, microbatch: int, world: World,
                         loader_thread_init: Callable[[], object]) -> np.ndarray:
    """Return the pixel statistics (N, D) float64 of N sites on all ranks. Each site is read once."""
    statistics_ND = np.zeros((len(sites), pixel_statistics(fields.read(sites[:1])).shape[1]))
    for share, images_NCHW in fields.read_share(sites, microbatch=microbatch, rank=world.rank, size=world.size,
                                                thread_init=loader_thread_init):
        statistics_ND[share] = pixel_statistics(images_NCHW).double()
    return world.sum_array(statistics_ND)
