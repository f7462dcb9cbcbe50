"""How sure is the classifier of treatments whose mechanism it was not fitted to?  "left_out_mechanism" of scores.json.

For evaluations with a read-out over compounds.  Each treatment is predicted twice: by a read-out that was fitted without
its compound, and by one that was fitted without all compounds of its mechanism.  The second can only be wrong.  Where it is
as confident as the first, confidence does not tell a new mechanism from a known one.

The confidence is the highest probability, as a share of all.  The second read-out has a class less, and with fewer classes
the highest probability is higher.  So the first loses a class too: each other one in turn, and the mean counts.

The network is label-free: it has learnt images of all compounds, and no mechanism.

Shapes: S sites, T treatments, K classes.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mscnn.core.logs import log
from mscnn.core.records import Count, Record, Share
from mscnn.data.tables.splits import SplitRecord
from mscnn.profiling.known import auc_of_left_out
from mscnn.profiling.resampling import Interval
from mscnn.profiling.treatment_profiles import KEYS
from mscnn.readout.linear import can_fit
from mscnn.readout.tables import UNKNOWN, SiteFacts

NO_FOLDS = ("no mechanism with two compounds can be left out so that two others are left to fit; fill in the mechanism of "
            "more compounds")


@dataclass(frozen=True)
class LeftOutMechanism(Record):
    """The confidence in treatments, with their compound left out and with their mechanism left out."""

    treatments: Count   # of mechanisms that two compounds have
    compounds: Count    # of these treatments
    mechanisms: Count   # of these treatments: each was left out
    auc: Share | None = None              # chance that a treatment is surer than one of a left-out mechanism, ties
                                          # half: area under the ROC curve, each compound with weight 1; 0.5 is chance
    interval: Interval | None = None      # of auc, over compounds
    confidence: Share | None = None       # median, compound left out; each compound with weight 1
    left_out_confidence: Share | None = None  # median, mechanism left out
    note: str = ""                        # why there is none of these, and what to do


def mechanism_folds(facts: SiteFacts) -> list[SplitRecord]:
    """Return a record, without sites, of each mechanism with two treated compounds: its compounds are held out.

    A mechanism is not left out where fewer than two others would be left to fit.
    """
    is_known_S = facts.labels_S != UNKNOWN
    is_treated_S, folds = is_known_S & ~facts.is_control_S, []
    for label in np.unique(facts.labels_S[is_treated_S]):
        is_out_S = is_treated_S & (facts.labels_S == label)
        compounds = np.unique(facts.compounds_S[is_out_S]).tolist()
        if len(compounds) > 1 and can_fit(facts.labels_S[is_known_S & ~is_out_S]):
            folds.append(SplitRecord("leave-mechanism-out", compounds, "", "", {}, {}, []))
    return folds


def compare(treatments: pd.DataFrame, left_out: pd.DataFrame, *, draws: int = 2000, seed: int = 0) -> LeftOutMechanism:
    """Compare predictions of the same treatments, with their compound and with their mechanism left out.

    Tables as aggregate.aggregate returns them, in the same order.  left_out: probabilities 0 where no mechanism was left
    out.
    """
    assert treatments[KEYS].equals(left_out[KEYS]), "other treatments"
    probabilities = [name for name in treatments if name.startswith("Probability_")]
    known_TK, left_out_TK = (table[probabilities].to_numpy(float) for table in (treatments, left_out))
    is_out_T, is_class_K = left_out_TK.any(axis=1), (known_TK + left_out_TK).any(axis=0)
    if not is_out_T.any():
        return LeftOutMechanism(0, 0, 0, note=NO_FOLDS)
    own_TK = ("Probability_" + treatments["Metadata_MOA"]).to_numpy(str)[:, None] == np.array(probabilities)
    known_T = _with_a_class_less(known_TK[is_out_T][:, is_class_K], own_TK[is_out_T][:, is_class_K])
    left_out_T = _confidence(left_out_TK[is_out_T])
    names, compound_T, sizes = np.unique(treatments["Metadata_Compound"].to_numpy(str)[is_out_T], return_inverse=True,
                                         return_counts=True)
    medians = [float(np.quantile(values_T, 0.5, weights=1 / sizes[compound_T], method="inverted_cdf"))
               for values_T in (known_T, left_out_T)]
    return LeftOutMechanism(int(is_out_T.sum()), len(names), treatments["Metadata_MOA"][is_out_T].nunique(),
                            *auc_of_left_out(known_T, left_out_T, compound_T, draws=draws, seed=seed), *medians)


def _confidence(probabilities_TK: np.ndarray) -> np.ndarray:
    """Return the highest probability as a share of all, (T,): medians over wells need not add up to 1.

    Where all are 0, as nothing but the class that was left out is likely, the other classes are equally so.
    """
    total_T, num_others = probabilities_TK.sum(axis=1), max(probabilities_TK.shape[1] - 1, 1)
    equal_T = np.full(len(probabilities_TK), 1 / num_others)
    share_T = np.divide(probabilities_TK.max(axis=1), total_T, out=equal_T, where=total_T > 0)
    return np.minimum(share_T, 1.0)  # 1 but for rounding


def _with_a_class_less(probabilities_TK: np.ndarray, own_TK: np.ndarray) -> np.ndarray:
    """Return the mean confidence (T,) when each class but a treatment's own is left out in turn."""
    without_TK = np.stack([_confidence(np.where(np.arange(probabilities_TK.shape[1]) == out, 0, probabilities_TK))
                           for out in range(probabilities_TK.shape[1])], axis=1)
    return np.average(without_TK, axis=1, weights=~own_TK)


def log_left_out(found: LeftOutMechanism) -> None:
    """Log both confidences and the area on one line, or why there are none."""
    if found.interval is None:
        log.info("mechanisms left out: %s", found.note)
        return
    log.info("mechanisms left out: median confidence %.2f, and %.2f with only the compound left out; AUROC %.2f (95 %% "
             "interval over %d compounds: %.2f to %.2f; chance 0.5)", found.left_out_confidence, found.confidence,
             found.auc, found.compounds, found.interval.low, found.interval.high)
