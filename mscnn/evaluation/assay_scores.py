"""How well the activity of compounds in assays is predicted: ROC AUC and average precision of each, and their means.

    python -m pytest tests/evaluation/test_assay_scores.py

Shapes: C compounds, A assays, D draws of compounds, G groups of compounds with the same probability.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from mscnn.core.logs import log
from mscnn.core.records import Count, Record, Share
from mscnn.evaluation.aggregate import ASSAY, PROBABILITY
from mscnn.profiling.resampling import LEVEL

DRAWS = 2000  # of compounds
NOT_LEARNT = "one class among the training compounds of a network, so not learnt; measure compounds of the other class"
ONE_CLASS = "one class among the compounds that are scored; hold out compounds of the other class too"
UNKNOWN = "no compound that is scored was measured in it; hold out others"


@dataclass(frozen=True)
class Estimate(Record):
    """A score with its 95 % confidence interval over compounds."""

    value: Share
    low: Share
    high: Share

    def __post_init__(self):
        if self.low > self.high:
            raise ValueError(f"is an interval from {self.low} to {self.high}")


@dataclass(frozen=True)
class AssayScore(Record):
    """One assay over the compounds that were measured in it."""

    active: Count                             # compounds
    inactive: Count                           # compounds
    auc: Estimate | None = None               # area under the ROC curve; 0.5 by chance.  None: not scored
    average_precision: Estimate | None = None  # chance_precision by chance; None: not scored
    draws: Count = 0                          # of the bootstrap with both classes; the others are left out
    reason: str = ""                          # why it is not scored, and the remedy

    def __post_init__(self):
        if (self.auc is None) != (self.average_precision is None) or (self.auc is None) != bool(self.reason):
            raise ValueError("has only some of auc and average_precision, or a reason beside them")

    @property
    def prevalence(self) -> float | None:
        """Share of active compounds; None where none was measured."""
        total = self.active + self.inactive
        return self.active / total if total else None

    @property
    def chance_precision(self) -> float | None:
        """Mean average precision of all orders of the compounds (Bestgen 2015); None without an active compound.

        It is above the prevalence: by 0.1 for 5 active compounds of 16.
        """
        total = self.active + self.inactive
        if not self.active:
            return None
        harmonic = float((1 / np.arange(1, total + 1)).sum())
        return (harmonic + (self.active - 1) / max(total - 1, 1) * (total - harmonic)) / total


@dataclass(frozen=True)
class AssayScores(Record):
    """All assays: "assays" of scores.json."""

    compounds: Count                                # that are scored, each in the assays in which it was measured
    mean_auc: Estimate | None                       # over the assays that are scored; None where none is
    mean_average_precision: Estimate | None         # likewise
    chance_precision: Share | None                  # likewise, of random orders: what mean_average_precision is by chance
    assays: dict[str, AssayScore]                   # by name
    networks: Count = 1                             # whose probabilities are ranked together

    def scored(self) -> dict[str, AssayScore]:
        """Return the assays that are scored, those of the highest AUC first."""
        found = {name: (score.auc.value, score) for name, score in self.assays.items() if score.auc}
        return {name: score for name, (_, score) in sorted(found.items(), key=lambda item: -item[1][0])}

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return {assay: (active, inactive)}."""
        return {name: (score.active, score.inactive) for name, score in self.assays.items()}


def score(compounds: pd.DataFrame, not_learnt: Collection[str] = (), *, networks: int = 1, draws: int = DRAWS,
          seed: int = 0) -> AssayScores:
    """Return the scores of the assays of a table of compounds, as aggregate.aggregate returns it.

    not_learnt: assays that a network could not learn.  networks: that predicted, each other compounds.
    Intervals are percentiles of a bootstrap over compounds (Efron & Tibshirani 1993, chapter 13), the same draws for all
    assays, moved so that the draws' mean is the score: compounds that are drawn twice raise the average precision.  Draws
    with one class are left out.  Of an assay the interval is at least as wide as the exact binomial interval
    (Clopper & Pearson 1934) of so many trials as the smaller class has compounds, for the AUC, or active compounds, for the
    average precision: a bootstrap of few compounds, or of a perfect ranking, is too narrow.  The variance of an AUC is at
    most that of such a binomial share (Birnbaum & Klose 1957).
    """
    number, rng = len(compounds), np.random.default_rng(seed)
    drawn_DC = rng.multinomial(number, np.full(number, 1 / number), draws) if number else np.zeros((draws, 0))
    scores, drawn = {}, []
    for name, (active, inactive) in counts(compounds).items():
        reason = UNKNOWN if not active + inactive else ONE_CLASS if not active * inactive else \
            NOT_LEARNT if name in not_learnt else ""
        if reason:
            scores[name] = AssayScore(active, inactive, reason=reason)
            continue
        known = compounds[ASSAY + name].notna().to_numpy()
        scores[name], drawn_2D = _assay(compounds[ASSAY + name].to_numpy()[known] == 1,
                                        compounds[PROBABILITY + name].to_numpy()[known], drawn_DC[:, known])
        drawn.append(drawn_2D)
    scored = [(each.auc.value, each.average_precision.value, each.chance_precision) for each in scores.values()
              if each.auc and each.average_precision]
    if not scored:
        return AssayScores(len(compounds), None, None, None, scores, networks)
    auc, precision, chance = np.mean(scored, axis=0)
    of_auc_D, of_precision_D = (_mean_of_known(np.stack(part)) for part in zip(*drawn, strict=True))
    return AssayScores(len(compounds), _with_percentiles(auc, of_auc_D), _with_percentiles(precision, of_precision_D),
                       float(chance), scores, networks)


