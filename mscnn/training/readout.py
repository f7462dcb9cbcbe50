"""The head that is fitted at the end of a training, and the statistics of pixels that a chosen read-out reads.

Shapes: S sites of the table, N sites that are measured, D statistics.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import numpy as np
import torch

from mscnn.core import activity, config
from mscnn.core.errors import UsageError
from mscnn.core.logs import log
from mscnn.data.pixels import handcrafted
from mscnn.data.pixels.read_pixels import read_pixels
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.pixels.statistics import pixel_statistics
from mscnn.data.tables import splits
from mscnn.distributed.world import World
from mscnn.model import NUM_FEATURES
from mscnn.readout.candidates import LEARNT_MECHANISMS, SAW_TRAINING_ONLY
from mscnn.readout.linear import can_fit
from mscnn.readout.readout import fit_readout
from mscnn.readout.record import ReadoutRecord, to_record
from mscnn.readout.tables import EMBEDDING, NETWORK, PIXELS, STATISTICS, UNKNOWN, facts_of, side_by_side
from mscnn.training.trainer import Trainer

SMALL = 64  # pixels of the side of a field without content, which tells the names of statistics


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
    measured = known if head == "lda" else np.union1d(known, np.flatnonzero(facts.is_control_S))
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


def _why_not_judged(objective: config.Objective, split: splits.Split) -> str:
    """Return why the network's features of the training compounds say too much of others; "" where they do not.

    Those of a label-free network do not, if it has learnt the images of all compounds.
    """
    if not objective.is_label_free:
        return LEARNT_MECHANISMS
    return SAW_TRAINING_ONLY if len(split.test()) and not objective.transductive else ""


def columns_of(channels: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the names of the features of both tables as `side_by_side` joins them, for a screen with these channels."""
    return {NETWORK: [f"Root_{EMBEDDING}{number:03d}" for number in range(1, NUM_FEATURES + 1)],
            STATISTICS: statistics_names(channels)}


def statistics_names(channels: tuple[str, ...]) -> list[str]:
    """Return the names of what measure_statistics measures.

    They are the statistics of the network's input, and handcrafted features where the channel of nuclei is known.
    """
    number = pixel_statistics(torch.zeros(1, len(channels), SMALL, SMALL)).shape[1]
    names = [f"{PIXELS}{position:03d}" for position in range(1, number + 1)]
    if (nuclei := nuclei_of(channels)) is None:
        return names
    blank_CHW = np.zeros((len(channels), SMALL, SMALL), np.uint8)
    return names + list(handcrafted.features(blank_CHW, channels=channels, nuclei=nuclei))


def nuclei_of(channels: tuple[str, ...]) -> int | None:
    """Return the position of the channel that shows nuclei, by its name; None where no name tells."""
    try:
        return handcrafted.nuclei_channel(channels, None)
    except UsageError:
        return None


def measure_statistics(fields: FieldReader, sites: np.ndarray, *, microbatch: int, world: World,
                       loader_thread_init: Callable[[], object] = lambda: None,
                       advance: Callable[[int], object] = lambda number: None) -> np.ndarray:
    """Return the statistics (N, D) float64 of N sites on all ranks, named as by statistics_names; a collective.

    Ranks share out whole microbatches, as in inference.predict: the numbers are the same on any number of ranks.
    advance: called with the number of sites that this rank has just finished.  Raises ImageError for a damaged image.
    """
    table = fields.table
    nuclei = nuclei_of(table.channels)
    log.info("statistics of %d fields%s", len(sites), "" if nuclei is None else
             f", and handcrafted features; nuclei in channel {table.channels[nuclei]}")
    measured_ND = np.zeros((len(sites), len(statistics_names(table.channels))))
    share = fields.read_share(sites, microbatch=microbatch, rank=world.rank, size=world.size,
                              thread_init=loader_thread_init)
    with closing(share), ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for positions, images_NCHW in share:
            activity.set_activity("measuring statistics")
            of_input_ND = pixel_statistics(images_NCHW).double().numpy()
            width = of_input_ND.shape[1]
            measured_ND[positions, :width] = of_input_ND
            if nuclei is not None:
                measure = partial(handcrafted.features, channels=table.channels, nuclei=nuclei)
                named = pool.map(measure, [read_pixels(table, int(sites[position])) for position in positions])
                measured_ND[positions, width:] = [list(features.values()) for features in named]
            advance(len(positions))
    return world.sum_array(measured_ND)
