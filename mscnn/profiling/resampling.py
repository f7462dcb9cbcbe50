"""What chance alone does to a score: intervals by resampling compounds, and label permutation.

The unit is the compound, never the field or the treatment.  Doses, wells and fields of a compound are right or wrong
together, so the 103 treatments of BBBC021 are worth about 29.

Shapes: C compounds, T treatments (or fields, or wells), D draws.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mscnn.core.records import Count, Record, Share

LEVEL = 0.95
FEW = 6  # compounds: with fewer no comparison or permutation can tell much
ENUMERATED = 2 ** 14  # signs of changes, at most; of more compounds signs are drawn


@dataclass(frozen=True)
class Interval(Record):
    """A confidence interval of the share that is right, or of a mean average precision."""

    low: Share
    high: Share
    level: Share      # confidence: 0.95
    compounds: Count  # that were resampled

    def __post_init__(self):
        if self.low > self.high:
            raise ValueError(f"is an interval from {self.low} to {self.high}")


@dataclass(frozen=True)
class LabelPermutation(Record):
    """The share that is right, or the mean average precision, when true labels are permuted over compounds."""

    draws: Count        # permutations in which anything can be scored; 0: the null distribution does not exist
    mean: Share | None  # over the draws
    high: Share | None  # 95th percentile of the draws
    p: Share | None     # chance of a share as high as the observed share

    def __post_init__(self):
        if len({value is None for value in (self.mean, self.high, self.p)}) > 1:
            raise ValueError("has only some of mean, high and p")


@dataclass(frozen=True)
class Difference(Record):
    """The difference of two shares right on the same fields, with its 95 % confidence interval."""

    difference: float  # of shares
    low: float
    high: float


def interval(correct_T: np.ndarray, compounds_T: np.ndarray, *, draws: int = 5000, seed: int = 0) -> Interval:
    """Return the interval of the mean of correct_T (T,): the wider of two intervals on each side.

    correct_T: bool, what is right; or numbers from 0 to 1 such as average precisions, which vary less than right or wrong.

    The first is a bootstrap over compounds (percentiles; Efron & Tibshirani 1993, chapter 13).  The second is the exact
    binomial interval of so many compounds of which that share is right (Clopper & Pearson 1934).  A bootstrap of few
    compounds, or of compounds that are nearly all right, is too narrow.
    """
    names, compound_T = np.unique(compounds_T, return_inverse=True)
    right_C, total_C = (np.bincount(compound_T, weights) for weights in (np.asarray(correct_T, float), None))
    number, right = len(names), len(names) * right_C.sum() / max(total_C.sum(), 1)
    tail = (1 - LEVEL) / 2
    low = float(stats.beta.ppf(tail, right, number - right + 1)) if right > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, right + 1, number - right)) if right < number else 1.0
    if number > 1 and 0 < right < number:
        drawn = stats.bootstrap((right_C, total_C), _share, paired=True, vectorized=True, n_resamples=draws,
                                confidence_level=LEVEL, method="percentile", rng=np.random.default_rng(seed),
                                batch=_batch(number))
        low, high = min(low, drawn.confidence_interval.low), max(high, drawn.confidence_interval.high)
    return Interval(float(low), float(high), LEVEL, number)


def difference(one_C: np.ndarray, other_C: np.ndarray, total_C: np.ndarray, *, draws: int = 5000,
               seed: int = 0) -> Difference:
    """Return the difference of two shares right on the same fields, by a bootstrap over compounds, in pairs.

    one_C, other_C: fields that each of the two gets right, of total_C, for each compound.  With fewer than FEW compounds
    the interval is -1 to 1.

    Where few compounds differ a bootstrap is too narrow.  So an interval that leaves 0 out is widened to 0 unless a
    sign-flip test over compounds rejects, too, that the two are alike; that takes 6 compounds in which they differ.
    """
    change_C, total_C = np.asarray(one_C, float) - other_C, np.asarray(total_C, float)
    observed = float(change_C.sum() / total_C.sum())
    if len(change_C) < FEW:  # resampled, so few would agree too often
        return Difference(observed, -1.0, 1.0)
    if np.ptp(change_C / total_C) == 0:  # every draw gives the same
        return Difference(observed, observed, observed)
    drawn = stats.bootstrap((change_C, total_C), _share, paired=True, vectorized=True, n_resamples=draws,
                            confidence_level=LEVEL, method="percentile", rng=np.random.default_rng(seed),
                            batch=_batch(len(change_C)))
    low, high = float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)
    if (low > 0 or high < 0) and sign_flip_p(change_C, draws=draws, seed=seed) > 1 - LEVEL:
        low, high = min(low, 0.0), max(high, 0.0)
    return Difference(observed, low, high)


def sign_flip_p(change_C: np.ndarray, *, draws: int = 5000, seed: int = 0) -> float:
    """Return how often a sum is as far from 0 as that of these changes when each has either sign by chance (two-sided).

    Fisher's randomization test in pairs (The Design of Experiments, 1935, section 21): exact where two that are alike might
    as well be exchanged in each compound.  All signs are taken where at most ENUMERATED are different, else draws.
    """
    change_C = change_C[change_C != 0]
    observed, number = abs(change_C.sum()), len(change_C)
    if 2 ** number <= ENUMERATED:
        signs_DC = 1 - 2 * ((np.arange(2 ** number)[:, None] >> np.arange(number)) & 1)
        return float((np.abs(signs_DC @ change_C) >= observed * (1 - 1e-12)).mean())
    rng, size = np.random.default_rng(seed), _batch(number)
    as_far = sum(int((np.abs(rng.choice((-1, 1), (min(size, draws - first), number)) @ change_C) >= observed).sum())
                 for first in range(0, draws, size))
    return (1 + as_far) / (1 + draws)


def permutation_test(share_of: Callable[[np.ndarray], np.ndarray], labels_T: np.ndarray, compounds_T: np.ndarray,
                     groups_T: np.ndarray | None = None, *, draws: int = 1000, seed: int = 0) -> LabelPermutation:
    """Return the share that is right when the labels are permuted over compounds, and p of the observed share.

    share_of: labels (D, T) -> share (D,), NaN where nothing can be scored.  The rest as in permuted_labels.
    """
    codes_T = np.unique(labels_T, return_inverse=True)[1]
    drawn_DT = permuted_labels(labels_T, compounds_T, groups_T, draws=draws, seed=seed)
    return null_distribution(share_of(drawn_DT), share_of(codes_T[None])[0])


def permuted_labels(labels_T: np.ndarray, compounds_T: np.ndarray, groups_T: np.ndarray | None = None, *, draws: int,
                    seed: int) -> np.ndarray:
    """Return draws of the labels, permuted over compounds, (D, T) int: positions among the sorted labels.

    A compound with two labels counts as two.  groups_T: labels move within groups of compounds only, such as those of a
    week; a compound has one group.
    """
    codes_T, compound_T = (np.unique(names, return_inverse=True)[1] for names in (labels_T, compounds_T))
    _, first_C, compound_T = np.unique(compound_T * len(codes_T) + codes_T, return_index=True, return_inverse=True)
    drawn_DC = np.tile(codes_T[first_C], (draws, 1))
    group_C = np.zeros(len(first_C), int) if groups_T is None else np.unique(groups_T, return_inverse=True)[1][first_C]
    rng = np.random.default_rng(seed)
    for group in np.unique(group_C):
        is_member_C = group_C == group
        drawn_DC[:, is_member_C] = rng.permuted(drawn_DC[:, is_member_C], axis=1)
    return drawn_DC[:, compound_T]


def null_distribution(null_D: np.ndarray, observed: float) -> LabelPermutation:
    """Return the null distribution of a score, NaN where a draw has none, and p of the observed score.

    p counts the observed labels as one more draw (Phipson & Smyth 2010).
    """
    null_D = null_D[np.isfinite(null_D)]
    if np.isnan(observed) or not len(null_D):
        return LabelPermutation(0, None, None, None)
    return LabelPermutation(len(null_D), float(null_D.mean()), float(np.quantile(null_D, LEVEL)),
                            float((1 + (null_D >= observed - 1e-12).sum()) / (1 + len(null_D))))


def _share(right: np.ndarray, total: np.ndarray, axis: int = -1) -> np.ndarray:
    return right.sum(axis=axis) / total.sum(axis=axis)


def _batch(compounds: int) -> int:
    """Return how many draws are made at once: those of 10,000 compounds would take 800 MB together."""
    return max(1, 1_000_000 // compounds)
