"""What chance alone would do to a score: intervals over compounds, and labels permuted.

The unit is the compound, never the field or the treatment: doses,
wells and fields of a compound are right or wrong together, so the 103 treatments of BBBC021 are worth about 29.

Shapes: C compounds, T treatments (or fields, or wells), D draws.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats

LEVEL = 0.95
FEW = 6  # compounds: with fewer no comparison or permutation can tell much


def interval(correct_T: np.ndarray, compounds_T: np.ndarray, *, draws: int = 5000, seed: int = 0) -> dict[str, object]:
    """{"low", "high", "level", "compounds"} of the share that is right, (T,) bool: the wider of two intervals on each side.

    A bootstrap over compounds (percentiles; Efron & Tibshirani 1993, chapter 13), and the exact binomial interval of so
    many compounds of which that share is right (Clopper & Pearson 1934): a bootstrap of few compounds, or of compounds
    that are nearly all right, knows too little of what it has not seen.
    """
    names, compound_T = np.unique(compounds_T, return_inverse=True)
    right_C, total_C = (np.bincount(compound_T, weights) for weights in (np.asarray(correct_T, float), None))
    number, right = len(names), len(names) * right_C.sum() / max(total_C.sum(), 1)
    tail = (1 - LEVEL) / 2
    low = float(stats.beta.ppf(tail, right, number - right + 1)) if right > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, right + 1, number - right)) if right < number else 1.0
    if number > 1 and 0 < right < number:
        drawn = stats.bootstrap((right_C, total_C), _share, paired=True, vectorized=True, n_resamples=draws,
                                confidence_level=LEVEL, method="percentile", rng=np.random.default_rng(seed))
        low, high = min(low, drawn.confidence_interval.low), max(high, drawn.confidence_interval.high)
    return {"low": float(low), "high": float(high), "level": LEVEL, "compounds": number}


def difference(one_C: np.ndarray, other_C: np.ndarray, total_C: np.ndarray, *, draws: int = 5000,
               seed: int = 0) -> dict[str, float]:
    """{"difference", "low", "high"} of two shares right on the same fields, by a bootstrap over compounds, in pairs.

    one_C, other_C: fields that the one and the other gets right, of total_C, for each compound.  Of fewer than FEW
    compounds nothing is said: -1 to 1.
    """
    change_C = np.asarray(one_C, float) - other_C
    found = {"difference": float(change_C.sum() / np.sum(total_C))}
    if len(change_C) < FEW:  # resampled, so few would agree too often
        return found | {"low": -1.0, "high": 1.0}
    if np.ptp(change_C / total_C) == 0:  # every draw gives the same
        return found | {"low": found["difference"], "high": found["difference"]}
    drawn = stats.bootstrap((change_C, np.asarray(total_C, float)), _share, paired=True, vectorized=True, n_resamples=draws,
                            confidence_level=LEVEL, method="percentile", rng=np.random.default_rng(seed))
    return found | {"low": float(drawn.confidence_interval.low), "high": float(drawn.confidence_interval.high)}


def permutation_test(share_of: Callable[[np.ndarray], np.ndarray], labels_T: np.ndarray, compounds_T: np.ndarray,
                     groups_T: np.ndarray | None = None, *, draws: int = 1000, seed: int = 0) -> dict[str, object]:
    """The share that is right when the labels are permuted over compounds, the observed one, and p of a share so high.

    share_of: labels (D, T) -> share (D,), NaN where nothing can be scored; a compound with two labels counts as two;
    groups_T: labels move within groups of compounds only, such as those of a week; a compound has one group.
    p counts the observed labels as one more draw (Phipson & Smyth 2010).
    """
    codes_T, compound_T = (np.unique(names, return_inverse=True)[1] for names in (labels_T, compounds_T))
    _, first_C, compound_T = np.unique(compound_T * len(codes_T) + codes_T, return_index=True, return_inverse=True)
    drawn_DC = np.tile(codes_T[first_C], (draws, 1))
    group_C = np.zeros(len(first_C), int) if groups_T is None else np.unique(groups_T, return_inverse=True)[1][first_C]
    rng = np.random.default_rng(seed)
    for group in np.unique(group_C):
        own = group_C == group
        drawn_DC[:, own] = rng.permuted(drawn_DC[:, own], axis=1)
    null_D, observed = share_of(drawn_DC[:, compound_T]), share_of(codes_T[None])[0]
    null_D = null_D[np.isfinite(null_D)]
    if np.isnan(observed) or not len(null_D):
        return {"draws": 0, "mean": None, "high": None, "p": None}
    return {"draws": len(null_D), "mean": float(null_D.mean()), "high": float(np.quantile(null_D, LEVEL)),
            "p": float((1 + (null_D >= observed - 1e-12).sum()) / (1 + len(null_D)))}


def _share(right: np.ndarray, total: np.ndarray, axis: int = -1) -> np.ndarray:
    return right.sum(axis=axis) / total.sum(axis=axis)
