"""Targets of each site: its mechanism or assays, its treatment and plate, and statistics of its pixels.

Shapes: S sites of the table, N sites that are read, D statistics; L rows of labels, A assays.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mscnn.core import config
from mscnn.core.errors import UsageError
from mscnn.core.logs import log, progress
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.tables import splits
from mscnn.data.tables.replicates import site_numbers, why_no_contrast
from mscnn.data.tables.site_table import SiteTable
from mscnn.distributed.world import World
from mscnn.training.loss import UNKNOWN, assay_weights, class_weights
from mscnn.training.statistics import measure

CLIP_SD = 4.0  # standard deviations that a target may lie from the mean


@dataclass(frozen=True)
class Targets:
    """Targets of the sites of a table."""

    train_sites: np.ndarray            # positions of the sites that training reads
    labels: np.ndarray                 # (S,) of the mechanism; UNKNOWN unless on the training side.  Of assays (L, A)
                                       # float32, a row a compound: 1 active, 0 inactive or not known
    weights: np.ndarray                # (S,) or (L, A) in the loss of these; 0 unless known and on the training side
    treatments: np.ndarray             # (S,) number of compound and dose together, in any spelling
    compounds: np.ndarray              # (S,) number of the compound
    plates: np.ndarray                 # (S,) number of the plate
    on_one_plate: np.ndarray           # (S,) bool: all fields of its treatment that are read lie on one plate
    aux_targets: Tensor | None = None  # (S, D) of the auxiliary task; None without it
    label_rows: np.ndarray | None = None  # (S,) row of each site's labels and weights; None: a row a site

    def rows_of(self, sites: np.ndarray) -> np.ndarray:
        """Return the rows of labels and weights of sites."""
        return sites if self.label_rows is None else self.label_rows[sites]


def build_targets(fields: FieldReader, split: splits.Split, objective: config.Objective, optim: config.Optim, world: World,
                  loader_thread_init: Callable[[], object] = lambda: None) -> Targets:
    """Return labels of the training side alone, and targets without labels of all sites that are read. A collective.

    Auxiliary targets are in standard deviations of the training side.  Raises UsageError, on all ranks alike, for a
    contrast that these sites do not allow.
    """
    of_labels, train = _of_mechanisms if fields.table.assays is None else _of_assays, _train_side(fields.table, split)
    labels, weights, rows = of_labels(fields.table, train, optim.class_weights if objective.mechanism_weight else "")
    sites = learnt_sites(fields.table, split, objective)
    treatments, compounds, plates = site_numbers(fields.table)
    on_one_plate = pd.Series(plates[sites]).groupby(treatments[sites]).nunique().reindex(treatments).to_numpy() == 1
    targets = Targets(sites, labels, weights, treatments, compounds, plates, on_one_plate, label_rows=rows)
    if objective.replicate_weight:
        require_replicates(targets, objective)
    if not objective.statistics_weight:
        return targets
    with progress(len(sites), "pixel statistics", world.rank, unit="field") as bar:
        statistics_ND = measure(fields, sites, microbatch=optim.microbatch, world=world,
                                loader_thread_init=loader_thread_init, advance=bar.of_ranks(world.size))
    of_train_ND = statistics_ND[np.isin(sites, train)]
    sd_D = of_train_ND.std(axis=0)
    scaled_ND = (statistics_ND - of_train_ND.mean(axis=0)) / np.where(sd_D > 0, sd_D, 1.0)
    targets_SD = torch.zeros(len(fields.table), statistics_ND.shape[1])
    targets_SD[sites] = torch.from_numpy(scaled_ND.clip(-CLIP_SD, CLIP_SD)).float()
    log.info("auxiliary task: %d statistics of %d fields%s", targets_SD.shape[1], len(sites),
             f", {len(sites) - len(train)} of them held out" if objective.transductive else "")
    return replace(targets, aux_targets=targets_SD)


def learnt_sites(table: SiteTable, split: splits.Split, objective: config.Objective) -> np.ndarray:
    """Return the positions of the sites that training reads: held-out ones too, where it may see their images."""
    train = _train_side(table, split)
    return np.sort(np.concatenate([train, split.test()])) if objective.transductive else train


def _train_side(table: SiteTable, split: splits.Split) -> np.ndarray:
    """Return the positions of the training side; with assays, of compounds that were measured alone."""
    train = split.train()
    return train if table.assays is None else train[table.is_labelled()[train]]


def require_replicates(targets: Targets, objective: config.Objective) -> None:
    """Raise UsageError for sites on which the replicate contrast attracts or repels nothing; log doubts."""
    sites = targets.train_sites
    treatments, plates = targets.treatments[sites], targets.plates[sites]
    if reason := why_no_contrast(treatments, targets.compounds[sites], plates, objective.negatives):
        raise UsageError(f"--replicate-weight {objective.replicate_weight:g} --negatives {objective.negatives} {reason}")
    fields = pd.Series(treatments).value_counts()
    apart = pd.Series(targets.compounds[sites]).groupby(plates if objective.negatives == "plate" else 0 * plates).nunique()
    log.info("replicate contrast: treatments %d, plates %d", len(fields), len(set(plates)))
    one_plate = len(np.unique(treatments[targets.on_one_plate[sites]]))
    for number, what in ((int((fields == 1).sum()), "have one field and attract none"),
                         (one_plate, "are on one plate only, so that what is special to the plate may be learnt"),
                         (int((apart < 2).sum()) if objective.negatives == "plate" else 0,
                          "plates hold one compound, where nothing repels (--negatives all)")):
        if number:
            log.warning("replicate contrast: %d of them %s", number, what)


def _of_mechanisms(table: SiteTable, train: np.ndarray, mode: str) -> tuple[np.ndarray, np.ndarray, None]:
    """Return labels and weights of the mechanisms of the training sites.  mode: of class_weights; "": weights are 0."""
    labels, weights = np.full(len(table), UNKNOWN), np.zeros(len(table))
    labelled = train[(table.frame["mechanism"].iloc[train] != "").to_numpy()]
    classes = table.mechanisms()
    labels[labelled] = table.frame["mechanism"].iloc[labelled].map(classes.index)
    if mode:
        weights[labelled] = class_weights(labels[labelled], len(classes), mode)[labels[labelled]]
    return labels, weights, None


def _of_assays(table: SiteTable, train: np.ndarray, mode: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, weights and rows of assays: a row a compound; the last row, without labels, for all other sites."""
    assert table.assays is not None
    values_LA = table.assays.values_CA
    rows = np.full(len(table), len(values_LA) - 1)
    rows[train] = table.assays.row_S[train]
    fields_L = np.bincount(rows[train], minlength=len(values_LA))
    return np.nan_to_num(values_LA), assay_weights(values_LA, fields_L, mode), rows
