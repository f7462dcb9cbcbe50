"""What the scores of a run mean beside its baselines: the report's words on shortcuts and on the best baseline."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mscnn.evaluation import scoring
from mscnn.evaluation.scoring import BaselineResult, BaselineScores, Score
from mscnn.profiling import resampling
from mscnn.profiling.resampling import Difference
from mscnn.profiling.retrieval import RetrievalComparison

LARGEST_CLASS = "largest class"
CHANCE = 0.05  # a shortcut with a larger p in the label permutation is at chance


@dataclass(frozen=True)
class Comparison:
    """The network beside the best baseline that sees the cells."""

    name: str                 # of the baseline
    baseline: BaselineScores
    more: int                 # fields that the network gets right beyond the baseline; negative: fewer
    difference: Difference    # of the shares of fields right
    verdict: str
    few: bool                 # compounds are too few to compare


@dataclass(frozen=True)
class RetrievalVerdict:
    """The network's profiles beside the best table that needs no training, by mean average precision (mAP)."""

    name: str               # of the table
    ours: float             # mAP
    theirs: float           # mAP
    difference: Difference  # ours less theirs
    verdict: str
    few: bool               # compounds are too few to compare


@dataclass(frozen=True)
class Shortcut:
    """A baseline that sees no cells."""

    name: str
    held_out: Score        # fields, on the folds of the network
    random: Score | None   # fields, split at random
    verdict: str
    bad: bool              # part of the network's score may come from it


def real_baselines(baselines: dict[str, BaselineResult]) -> dict[str, BaselineResult]:
    """Return the baselines that see the cells."""
    return {name: result for name, result in baselines.items() if result.kind == "real"}


def compare(baselines: dict[str, BaselineResult], fields: pd.DataFrame, control: str) -> Comparison | None:
    """Compare the network with the best baseline that sees the cells, field by field; None without such a baseline.

    fields: predictions of the network.  control: compound of the untreated wells, which never count.
    """
    real = real_baselines(baselines)
    best = max(real, key=lambda name: real[name].held_out.fields.correct, default=None)
    if best is None:
        return None
    theirs, ours = real[best].held_out.compounds_fields, scoring.by_compound(fields, control)
    compounds = sorted({*theirs} & {*ours})
    if not compounds:
        return None
    counts = np.array([(ours[name][0], theirs[name][0], ours[name][1]) for name in compounds])
    difference = resampling.difference(*counts.T)
    few = len(compounds) < resampling.FEW
    return Comparison(best, real[best].held_out, int(counts[:, 0].sum() - counts[:, 1].sum()), difference,
                      _verdict(difference, few), few)


def judge_retrieval(retrieval: RetrievalComparison | None) -> RetrievalVerdict | None:
    """Compare the network's profiles with the best table that needs no training; None where either has no mAP."""
    if retrieval is None or retrieval.network is None or retrieval.difference is None:
        return None
    ours = retrieval.network.nsc.mean_average_precision
    theirs = retrieval.tables[retrieval.best].nsc.mean_average_precision
    if ours.mean is None or theirs.mean is None:
        return None
    few = ours.interval.compounds < resampling.FEW
    return RetrievalVerdict(retrieval.best, ours.mean, theirs.mean, retrieval.difference,
                            _verdict(retrieval.difference, few), few)


def _verdict(difference: Difference, few: bool) -> str:
    return ("so few compounds cannot tell which is better" if few
            else "by compound, the difference is more than chance" if difference.low > 0 or difference.high < 0
            else "by compound, chance may make such a difference")


def judge_shortcuts(baselines: dict[str, BaselineResult]) -> list[Shortcut]:
    """Return the score of each shortcut, and what it means for the network's score."""
    return [_shortcut(name, result.held_out.fields, result.random.fields if result.random else None)
            for name, result in baselines.items() if result.kind == "shortcut" and name != LARGEST_CLASS]


def _shortcut(name: str, held_out: Score, random: Score | None) -> Shortcut:
    if random is None or held_out.interval is None or held_out.interval.compounds < resampling.FEW:
        return Shortcut(name, held_out, random, "too few compounds, or fields, to tell", bad=False)
    if _beats_chance(held_out):
        verdict = "tells the mechanism of what was tested: part of the score may come from it"
    elif _beats_chance(random):
        verdict = "would be learned from a random split; leaving compounds out prevents it"
    else:
        verdict = "tells nothing here"
    return Shortcut(name, held_out, random, verdict, bad=_beats_chance(held_out))


def _beats_chance(score: Score) -> bool:
    p = score.permuted.p if score.permuted else None
    return p is not None and p <= CHANCE
