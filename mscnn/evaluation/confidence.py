"""How far can the prediction of a treatment be believed?  Calibrated confidence, and "confidence" of scores.json.

Probabilities of a network, or of its discriminant analysis, are too high for new compounds (Guo et al., ICML 2017).  They
are calibrated by a temperature T: the logarithms of the probabilities are divided by T, and the softmax of these is taken.
T has the least negative log-likelihood of the true mechanisms of held-out treatments; each compound weighs 1, spread over
its treatments.  Few compounds, or right ones alone, must not claim certainty: the fit sees one more compound that is right,
and one whose true mechanism is the runner-up.  Their likelihood is the mean over all compounds of the probability of the
prediction, and of the runner-up.  Where N compounds are alike and right, the confidence becomes (N + 1) / (N + 2), and no
confidence is higher: Laplace's rule of succession (Platt 1999 has the same targets).

A chosen read-out (`--head chosen`) is calibrated by inner folds of the training compounds already.

Shapes: T treatments, K classes, C compounds, G temperatures.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.core.logs import log
from mscnn.core.records import Count, NonNegative, Record
from mscnn.core.words import counted
from mscnn.evaluation import calibration
from mscnn.evaluation.aggregate import PROBABILITY

TEMPERATURES_G = np.geomspace(0.1, 100, 800)  # steps of 0.9 %
LEAST = 1e-12  # of a probability: its logarithm stays finite
LEAST_MEAN = 1e-15  # of mean probabilities: those of all compounds less those of one are known to so many digits
NOTHING = ("no treatment is held out whose mechanism the network has learnt, so that nothing can be calibrated: hold "
           "compounds out and evaluate the run")


@dataclass(frozen=True)
class TreatmentConfidence(Record):
    """What makes the probabilities of treatments believable, and on what it was fitted."""

    how: Literal["read-out", "temperature", "none"]  # read-out: calibrated in the training's inner folds
    temperature: NonNegative | None = None           # above 1: the network is too sure
    treatments: Count = 0                            # held out, that it was fitted to
    compounds: Count = 0                             # of these treatments
    error_before: NonNegative | None = None          # expected calibration error of the probabilities as they are
    error_after: NonNegative | None = None           # by temperatures that were fitted to the other compounds
    checkpoint: str = ""                             # SHA-256 of the checkpoint that it is for; "" for several
    note: str = ""                                   # why it cannot be had, or what to know of it


def fit(treatments: pd.DataFrame, *, is_read_out: bool, checkpoint: str = "") -> TreatmentConfidence:
    """Return what calibrates treatments; a temperature is fitted to those of a known mechanism, which must be held out.

    treatments: as aggregate.aggregate returns them, of at least two classes.  is_read_out: a chosen read-out predicts.
    checkpoint: SHA-256.  Treatments of a mechanism that is no class take no part: no confidence makes them right.
    """
    if is_read_out:
        return TreatmentConfidence("read-out", checkpoint=checkpoint)
    known = treatments[_is_fitted_T(treatments)]
    if known.empty:
        return TreatmentConfidence("none", checkpoint=checkpoint, note=NOTHING)
    right_CG, added_2CG, compound_T = _likelihoods(known)
    temperature = TEMPERATURES_G[_best(right_CG.sum(axis=0), added_2CG.mean(axis=1))]
    found = TreatmentConfidence("temperature", float(temperature), len(known), len(right_CG), checkpoint=checkpoint)
    if len(right_CG) < 2:
        return TreatmentConfidence(**{**vars(found), "note": "one compound is held out, so that its own confidence cannot "
                                                             "be calibrated; hold more out"})
    right_T = (known["Predicted_MOA"] == known["Metadata_MOA"]).to_numpy()
    before, after = (calibration.calibration(values_T, right_T, known["Metadata_Compound"].to_numpy(str), draws=1).error
                     for values_T in (shares(known).max(axis=1), _left_out(known, right_CG, added_2CG, compound_T)))
    return TreatmentConfidence(**{**vars(found), "error_before": before, "error_after": after})


def of_treatments(treatments: pd.DataFrame, found: TreatmentConfidence | None, *, is_fitted_here: bool) -> np.ndarray:
    """Return the calibrated confidence of each treatment's prediction, (T,); NaN where it cannot be had.

    is_fitted_here: `found` was fitted to these treatments, so that those with a mechanism get the temperature that is
    fitted without their compound.
    """
    confidence_T = np.full(len(treatments), np.nan)
    if found is None or found.how == "none" or treatments.empty:
        return confidence_T
    if found.how == "read-out" or found.temperature is None:
        return shares(treatments).max(axis=1)
    confidence_T[:] = _bounded(shares(treatments), found.temperature, found.compounds)
    if is_fitted_here:
        is_fitted_T = _is_fitted_T(treatments)
        known = treatments[is_fitted_T]
        right_CG, added_2CG, compound_T = _likelihoods(known)
        confidence_T[is_fitted_T] = np.nan if len(right_CG) < 2 else _left_out(known, right_CG, added_2CG, compound_T)
    return confidence_T


def shares(treatments: pd.DataFrame) -> np.ndarray:
    """Return the probabilities (T, K) as shares of their sum: medians over wells need not add up to 1.

    Where all are 0 all classes are equally likely.
    """
    values_TK = treatments[[name for name in treatments if name.startswith(PROBABILITY)]].to_numpy(float)
    total_T1 = values_TK.sum(axis=1, keepdims=True)
    equal_TK = np.full(values_TK.shape, 1 / max(values_TK.shape[1], 1))
    return np.clip(np.divide(values_TK, total_T1, out=equal_TK, where=total_T1 > 0), 0, 1)


def softened(shares_TK: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities (T, K) at a temperature; 1 leaves them as they are, a high one makes them equal."""
    scores_TK = np.log(np.maximum(shares_TK, LEAST)) / temperature
    powers_TK = np.exp(scores_TK - scores_TK.max(axis=1, keepdims=True))
    return powers_TK / powers_TK.sum(axis=1, keepdims=True)


