"""Count the predictions of a trained classifier that are right, with intervals and label permutation.

Shapes: T rows (fields, wells, treatments or compounds), D draws of labels.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mscnn.core.records import Record
from mscnn.evaluation.resampling import Interval, LabelPermutation, interval, permutation_test

LEVELS = ("fields", "wells", "treatments", "compounds")


@dataclass(frozen=True)
class Score(Record):
    """The predictions of one level that are right, of those whose mechanism is known."""

    correct: int
    total: int
    interval: Interval | None = None          # None where total is 0
    permuted: LabelPermutation | None = None  # true labels permuted, predictions as they are: nothing is trained again


def scores(tables: dict[str, pd.DataFrame], *, draws: int = 5000, permutations: int = 1000,
           seed: int = 0) -> dict[str, Score]:
    """Return {"fields": Score, "wells": ..., "treatments": ..., "compounds": ...} of the tables of aggregate.aggregate."""
    return {level: _score(table[table["Metadata_MOA"] != ""], draws, permutations, seed) for level, table in tables.items()}


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


def by_compound(fields: pd.DataFrame) -> dict[str, list[int]]:
    """Return {compound: [right, total]} of the fields whose mechanism is known."""
    fields = fields[fields["Metadata_MOA"] != ""]
    right = (fields["Predicted_MOA"] == fields["Metadata_MOA"]).groupby(fields["Metadata_Compound"]).agg(["sum", "size"])
    return {compound: [int(row["sum"]), int(row["size"])] for compound, row in right.iterrows()}


def by_mechanism(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per true mechanism of a level's table: mechanism, correct, total, and how often it was predicted."""
    table = table[table["Metadata_MOA"] != ""]
    right = (table["Predicted_MOA"] == table["Metadata_MOA"]).groupby(table["Metadata_MOA"]).agg(["sum", "size"])
    right = right.rename(columns={"sum": "correct", "size": "total"}).rename_axis("mechanism")
    return right.assign(predicted=table["Predicted_MOA"].value_counts().reindex(right.index, fill_value=0)).reset_index()


def confusion(table: pd.DataFrame) -> pd.DataFrame:
    """Return counts: a row per true mechanism, a column per mechanism that is true or predicted somewhere."""
    table = table[table["Metadata_MOA"] != ""]
    true = sorted(set(table["Metadata_MOA"]))
    names = sorted({*true, *table["Predicted_MOA"]})
    counts = pd.crosstab(table["Metadata_MOA"], table["Predicted_MOA"])
    return counts.reindex(index=true, columns=names, fill_value=0)
