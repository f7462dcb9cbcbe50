"""The head that is fitted at the end of a training.   Shapes: S sites, D statistics."""


import numpy as np

from mscnn.core import config
from mscnn.core.logs import log
from mscnn.data.tables import splits
from mscnn.readout.candidates import LEARNT_MECHANISMS, SAW_TRAINING_ONLY
from mscnn.readout.linear import can_fit
from mscnn.readout.readout import fit_readout
from mscnn.readout.record import ReadoutRecord, to_record
from mscnn.readout.tables import UNKNOWN, SiteFacts, facts_of, side_by_side
from mscnn.training.statistics import columns_of, measure_statistics
from mscnn.training.trainer import Trainer


def fit_head(trainer: Trainer, settings: config.Config, split: splits.Split) -> ReadoutRecord | None:
    """Fit the last layer to the training fields whose mechanism is known, and for --head chosen a read-out; a collective.

    Return the read-out; None for --head lda, and where fewer than two mechanisms are known, so that nothing is fitted.
    """
    head, tta = settings.aggregation.head, settings.aggregation.tta == "flips-turns"
    table = trainer.fields.table
    facts = facts_of(table.frame, table.is_control(), table.mechanisms())
    known = split.train()[facts.labels_S[split.train()] != UNKNOWN]
    if not can_fit(facts.labels_S[known]):
        log.warning("head: %d training fields, known mechanisms: %d; too few to predict any", len(known),
                    len(np.unique(facts.labels_S[known])))
        return None
    measured = known if head == "lda" else np.union1d(known, np.flatnonzero(scale_plates(facts, split)))
    with trainer.ema_weights():
        network_SF = trainer.predict(measured, tta)[1]
    is_known = np.isin(measured, known)
    trainer.replace_last_layer(network_SF[is_known], facts.labels_S[known])
    log.info("head: linear discriminant analysis of %d fields", len(known))
    if head == "lda":
        return None
    statistics_SD = measure_statistics(trainer.fields, measured, microbatch=trainer.microbatch, world=trainer.world,
                                       loader_thread_init=trainer.loader_thread_init)
    features = side_by_side(columns_of(table.channels), network_SF, statistics_SD)
    readout = fit_readout(features, facts.select(measured), np.flatnonzero(is_known), len(table.mechanisms()),
                          folds=settings.aggregation.readout_folds, network_note=_why_not_judged(settings.objective, split))
    log.info("read-out: %s: %s", readout.choice.chosen, readout.choice.reason)
    return to_record(readout)


def scale_plates(facts: SiteFacts, split: splits.Split) -> np.ndarray:
    """Return (S,) bool, the sites of control wells by which a read-out scales its plate: never held-out ones.

    A well that moves the centre of its plate towards itself looks more like a control well than a new one would.
    """
    return facts.is_control_S & (split.side != splits.TEST)


def _why_not_judged(objective: config.Objective, split: splits.Split) -> str:
    """Return why the network's features of the training compounds say too much of others; "" where they do not.

    Those of a label-free network do not, if it has learnt the images of all compounds.
    """
    if not objective.is_label_free:
        return LEARNT_MECHANISMS
    return SAW_TRAINING_ONLY if len(split.test()) and not objective.transductive else ""
