"""Are the probabilities of predictions as high as the share of them that is right?  "calibration" of scores.json.

The confidence of a prediction is the probability of the class that is predicted.  That of a treatment is the median over
its wells of the mean over their fields, as in aggregate.py: such probabilities need not add up to 1, and are taken as they
are.

Shapes: N predictions, K classes, C compounds, B bins, D draws.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mscnn.core.logs import log
from mscnn.core.records import Count, NonNegative, Record, Share
from mscnn.evaluation import scoring
from mscnn.profiling import resampling
from mscnn.profiling.resampling import LEVEL, Difference

LEVELS = ("fields", "treatments")
BINS = 10  # of equal width


@dataclass(frozen=True)
class ReliabilityBin(Record):
    """Predictions of about the same confidence."""

    low: Share        # confidence above this, 0 included
    high: Share       # and up to this
    count: Count      # predictions
    compounds: Count  # of these predictions
    confidence: Share  # mean
    right: Share      # share of the predictions


@dataclass(frozen=True)
class ErrorByChance(Record):
    """Expected calibration error of a classifier with these confidences that is perfectly calibrated."""

    draws: Count      # of outcomes
    mean: NonNegative
    high: NonNegative  # 95th percentile
    p: Share          # chance of an error as large as the observed error


@dataclass(frozen=True)
class Calibration(Record):
    """The confidence of predictions beside the share that is right, of one level."""

    total: Count             # predictions that count: of treated wells with a known mechanism
    compounds: Count         # of these predictions
    confidence: Share        # mean
    accuracy: Share          # share right; a mechanism that is no class is never right
    overconfidence: Difference  # confidence less accuracy, with its interval over compounds
    error: NonNegative       # expected calibration error: mean over predictions of |confidence - accuracy| of their bin
    by_chance: ErrorByChance
    bins: list[ReliabilityBin]  # those that hold predictions, from low to high confidence


@dataclass(frozen=True)
class LevelCalibration(Record):
    """The calibration of fields and of treatments."""

    fields: Calibration | None = None      # None where no mechanism is known
    treatments: Calibration | None = None

    def by_level(self) -> dict[str, Calibration]:
        """Return {level: calibration} of the levels that have one."""
        return {level: found for level in LEVELS if (found := getattr(self, level))}


def calibrations(tables: dict[str, pd.DataFrame], control: str, *, draws: int = 1000,
                 seed: int = 0) -> LevelCalibration | None:
    """Return the calibration of fields and treatments; None where no prediction counts (scoring.scored_rows).

    tables: {level: table}, as aggregate.aggregate returns them.  control: compound of the untreated wells.
    """
    found = {}
    for level in LEVELS:
        table = scoring.scored_rows(tables[level], control)
        if len(table):
            probabilities_NK = table[[name for name in table if name.startswith("Probability_")]].to_numpy(float)
            right_N = (table["Predicted_MOA"] == table["Metadata_MOA"]).to_numpy(bool)
            found[level] = calibration(probabilities_NK.max(axis=1), right_N, table["Metadata_Compound"].to_numpy(str),
                                       draws=draws, seed=seed)
    return LevelCalibration(**found) if found else None


def calibration(confidence_N: np.ndarray, right_N: np.ndarray, compounds_N: np.ndarray, *, draws: int = 1000,
                seed: int = 0) -> Calibration:
    """Return the calibration of predictions: confidences from 0 to 1, which of them are right, and their compounds.

    The error is that of Guo et al. (ICML 2017, eq. 3) in BINS bins.  It is never 0, least of all of few compounds, and
    by_chance tells how large it is for a perfectly calibrated classifier: outcomes are drawn by the confidences, and the
    predictions of a compound are drawn together (right where one number, uniform from 0 to 1, is below the confidence).
    That is the strongest dependence there can be, so that p is not too small.
    """
    names, compound_N = np.unique(compounds_N, return_inverse=True)
    confidence_N = np.clip(confidence_N, 0, 1)  # of 1 but for rounding
    bin_N, total = np.searchsorted(np.arange(1, BINS) / BINS, confidence_N), len(confidence_N)
    confidence_B, right_B = (np.bincount(bin_N, values, BINS) for values in (confidence_N, right_N))
    error = float(np.abs(right_B - confidence_B).sum() / total)
    null_D = _errors_by_chance(confidence_N, compound_N, bin_N, draws, seed)
    of_compounds = (np.bincount(compound_N, values) for values in (confidence_N, right_N, np.ones(total)))
    surplus = resampling.difference(*of_compounds, seed=seed)
    by_chance = ErrorByChance(draws, float(null_D.mean()), float(np.quantile(null_D, LEVEL)),
                              float((1 + (null_D >= error - 1e-12).sum()) / (1 + draws)))
    bins = [_bin(place, confidence_N[bin_N == place], right_N[bin_N == place], compounds_N[bin_N == place])
            for place in np.unique(bin_N)]
    return Calibration(total, len(names), _mean(confidence_N), _mean(right_N), surplus, error, by_chance, bins)


def log_calibration(found: LevelCalibration) -> None:
    """Log confidence, accuracy and error of each level, on one line."""
    log.info("calibration: %s", "; ".join(
        f"{level}: mean confidence {each.confidence:.2f}, {each.accuracy:.2f} right, expected calibration error "
        f"{each.error:.3f} ({each.by_chance.mean:.3f} if calibrated, p {each.by_chance.p:.2g})"
        for level, each in found.by_level().items()))


def _errors_by_chance(confidence_N: np.ndarray, compound_N: np.ndarray, bin_N: np.ndarray, draws: int,
                      seed: int) -> np.ndarray:
    """Return the expected calibration error of each draw of outcomes, (D,)."""
    uniform_DC = np.random.default_rng(seed).random((draws, compound_N.max() + 1))
    surplus_DB = np.zeros((draws, BINS)) - np.bincount(bin_N, confidence_N, BINS)
    order_N = np.lexsort((confidence_N, bin_N, compound_N))
    starts = np.flatnonzero(np.diff(compound_N[order_N] * BINS + bin_N[order_N], prepend=-1))
    for group in np.split(order_N, starts[1:]):  # of one compound and bin, in order of confidence
        compound, place = compound_N[group[0]], bin_N[group[0]]
        surplus_DB[:, place] += len(group) - np.searchsorted(confidence_N[group], uniform_DC[:, compound], side="right")
    return np.abs(surplus_DB).sum(axis=1) / len(confidence_N)


def _bin(place: int, confidence_N: np.ndarray, right_N: np.ndarray, compounds_N: np.ndarray) -> ReliabilityBin:
    return ReliabilityBin(float(place / BINS), float((place + 1) / BINS), len(confidence_N), len(np.unique(compounds_N)),
                          _mean(confidence_N), _mean(right_N))


def _mean(values_N: np.ndarray) -> float:
    """Return the mean; that of numbers up to 1 is none above 1 for rounding."""
    return float(min(values_N.mean(), 1.0))
