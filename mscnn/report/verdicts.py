"""What the scores of a run mean beside its baselines: the report's words on shortcuts and on the best baseline."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mscnn.core import words
from mscnn.evaluation import scoring
from mscnn.evaluation.scoring import BaselineResult, BaselineScores, LevelScores, Score
from mscnn.profiling import resampling
from mscnn.profiling.resampling import Difference
from mscnn.profiling.retrieval import RetrievalComparison

State = Literal["above", "level", "below"]
LARGEST_CLASS = "largest class"
CHANCE = 0.05  # a shortcut with a larger p in the label permutation is at chance


@dataclass(frozen=True)
class Comparison:
    """The predictions beside the best baseline that sees the cells, at the level that a user decides on."""

    state: State
    level: Literal["treatments", "fields"]  # fields: baselines.json does not hold the treatments of each compound
    name: str                # of the baseline
    ours: Score
    baseline: BaselineScores
    difference: Difference   # of the shares right, ours less the baseline's
    compounds: int           # that were compared
    reason: str              # why chance is ruled out or not
    advice: str              # what to do


@dataclass(frozen=True)
class RetrievalVerdict:
    """The network's profiles beside the best table that needs no training, by mean average precision (mAP)."""

    state: State
    name: str               # of the table
    ours: float             # mAP
    theirs: float           # mAP
    difference: Difference  # ours less theirs
    reason: str
    advice: str


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


def compare(baselines: dict[str, BaselineResult], tables: dict[str, pd.DataFrame], scores: LevelScores, control: str, *,
            readout: str = "", folds: bool = False) -> Comparison | None:
    """Compare the predictions with the best baseline that sees the cells; None where there is none, or nothing to compare.

    tables: {level: predictions}; scores: theirs.  control: compound of the untreated wells, which never count.
    readout: the chosen read-out, "" without a choice; folds: every compound has been held out once.  The best baseline has
    most treatments right; of equal ones, most fields.  Treatments are compared, in pairs by compound; fields where the
    record of the baselines counts no treatments.
    """
    real = real_baselines(baselines)
    best = max(real, key=lambda name: (real[name].held_out.treatments.correct, real[name].held_out.fields.correct),
               default=None)
    if best is None:
        return None
    record = real[best].held_out
    level = "fields" if record.compounds_treatments is None else "treatments"
    theirs = record.compounds_fields if record.compounds_treatments is None else record.compounds_treatments
    ours = scoring.by_compound(tables[level], control)
    compounds = sorted({*theirs} & {*ours})
    if not compounds:
        return None
    counts = np.array([(ours[name][0], theirs[name][0], ours[name][1]) for name in compounds])
    difference, score = resampling.difference(*counts.T), scores.by_level()[level]
    state, few = _state(difference), len(compounds) < resampling.FEW
    is_all = score.correct == score.total and (counts[:, 1] == counts[:, 2]).all()
    return Comparison(state, level, best, score, record, difference, len(compounds), _reason(state, len(compounds)),
                      _advice(state, best, readout=readout, folds=folds, is_all=is_all and not few))


def judge_retrieval(retrieval: RetrievalComparison | None) -> RetrievalVerdict | None:
    """Compare the network's profiles with the best table that needs no training; None where either has no mAP."""
    if retrieval is None or retrieval.network is None or retrieval.difference is None:
        return None
    ours = retrieval.network.nsc.mean_average_precision
    theirs = retrieval.tables[retrieval.best].nsc.mean_average_precision
    if ours.mean is None or theirs.mean is None:
        return None
    state = _state(retrieval.difference)
    advice = {"above": "nearest compounds, maps and clusters may use the network's profiles",
              "level": f"nearest compounds may use either; {retrieval.best} needs no training",
              "below": f"look up nearest compounds by {retrieval.best} (mscnn score)"}[state]
    return RetrievalVerdict(state, retrieval.best, ours.mean, theirs.mean, retrieval.difference,
                            _reason(state, ours.interval.compounds), advice)


def _state(difference: Difference) -> State:
    """Return above or below where the 95 % interval excludes 0, else level; of fewer than FEW compounds it never does."""
    return "above" if difference.low > 0 else "below" if difference.high < 0 else "level"


def _reason(state: State, compounds: int) -> str:
    number = words.counted(compounds, "compound")
    return f"{number} cannot tell them apart" if state == "level" else f"over {number}, more than chance"


def _advice(state: State, baseline: str, *, readout: str, folds: bool, is_all: bool) -> str:
    """Return what to do about a state. is_all: network and baseline are right on everything."""
    if state == "above":
        return f"on this screen, predictions may be preferred to {baseline}; another screen needs its own comparison"
    more = "add compounds of each mechanism" if folds else "hold out more compounds (mscnn loco holds out each once)"
    if state == "level":
        harder = ", or doses and mechanisms that are harder to tell: here both are always right" if is_all else ""
        return f"{more}{harder}; until then {baseline} would do as well"
    choose = ("compare --normalise plate with the setting used" if readout else
              "train with --head chosen, which lets statistics of the images predict where they are better")
    return f"do not prefer these predictions to {baseline}; {choose}; or {more}"


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
