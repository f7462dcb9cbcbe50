"""Predictions of fields -> wells -> treatments -> compounds, as tables.  Exercised by `pytest tests/test_profiles.py`.

Aggregation is fixed in advance: mean of the probabilities over a well's fields, median over a treatment's wells,
mean over a compound's treatments.
"""

import numpy as np
import pandas as pd

from mscnn.data.tables import PUBLIC_NAMES, SiteTable

LEVELS = {"wells": ["Plate", "Week", "Well", "Compound", "Concentration", "MOA"],
          "treatments": ["Compound", "Concentration", "MOA"],
          "compounds": ["Compound", "MOA"]}
_RULES = {"wells": "mean", "treatments": "median", "compounds": "mean"}


def field_predictions(table: SiteTable, probabilities_SK: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """A row a site: Metadata_*, Predicted_MOA, and Probability_<class> for each class."""
    metadata = table.frame[list(PUBLIC_NAMES)].rename(columns=PUBLIC_NAMES).reset_index(drop=True)
    probabilities = pd.DataFrame(probabilities_SK, columns=[f"Probability_{name}" for name in classes])
    return _with_prediction(pd.concat([metadata, probabilities], axis=1))


def aggregate(predictions: pd.DataFrame, control: str) -> dict[str, pd.DataFrame]:
    """Fields -> {"fields", "wells", "treatments", "compounds"}, each with Predicted_MOA.

    A treatment is a compound at one concentration (or at one that is not given).  The control compound, in any case,
    is no treatment: its fields and wells stay, it is not among treatments and compounds.
    """
    tables = {"fields": predictions}
    current = predictions
    for level, names in LEVELS.items():
        if level == "treatments":
            current = current[current["Metadata_Compound"].str.casefold() != control.casefold()]
        keys = [f"Metadata_{name}" for name in names]
        probabilities = [name for name in current.columns if name.startswith("Probability_")]
        current = current.groupby(keys, dropna=False, sort=True)[probabilities].agg(_RULES[level]).reset_index()
        current = tables[level] = _with_prediction(current)
    return tables


def _with_prediction(table: pd.DataFrame) -> pd.DataFrame:
    """Put the class of highest probability before the probabilities; the first in order where they tie."""
    probabilities = table[[name for name in table.columns if name.startswith("Probability_")]]
    predicted = probabilities.idxmax(axis=1).str.removeprefix("Probability_")
    metadata = table[[name for name in table.columns if name.startswith("Metadata_")]]
    return pd.concat([metadata, predicted.rename("Predicted_MOA"), probabilities], axis=1)
