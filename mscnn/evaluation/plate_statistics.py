"""How far the scores of two kinds of wells are apart: Z', robust Z', SSMD and ROC AUC, with intervals.

    python -m pytest tests/evaluation/test_plate_statistics.py

Shapes: C control wells, E wells of an effect, W wells of a side, P plates, D draws.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from mscnn.core.records import Count, Record
from mscnn.profiling.resampling import LEVEL

FEWEST = 3              # wells of a side: with fewer, no spread can be estimated
MAD_TO_SD = 1.482602218505602  # of a normal distribution
DRAWS, PLATE_DRAWS = 1000, 400  # of the bootstrap over wells, and over plates
NO_HIGHER = "its wells score no higher than those of the control: not separable"
NO_SPREAD = "neither side varies, and both are equal"
NO_BOUND = "neither side varies, and they differ: without bound"
Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Wells(NamedTuple):
    """The wells of one side."""

    scores_W: np.ndarray
    plates_W: np.ndarray  # text


@dataclass(frozen=True)
class Measure(Record):
    """A statistic of two sides with its 95 % confidence interval."""

    value: float | None = None  # None: it cannot be had
    low: float | None = None    # None beside a value: without bound
    high: float | None = None   # likewise
    reason: str = ""            # why it cannot be had

    def __post_init__(self):
        if (self.value is None) != bool(self.reason):
            raise ValueError("has neither a value nor a reason, or both")


@dataclass(frozen=True)
class Rate(Record):
    """A share of wells with its 95 % confidence interval."""

    count: Count
    total: Count
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self):
        if self.count > self.total or not 0 <= self.low <= self.high <= 1:
            raise ValueError(f"has {self.count} of {self.total}, with an interval from {self.low} to {self.high}")

    @property
    def share(self) -> float | None:
        """The share; None without wells."""
        return self.count / self.total if self.total else None


def z_prime(control_C: np.ndarray, effect_E: np.ndarray) -> np.ndarray:
    """Return 1 - 3 (sd + sd) / (mean - mean) of effect and control (Zhang, Chung & Oldenburg 1999), over the last axis.

    The distance counts in the direction of the effect only; -inf where it is 0 or less.
    """
    return _z(effect_E.mean(-1) - control_C.mean(-1), effect_E.std(-1, ddof=1) + control_C.std(-1, ddof=1))


def robust_z_prime(control_C: np.ndarray, effect_E: np.ndarray) -> np.ndarray:
    """Return Z' of medians, and of the MAD times 1.4826 in place of the sd, over the last axis."""
    return _z(np.median(effect_E, axis=-1) - np.median(control_C, axis=-1), _mad_sd(effect_E) + _mad_sd(control_C))


