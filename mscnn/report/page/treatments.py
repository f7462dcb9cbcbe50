"""The table of treatments: decisions.csv, or else what the predictions tell, and treatments that only profiles hold."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.evaluation import decisions
from mscnn.evaluation.aggregate import PROBABILITY
from mscnn.report.run import Run

COMPOUND, DOSE, MECHANISM = decisions.KEY


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    name: str   # in decisions.csv
    title: str  # in the page
    kind: str   # text, mechanism, number, share, count or p
    words: str  # what it tells
    prints: bool = True  # whether a printed page has it


COLUMNS = (
    Column("Rank", "rank", "count", "the order of decisions.csv: first the treatments that are surest to do something"),
    Column(COMPOUND, "compound", "text", ""),
    Column(DOSE, "dose", "number", "concentration"),
    Column(MECHANISM, "known mechanism", "mechanism", "from the table of the screen"),
    Column("Predicted_MOA", "predicted", "mechanism", "mechanism of the highest probability"),
    Column("Probability", "probability", "share", "of the predicted mechanism"),
    Column("Confidence", "confidence", "share", "calibrated probability: so often is a prediction like this one right"),
    Column("Q_Value", "q", "p", "share of false ones among treatments that differ from the control as clearly"),
    Column("Active", "active", "text", "True where q says that the treatment differs from the control wells"),
    Column("Mean_Average_Precision", "mAP", "share", "do the wells of the treatment rank before control wells?", False),
    Column("Effect_Size", "effect", "number", "distance from the control wells, in their own spread"),
    Column("None_Of_The_Known", "none of known, p", "p", "share of compounds whose mechanism was left out that are as "
           "near to a known one; where it is small, a known mechanism is believable"),
    Column("Nearest_Compound", "nearest known", "text", "known compound with the most similar profile"),
    Column("Nearest_Concentration", "its dose", "number", "concentration of the nearest known compound", False),
    Column("Nearest_MOA", "its mechanism", "mechanism", "mechanism of the nearest known compound"),
    Column("Similarity", "similarity", "share", "cosine similarity with the nearest known compound", False),
    Column("Trained", "trained", "text", "True where what predicts was fitted to the compound", False),
    Column("Wells", "wells", "count", "", False),
    Column("Plates", "plates", "count", "", False),
    Column("Fields", "fields", "count", "", False),
    Column("Flagged_Fields", "flagged", "count", "fields with a flag of quality"))


def of_run(run: Run, placed: pd.DataFrame) -> pd.DataFrame:
    """Return a row per treatment with all columns of COLUMNS, empty ones too; decisions first, in their order.

    placed: treatments of the map; those without a decision or prediction come last.
    """
    first = _of_predictions(run) if run.decisions is None else run.decisions
    frame = first.reindex(columns=[column.name for column in COLUMNS])
    there = {*zip(frame[COMPOUND], frame[DOSE].fillna(-1), strict=True)}
    is_new = [key not in there for key in zip(placed[COMPOUND], placed[DOSE].fillna(-1), strict=True)]
    both = pd.concat([frame, placed[np.array(is_new, bool)].reindex(columns=frame.columns)], ignore_index=True)
    texts = both[sorted(decisions.TEXT)].astype(object)
    numbers = both.columns.difference(texts.columns)
    return both.assign(**{name: pd.to_numeric(both[name]) for name in numbers}, **texts.where(texts.notna(), ""))


def _of_predictions(run: Run) -> pd.DataFrame:
    """Return the treatments of treatments.csv with the wells, plates and fields that they have in the other tables."""
    table = run.tables["treatments"].copy()
    probabilities = table[[name for name in table if name.startswith(PROBABILITY)]]
    if len(probabilities.columns) and "Predicted_MOA" in table:
        table["Probability"] = probabilities.max(axis=1)
    keys = [COMPOUND, DOSE]
    fields = run.tables["fields"]
    fields = fields[~identity.is_name(fields[COMPOUND], run.description.control)]
    grouped = fields.groupby(keys, dropna=False)
    of_wells = fields.drop_duplicates([*keys, "Metadata_Plate", "Metadata_Well"]).groupby(keys, dropna=False)
    counted = pd.DataFrame({"Fields": grouped.size(), "Plates": grouped["Metadata_Plate"].nunique(),
                            "Wells": of_wells.size()})
    found = table.merge(counted.reset_index(), on=keys, how="left")
    order = ["Probability"] if "Probability" in found else []
    found = found.sort_values([*order, *keys], ascending=[False] * len(order) + [True, True], kind="stable")
    return found.assign(Rank=np.arange(1, len(found) + 1))
