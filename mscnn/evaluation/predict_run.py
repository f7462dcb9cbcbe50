"""All that a checkpoint computes of sites: features, statistics, and probabilities by its read-out or its last layer.

evaluate.py and the library share it, so that their numbers are equal to the last bit.
Shapes: S sites, K classes, F features of the network.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pandas as pd

from mscnn.core import config
from mscnn.core.errors import DataError
from mscnn.core.logs import Progress, progress
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.tables.splits import SplitRecord
from mscnn.distributed.world import World
from mscnn.evaluation import left_out_mechanism, load_run, readout_predictions
from mscnn.evaluation.readout_predictions import ReadoutPredictions
from mscnn.model import MCNN
from mscnn.readout.readout import Readout
from mscnn.readout.tables import STATISTICS, Features, side_by_side
from mscnn.training.checkpoint import Checkpoint
from mscnn.training.statistics import columns_of, measure_statistics

HIDDEN = partial(progress, rank=1)  # only rank 0 shows its progress


@dataclass(frozen=True)
class Predictions:
    """What a checkpoint computes of sites."""

    probabilities_SK: np.ndarray                           # by the chosen read-out, else by the network's last layer
    features_SF: np.ndarray                                # of the network
    statistics: pd.DataFrame | None = None                 # (S, D) that a read-out reads; None without one
    readout: ReadoutPredictions | None = None              # by each candidate; None without one
    left_out_SK: np.ndarray | None = None                  # by read-outs without a site's mechanism; None likewise
    folds: list[SplitRecord] = field(default_factory=list)  # over compounds; []: all by the checkpoint's read-out
    notes: list[str] = field(default_factory=list)         # what a reader of the scores must know


def predict_run(saved: Checkpoint, network: MCNN, fields: FieldReader, ranks: World, *, microbatch: int, source: str,
                over_compounds: bool = False, measure_plates: bool = False,
                loader_thread_init: Callable[[], object] = lambda: None,
                advance: Callable[[int], object] = lambda number: None,
                shown: Callable[..., AbstractContextManager[Progress]] = HIDDEN) -> Predictions:
    """Return what a checkpoint computes of all sites of a reader; a collective.

    source: of the checkpoint, for errors.  over_compounds: predict each compound by a read-out that is fitted to the other
    ones.  measure_plates: plates are not those of the training, so that a read-out scales them by their untreated wells.
    shown: as logs.progress, for what follows the network.
    The rest is as in load_run.predict_sites, which computes what the network does.
    """
    probabilities_SK, features_SF = load_run.predict_sites(
        saved, network, fields, ranks, microbatch=microbatch, source=source, loader_thread_init=loader_thread_init,
        advance=advance)
    found = Predictions(probabilities_SK, features_SF)
    if saved.readout is None:
        return found
    columns = columns_of(tuple(saved.channels))
    readout = readout_predictions.load_readout(saved, columns, source)
    assert readout is not None
    with shown(len(fields.table), "pixel statistics", unit="field") as bar:
        statistics_SD = measure_statistics(fields, np.arange(len(fields.table)), microbatch=microbatch, world=ranks,
                                           loader_thread_init=loader_thread_init, advance=bar.of_ranks(ranks.size))
    if not (np.isfinite(statistics_SD).all() and np.isfinite(features_SF).all()):
        raise DataError(f"{source}: statistics or features are not finite, and no read-out can use them; look for damaged "
                        "images with `mscnn check`")
    found = replace(found, statistics=pd.DataFrame(statistics_SD, columns=columns[STATISTICS]))
    return _read_out(saved, readout, fields, side_by_side(columns, features_SF, statistics_SD), found, ranks,
                     over_compounds=over_compounds, measure_plates=measure_plates, shown=shown)


def _read_out(saved: Checkpoint, readout: Readout, fields: FieldReader, features: Features, found: Predictions,
              ranks: World, *, over_compounds: bool, measure_plates: bool,
              shown: Callable[..., AbstractContextManager[Progress]] = HIDDEN) -> Predictions:
    """Return the predictions by read-outs; those of sites without a mechanism are always by the checkpoint's."""
    facts = readout_predictions.facts_of_sites(fields.table, saved.classes)
    learnt = [*saved.split.trained["compounds"], *(saved.split.held_out if saved.settings["transductive"] else ())]
    by_checkpoint = readout_predictions.by_checkpoint(readout, features, facts, measure=measure_plates, learnt=learnt)
    if not over_compounds:
        return replace(found, probabilities_SK=by_checkpoint.chosen_SK, readout=by_checkpoint, notes=by_checkpoint.notes)
    settings = config.from_flat(saved.settings)
    records = readout_predictions.compound_folds(fields.table, settings.run.seed)
    predict = partial(readout_predictions.over_compounds, features, facts, num_classes=len(saved.classes),
                      inner_folds=settings.aggregation.readout_folds, ranks=ranks)
    mechanisms = left_out_mechanism.mechanism_folds(facts)
    with shown(len(records), "read-outs over compounds", unit="fold") as bar:
        by_fold = predict(records, advance=bar.of_ranks(ranks.size))
    with shown(len(mechanisms), "read-outs over mechanisms", unit="fold") as bar:
        without_mechanism = predict(mechanisms, advance=bar.of_ranks(ranks.size))
    is_tested = by_fold.chosen_SK.sum(axis=1) > 0

    def completed(name: str) -> np.ndarray:
        own_SK = by_checkpoint.candidates.get(name, by_checkpoint.chosen_SK)
        return np.where(is_tested[:, None], by_fold.candidates[name], own_SK)

    merged = replace(by_fold, chosen_SK=np.where(is_tested[:, None], by_fold.chosen_SK, by_checkpoint.chosen_SK),
                     candidates={name: completed(name) for name in by_fold.candidates})
    return replace(found, probabilities_SK=merged.chosen_SK, readout=merged, left_out_SK=without_mechanism.chosen_SK,
                   folds=records, notes=merged.notes)
