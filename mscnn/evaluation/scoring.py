"""Count the predictions of a trained classifier that are right, with intervals and label permutation.

Counted are treated wells whose mechanism is known: wells of the control are listed in the tables, and never scored.

Shapes: T rows (fields, wells, treatments or compounds), D draws of labels.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.core.records import KEY, Count, Record
from mscnn.evaluation.control_scores import ControlAccuracy
from mscnn.profiling.resampling import Interval, LabelPermutation, interval, permutation_test
from mscnn.profiling.retrieval import RetrievalComparison

LEVELS = ("fields", "wells", "treatments", "compounds")


@dataclass(frozen=True)
class Score(Record):
    """The predictions of one level that are right, of those whose mechanism is known."""

    correct: Count
    total: Count
    interval: Interval | None = None          # None where total is 0
    permuted: LabelPermutation | None = None  # true labels permuted, predictions as they are: nothing is trained again

    def __post_init__(self):
        if self.correct > self.total:
            raise ValueError(f"has {self.correct} correct of {self.total}")


@dataclass(frozen=True)
class LevelScores(Record):
    """The scores of all levels."""

    fields: Score
    wells: Score
    treatments: Score
    compounds: Score

    def by_level(self) -> dict[str, Score]:
        """Return {level: score}, in the order of LEVELS."""
        return {level: getattr(self, level) for level in LEVELS}


@dataclass(frozen=True)
class BaselineScores(LevelScores):
    """The scores of a baseline on some folds."""

    compounds_fields: dict[str, list[Count]] = field(metadata={KEY: "compounds' fields"})  # {compound: [right, total]}
    compounds_treatments: dict[str, list[Count]] | None = field(  # likewise; None: written before they were counted
        default=None, metadata={KEY: "compounds' treatments"})

    def __post_init__(self):
        for level, counts in (("fields", self.compounds_fields), ("treatments", self.compounds_treatments)):
            if counts is not None:
                _require_sum(level, list(counts.values()), getattr(self, level))


@dataclass(frozen=True)
class BaselineResult(Record):
    """A baseline beside the network."""

    kind: Literal["shortcut", "real"]
    held_out: BaselineScores = field(metadata={KEY: "held out"})     # on the folds of the network
    random: BaselineScores | None                                    # fields split at random; None where they are too few
    controls: ControlAccuracy | None = None                          # None where no control well is held out


@dataclass(frozen=True)
class BaselineResults(Record):
    """All baselines of a run: baselines.json."""

    folds: Count                          # of the network
    baselines: dict[str, BaselineResult]  # by name, shortcuts first
    retrieval: RetrievalComparison | None = None  # None where no treatments can be compared


def scored_rows(table: pd.DataFrame, control: str) -> pd.DataFrame:
    """Return the rows of a level's table that count: treated, of a known mechanism, and predicted.

    control: compound of the untreated wells, in any spelling.
    """
    is_treated = ~identity.is_name(table["Metadata_Compound"], control)
    return table[(table["Metadata_MOA"] != "") & (table["Predicted_MOA"] != "") & is_treated]


def scores(tables: dict[str, pd.DataFrame], control: str, *, draws: int = 5000, permutations: int = 1000,
           seed: int = 0) -> dict[str, Score]:
    """Return the score of each table: {level: table}, as aggregate.aggregate returns them.  control: as in scored_rows."""
    return {level: _score(scored_rows(table, control), draws, permutations, seed) for level, table in tables.items()}


def _score(table: pd.DataFrame, draws: int, permutations: int, seed: int) -> Score:
    true_T, compounds_T = (table[name].to_numpy(dtype=str) for name in ("Metadata_MOA", "Metadata_Compound"))
    predicted_T = table["Predicted_MOA"].to_numpy(dtype=str)
    right_T = predicted_T == true_T
    if not len(table):
        return Score(0, 0)
    codes = np.unique(true_T)
    predicted_codes_T = np.where(np.isin(predicted_T, codes), np.searchsorted(codes, predicted_T), -1)
    permuted = permutation_test(lambda labels_DT: (labels_DT == predicted_codes_T).mean(axis=1), true_T, compounds_T,
                                draws=permutations, seed=seed)
    return Score(int(right_T.sum()), len(table), interval(right_T, compounds_T, draws=draws, seed=seed), permuted)


def _require_sum(level: str, counts: list[list[Count]], score: Score) -> None:
    """Raise ValueError for compounds' counts that are no [right, total], or do not add up to the score of the level."""
    if any(len(pair) != 2 or pair[0] > pair[1] for pair in counts):
        raise ValueError(f"has compounds' {level} that are not [right, total]")
    right, total = (sum(pair[side] for pair in counts) for side in (0, 1))
    if (right, total) != (score.correct, score.total):
        raise ValueError(f"has compounds' {level} of {right}/{total}, and {level} of {score.correct}/{score.total}")


def count_right(table: pd.DataFrame, control: str) -> tuple[int, int]:
    """Return how many predictions of a level's table are right, and of how many that count."""
    known = scored_rows(table, control)
    return int((known["Predicted_MOA"] == known["Metadata_MOA"]).sum()), len(known)


def by_compound(table: pd.DataFrame, control: str) -> dict[str, list[int]]:
    """Return {compound: [right, total]} of the rows of a level's table that count."""
    table = scored_rows(table, control)
    right = (table["Predicted_MOA"] == table["Metadata_MOA"]).groupby(table["Metadata_Compound"]).agg(["sum", "size"])
    return {compound: [int(row["sum"]), int(row["size"])] for compound, row in right.iterrows()}


def by_mechanism(table: pd.DataFrame, control: str) -> pd.DataFrame:
    """Return a row per true mechanism of a level's table: mechanism, correct, total, and how often it was predicted."""
    table = scored_rows(table, control)
    right = (table["Predicted_MOA"] == table["Metadata_MOA"]).groupby(table["Metadata_MOA"]).agg(["sum", "size"])
    right = right.rename(columns={"sum": "correct", "size": "total"}).rename_axis("mechanism")
    return right.assign(predicted=table["Predicted_MOA"].value_counts().reindex(right.index, fill_value=0)).reset_index()


def confusion(table: pd.DataFrame, control: str) -> pd.DataFrame:
    """Return counts: a row per true mechanism, a column per mechanism that is true or predicted somewhere."""
    table = scored_rows(table, control)
    true = sorted(set(table["Metadata_MOA"]))
    names = sorted({*true, *table["Predicted_MOA"]})
    counts = pd.crosstab(table["Metadata_MOA"], table["Predicted_MOA"])
    return counts.reindex(index=true, columns=names, fill_value=0)
