"""Predictions by read-outs: by that of a checkpoint, or leaving one compound out, each by a read-out of its own.

Shapes: S sites, K classes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from mscnn.core import identity
from mscnn.core.errors import DataError, UsageError
from mscnn.data.tables import splits
from mscnn.data.tables.sampler import shard
from mscnn.data.tables.site_table import SiteTable
from mscnn.distributed.world import World
from mscnn.readout import choice, plate_controls
from mscnn.readout.candidates import BY_NAME, UNSCALED
from mscnn.readout.choice import Choice
from mscnn.readout.linear import can_fit
from mscnn.readout.readout import Readout, fit_readout
from mscnn.readout.record import from_record
from mscnn.readout.tables import NETWORK, UNKNOWN, Features, SiteFacts, facts_of
from mscnn.training.checkpoint import Checkpoint

MOST_FOLDS = 60  # more compounds are left out in so many groups: each fold fits and judges all candidates anew
NOT_MEASURED = "plates without untreated wells have the median scale of the others in the read-out"


@dataclass(frozen=True)
class ReadoutPredictions:
    """Predictions by what was chosen, and by each candidate that all folds can have."""

    chosen_SK: np.ndarray                # probabilities
    candidates: dict[str, np.ndarray]    # by name, (S, K), the simplest first
    choices: list[Choice]                # of each fold
    notes: list[str]                     # what a reader of the scores must know


def load_readout(saved: Checkpoint, columns: dict[str, list[str]], source: str) -> Readout | None:
    """Return the read-out of a checkpoint, None where it has none.

    columns: of the features that this program measures.  source: of the checkpoint, for errors.  Raises DataError for a
    read-out of other features.
    """
    if saved.readout is None:
        return None
    readout = from_record(saved.readout, len(saved.classes))
    if readout.columns != columns:
        raise DataError(f"{source}: its read-out is of other features than this version measures; use the version that "
                        "wrote it, or train again")
    return readout


def by_checkpoint(readout: Readout, features: Features, facts: SiteFacts, *, measure: bool,
                  learnt: Iterable[str]) -> ReadoutPredictions:
    """Return the predictions of all sites.

    measure: scale plates by their untreated wells here, not by the training's.  learnt: compounds whose images the network
    has learnt.  Those of others are predicted without it: it was judged by what it does for compounds that it knows.
    """
    controls = plate_controls.measure(features.values_SD, facts) if measure and readout.controls else None
    scaled = controls or readout.controls
    found = {name: readout.probabilities(name, features, facts.plates_S, controls) for name in readout.names()}
    chosen_SK, notes = found[readout.choice.chosen], []
    is_scaled_S = np.full(len(chosen_SK), BY_NAME[readout.choice.chosen].scaling != UNSCALED)
    is_new_S = ~np.isin(facts.compounds_S, [identity.normal_form(name) for name in learnt]) & ~facts.is_control_S
    without = [name for name in readout.names() if NETWORK not in BY_NAME[name].tables]
    if NETWORK in BY_NAME[readout.choice.chosen].tables and is_new_S.any() and without:
        simpler = choice.best_of(readout.choice.candidates, without)
        chosen_SK = np.where(is_new_S[:, None], found[simpler], chosen_SK)
        is_scaled_S[is_new_S] = BY_NAME[simpler].scaling != UNSCALED
        notes.append(f"{int(is_new_S.sum())} fields of compounds whose images the network has not learnt are predicted by "
                     f"{simpler}, not by {readout.choice.chosen}: it was chosen by compounds that the network knows")
    if scaled and not scaled.covers(facts.plates_S[is_scaled_S]):
        notes.append(NOT_MEASURED)
    return ReadoutPredictions(chosen_SK, found, [readout.choice], notes)


def compound_folds(table: SiteTable, seed: int) -> list[splits.SplitRecord]:
    """Return a record, without sides, of each fold over the compounds with a mechanism: a fold a compound, or MOST_FOLDS.

    Raises UsageError where a fold would leave fewer than two mechanisms.
    """
    labelled = table.labelled()
    number = len(splits.treated_compounds(labelled))
    method = "leave-compound-out" if number <= MOST_FOLDS else "k-fold"
    made = [splits.make_split(labelled, split=method, folds=MOST_FOLDS, fold=fold, seed=seed)
            for fold in range(min(number, MOST_FOLDS))]
    return [splits.SplitRecord.from_json(splits.to_record(split, labelled).summary()) for split in made]


def over_compounds(features: Features, facts: SiteFacts, records: Iterable[splits.SplitRecord], num_classes: int, *,
                   inner_folds: int, ranks: World,
                   advance: Callable[[int], object] = lambda number: None) -> ReadoutPredictions:
    """Return the predictions of the compounds of each fold by a read-out that was fitted and chosen without them.

    A collective: ranks share out the folds.  Sites of no fold have probabilities 0.
    advance: called with the number of folds that this rank has just finished.
    """
    groups = [[identity.normal_form(name) for name in record.held_out] for record in records]
    known = np.flatnonzero(facts.labels_S != UNKNOWN)
    for group in groups:  # on all ranks alike
        labels = facts.labels_S[known[~np.isin(facts.compounds_S[known], group)]]
        if not can_fit(labels):
            raise UsageError(f"leaving out {', '.join(group)} leaves {len(labels)} fields of {len(np.unique(labels))} "
                             "mechanisms, too few to fit a read-out; give more fields a mechanism")
    shape = (len(facts.labels_S), num_classes)
    chosen_SK, found, own = np.zeros(shape), {name: np.zeros(shape) for name in BY_NAME}, []
    for fold in shard(list(range(len(groups))), rank=ranks.rank, size=ranks.size):
        is_out = np.isin(facts.compounds_S, groups[fold]) & ~facts.is_control_S
        train, test = known[~is_out[known]], known[is_out[known]]
        readout = fit_readout(features, facts, train, num_classes, folds=inner_folds)
        for name in readout.names():
            found[name][test] = readout.probabilities(name, features.select(test), facts.plates_S[test])
        chosen_SK[test] = found[readout.choice.chosen][test]
        own.append([fold, readout.choice.to_json()])
        advance(1)
    choices = [Choice.from_json(content) for _, content in sorted((pair for part in ranks.gather(own) for pair in part),
                                                                  key=lambda pair: pair[0])]
    found = {name: ranks.sum_array(probabilities_SK) for name, probabilities_SK in found.items()}
    tested = known[~facts.is_control_S[known]]
    return ReadoutPredictions(ranks.sum_array(chosen_SK),
                              {name: found_SK for name, found_SK in found.items() if (found_SK[tested].sum(1) > 0).all()},
                              choices, [])


def facts_of_sites(table: SiteTable, classes: list[str]) -> SiteFacts:
    """Return the facts of the sites of a table."""
    return facts_of(table.frame, table.is_control(), classes)