def ssmd(control_C: np.ndarray, effect_E: np.ndarray) -> np.ndarray:
    """Return the strictly standardised mean difference of independent sides (Zhang 2007), over the last axis.

    Infinite where no side varies and their means differ; NaN where they do not differ either.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return ((effect_E.mean(-1) - control_C.mean(-1))
                / np.sqrt(effect_E.var(-1, ddof=1) + control_C.var(-1, ddof=1)))


def auc(control_C: np.ndarray, effect_E: np.ndarray) -> np.ndarray:
    """Return the chance that a well of the effect scores higher than a control well, ties half: area under the ROC curve.

    Over the last axis.
    """
    controls, number = control_C.shape[-1], effect_E.shape[-1]
    ranks = stats.rankdata(np.concatenate([control_C, effect_E], axis=-1), axis=-1)
    return (ranks[..., controls:].sum(-1) - number * (number + 1) / 2) / (number * controls)


def measure_auc(control: Wells, effect: Wells) -> Measure:
    """Return the AUC; its interval is at least the exact binomial one of as many trials as the smaller side has wells.

    A bootstrap of a perfect order has no width.  The variance of an AUC is at most that of such a share (Birnbaum & Klose
    1957).
    """
    found, trials = measure(auc, control, effect, fewest=1), min(len(control.scores_W), len(effect.scores_W))
    if found.value is None:
        return found
    tail, right = (1 - LEVEL) / 2, found.value * trials
    low = float(stats.beta.ppf(tail, right, trials - right + 1)) if right > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, right + 1, trials - right)) if right < trials else 1.0
    return Measure(found.value, min(low, found.low or 0.0), max(high, 1.0 if found.high is None else found.high))


def measure(statistic: Statistic, control: Wells, effect: Wells, *, fewest: int = FEWEST, seed: int = 0) -> Measure:
    """Return a statistic with the wider of two intervals on each side.

    Both are percentiles of a bootstrap (Efron & Tibshirani 1993, chapter 13): over the wells of each side, and over plates
    with all their wells, where there are three plates or more.  Draws in which it cannot be had are left out.
    """
    control_C, effect_E = control.scores_W, effect.scores_W
    if min(len(control_C), len(effect_E)) < fewest:
        return Measure(reason=f"fewer than {fewest} wells of a side" if fewest > 1 else "no wells of a side")
    value = float(statistic(control_C, effect_E))
    if not np.isfinite(value):
        return Measure(reason=NO_BOUND if value == np.inf else NO_HIGHER if value == -np.inf else NO_SPREAD)
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.choice(control_C, (DRAWS, len(control_C))), rng.choice(effect_E, (DRAWS, len(effect_E))))]
    plates = np.unique(np.concatenate([control.plates_W, effect.plates_W]))
    if len(plates) > 2:
        drawn.append(_of_plates(statistic, control, effect, rng.choice(plates, (PLATE_DRAWS, len(plates))), fewest))
    bounds = [_percentiles(draws_D) for draws_D in drawn]
    low, high = min(value, *(low for low, _ in bounds)), max(value, *(high for _, high in bounds))
    return Measure(value, low if np.isfinite(low) else None, high if np.isfinite(high) else None)


def rate(is_hit_W: np.ndarray, plates_W: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> Rate:
    """Return the share of wells that are hit, with the wider of two intervals on each side.

    The first is exact and binomial over wells (Clopper & Pearson 1934).  The second is a bootstrap over plates with all
    their wells, where there are three plates or more: wells of a plate may be hit together.
    """
    hits, total = int(is_hit_W.sum()), len(is_hit_W)
    if not total:
        return Rate(0, 0)
    exact = stats.binomtest(hits, total).proportion_ci(LEVEL, method="exact")
    low, high = float(exact.low), float(exact.high)
    names, plate_W = np.unique(plates_W, return_inverse=True)
    if len(names) > 2:
        hits_P, total_P = np.bincount(plate_W, is_hit_W), np.bincount(plate_W)
        drawn_DP = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
        shares_D = hits_P[drawn_DP].sum(axis=1) / total_P[drawn_DP].sum(axis=1)
        below, above = np.quantile(shares_D, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        low, high = min(low, float(below)), max(high, float(above))
    return Rate(hits, total, low, high)


def _z(distance: np.ndarray, spread: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance > 0, 1 - 3 * spread / distance, -np.inf)


def _mad_sd(values: np.ndarray) -> np.ndarray:
    return MAD_TO_SD * np.median(np.abs(values - np.median(values, axis=-1, keepdims=True)), axis=-1)


def _of_plates(statistic: Statistic, control: Wells, effect: Wells, chosen_DP: np.ndarray, fewest: int) -> np.ndarray:
    """Return the statistic (D,) of the wells of drawn plates, a plate as often as it is drawn; NaN with too few wells."""
    drawn = []
    for chosen_P in chosen_DP:
        control_C, effect_E = (np.concatenate([side.scores_W[side.plates_W == plate] for plate in chosen_P])
                               for side in (control, effect))
        drawn.append(float(statistic(control_C, effect_E)) if min(len(control_C), len(effect_E)) >= fewest else np.nan)
    return np.array(drawn)


def _percentiles(drawn_D: np.ndarray) -> tuple[float, float]:
    """Return the percentiles of the draws that have a value; an infinite one where so many draws are infinite."""
    known = drawn_D[~np.isnan(drawn_D)]
    if not len(known):
        return -np.inf, np.inf
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    return float(low), float(high)