def _bounded(shares_TK: np.ndarray, temperature: float, compounds: int) -> np.ndarray:
    """Return the confidence (T,) at a temperature that was fitted to a number of compounds."""
    return np.minimum(softened(shares_TK, temperature).max(axis=1), (compounds + 1) / (compounds + 2))


def log_confidence(found: TreatmentConfidence) -> None:
    """Log the temperature and what it does, on one line, or why there is none.

    A temperature at an end of TEMPERATURES_G, where a better one may lie beyond, is told.
    """
    if found.temperature is None:
        log.info("confidence of treatments: %s", found.note or "calibrated by inner folds of the training compounds")
        return
    at = [end for limit, end in ((TEMPERATURES_G[0], "least"), (TEMPERATURES_G[-1], "highest"))
          if np.isclose(found.temperature, limit)]
    bound = f", the {at[0]} that is tried," if at else ""
    errors = "" if found.error_before is None or found.error_after is None else (
        f"; expected calibration error {found.error_before:.3f}, and {found.error_after:.3f} by temperatures of the other "
        "compounds")
    log.info("confidence of treatments: temperature %.2f%s fitted to %s of %s%s%s", found.temperature, bound or ",",
             counted(found.treatments, "treatment"), counted(found.compounds, "compound"), errors,
             f"; {found.note}" if found.note else "")


def _is_fitted_T(treatments: pd.DataFrame) -> np.ndarray:
    """Return which treatments can be fitted to, (T,) bool: their mechanism is a class."""
    classes = [name.removeprefix(PROBABILITY) for name in treatments if name.startswith(PROBABILITY)]
    return treatments["Metadata_MOA"].isin(classes).to_numpy() & (treatments["Metadata_MOA"] != "").to_numpy()


def _likelihoods(known: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means over each compound's treatments at each temperature, and the compound of each treatment.

    The first (C, G) is the log-probability of the true mechanism; the second (2, C, G) are the probabilities of the
    prediction and of the runner-up, for the two compounds that are added.
    """
    classes = [name.removeprefix(PROBABILITY) for name in known if name.startswith(PROBABILITY)]
    true_T = np.array([classes.index(name) for name in known["Metadata_MOA"]], dtype=int)
    names, compound_T = np.unique(identity.normal_forms(known["Metadata_Compound"]).to_numpy(str), return_inverse=True)
    shares_TK, rows_T = shares(known), np.arange(len(known))
    order_TK = np.argsort(-shares_TK, axis=1, kind="stable")
    means_3CG = np.zeros((3, len(names), len(TEMPERATURES_G)))
    for position, temperature in enumerate(TEMPERATURES_G):
        found_TK = softened(shares_TK, temperature)
        values = (np.log(found_TK[rows_T, true_T]), found_TK[rows_T, order_TK[:, 0]], found_TK[rows_T, order_TK[:, 1]])
        for mean_CG, values_T in zip(means_3CG, values, strict=True):
            mean_CG[:, position] = np.bincount(compound_T, values_T) / np.bincount(compound_T)
    return means_3CG[0], means_3CG[1:], compound_T


def _best(right_G: np.ndarray, added_2G: np.ndarray) -> int:
    """Return the position of the temperature of highest likelihood, that of the added compounds among it."""
    return int((right_G + np.log(np.maximum(added_2G, LEAST_MEAN)).sum(axis=0)).argmax())


def _left_out(known: pd.DataFrame, right_CG: np.ndarray, added_2CG: np.ndarray, compound_T: np.ndarray) -> np.ndarray:
    """Return the confidence of each treatment, (T,), at the temperature that is fitted without its compound."""
    others, shares_TK, found_T = len(right_CG) - 1, shares(known), np.zeros(len(known))
    for compound, right_G in enumerate(right_CG):
        added_2G = (added_2CG.sum(axis=1) - added_2CG[:, compound]) / others
        best, rows = _best(right_CG.sum(axis=0) - right_G, added_2G), compound_T == compound
        found_T[rows] = _bounded(shares_TK[rows], TEMPERATURES_G[best], others)
    return found_T