def counts(compounds: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Return {assay: (active, inactive)} of a table of compounds."""
    return {name.removeprefix(ASSAY): (int((column == 1).sum()), int((column == 0).sum()))
            for name, column in compounds.items() if str(name).startswith(ASSAY)}


def table(scores: AssayScores) -> pd.DataFrame:
    """Return a row an assay: assays.csv of an evaluation."""
    def three(estimate: Estimate | None) -> list[float]:
        return [estimate.value, estimate.low, estimate.high] if estimate else [np.nan] * 3

    rows = [[name, each.active, each.inactive, each.prevalence, *three(each.auc), *three(each.average_precision),
             each.chance_precision, each.draws, each.reason] for name, each in scores.assays.items()]
    return pd.DataFrame(rows, columns=["assay", "active", "inactive", "prevalence", "auc", "auc_low", "auc_high",
                                       "average_precision", "average_precision_low", "average_precision_high",
                                       "average_precision_chance", "draws", "reason"])


def log_scores(scores: AssayScores) -> None:
    """Log how many assays are scored, their means, the best and the worst, and why others are not scored."""
    if scores.mean_auc and scores.mean_average_precision:
        for name, mean, chance in (("AUC", scores.mean_auc, 0.5),
                                   ("average precision", scores.mean_average_precision, scores.chance_precision)):
            log.info("%s: mean %.3f over %d of %d assays   95 %% interval over %d compounds: %.3f to %.3f   chance %.3f",
                     name, mean.value, len(scores.scored()), len(scores.assays), scores.compounds, mean.low, mean.high,
                     chance)
        for word, name in (("best", next(iter(scores.scored()))), ("worst", [*scores.scored()][-1])):
            auc = scores.assays[name].auc
            assert auc
            log.info("%s assay: %s, AUC %.3f (%.2f to %.2f)", word, name, auc.value, auc.low, auc.high)
    for reason in dict.fromkeys(each.reason for each in scores.assays.values() if each.reason):
        names = [name for name, each in scores.assays.items() if each.reason == reason]
        log.warning("assays not scored: %d (%s): %s", len(names), reason, "; ".join(names))


def ranking_scores(is_active_C: np.ndarray, probabilities_C: np.ndarray, weights_DC: np.ndarray) -> np.ndarray:
    """Return ROC AUC and average precision (2, D) of weighted compounds; NaN where the weights leave one class.

    As scikit-learn's roc_auc_score and average_precision_score with sample_weight, for all draws at once.
    """
    _, group_C = np.unique(-probabilities_C, return_inverse=True)  # the highest probability first
    order = np.argsort(group_C, kind="stable")
    starts = np.flatnonzero(np.diff(group_C[order], prepend=-1))
    active_DG, inactive_DG = (np.add.reduceat(weights_DC[:, order] * is_class_C[order], starts, axis=1).astype(float)
                              for is_class_C in (is_active_C, ~is_active_C))
    active_D, inactive_D = active_DG.sum(axis=1), inactive_DG.sum(axis=1)
    above_DG, found_DG = np.cumsum(inactive_DG, axis=1), np.cumsum(active_DG, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        auc_D = (active_DG * (inactive_D[:, None] - above_DG + inactive_DG / 2)).sum(axis=1) / (active_D * inactive_D)
        precision_DG = found_DG / np.maximum(found_DG + above_DG, 1)
        precision_D = (active_DG * precision_DG).sum(axis=1) / active_D
    return np.where((active_D > 0) & (inactive_D > 0), np.stack([auc_D, precision_D]), np.nan)


def _assay(is_active_C: np.ndarray, probabilities_C: np.ndarray, drawn_DC: np.ndarray) -> tuple[AssayScore, np.ndarray]:
    """Return the score of an assay with both classes, and its AUC and average precision (2, D) in each draw."""
    active, inactive = int(is_active_C.sum()), int((~is_active_C).sum())
    auc, precision = ranking_scores(is_active_C, probabilities_C, np.ones((1, len(is_active_C))))[:, 0].tolist()
    drawn_2D = ranking_scores(is_active_C, probabilities_C, drawn_DC)
    return AssayScore(active, inactive, _estimate(auc, drawn_2D[0], min(active, inactive)),
                      _estimate(precision, drawn_2D[1], active), int(np.isfinite(drawn_2D[0]).sum())), drawn_2D


def _estimate(value: float, drawn_D: np.ndarray, trials: int) -> Estimate:
    """Return a score with the wider of two intervals on each side: of the draws, and exact binomial of so many trials."""
    tail, right = (1 - LEVEL) / 2, value * trials
    low = float(stats.beta.ppf(tail, right, trials - right + 1)) if right > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, right + 1, trials - right)) if right < trials else 1.0
    drawn = _with_percentiles(value, drawn_D)
    return Estimate(value, min(low, drawn.low), max(high, drawn.high))


def _with_percentiles(value: float, drawn_D: np.ndarray) -> Estimate:
    """Return a score with the percentiles of its draws, less their bias; the interval holds the score."""
    drawn_D = drawn_D[np.isfinite(drawn_D)]
    if not len(drawn_D):
        return Estimate(float(value), 0.0, 1.0)
    low, high = (np.quantile(drawn_D, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - drawn_D.mean() + value).clip(0, 1)
    return Estimate(float(value), min(float(low), float(value)), max(float(high), float(value)))


def _mean_of_known(drawn_AD: np.ndarray) -> np.ndarray:
    """Return the mean (D,) over the assays with both classes in a draw; NaN where no assay has both."""
    known_D = np.isfinite(drawn_AD).sum(axis=0)
    return np.where(known_D, np.nansum(drawn_AD, axis=0) / np.maximum(known_D, 1), np.nan)
