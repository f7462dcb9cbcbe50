"""How many are right, of how many, at each level.  Exercised by `pytest tests/test_scoring.py`."""

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix


def scores(tables: dict[str, pd.DataFrame]) -> dict[str, dict[str, int]]:
    """{"fields": {"correct": k, "total": n}, "wells": ..., "treatments": ..., "compounds": ...}.

    Rows whose mechanism is not known count in neither.
    """
    return {level: {"correct": int((table["Predicted_MOA"] == table["Metadata_MOA"]).sum()),
                    "total": int((table["Metadata_MOA"] != "").sum())} for level, table in tables.items()}


def confusion(table: pd.DataFrame, classes: list[str]) -> tuple[np.ndarray, list[str]]:
    """Counts with rows true and columns predicted, and the names, leaving out classes that do not occur in either."""
    table = table[table["Metadata_MOA"] != ""]
    occurring = [name for name in classes if name in set(table["Metadata_MOA"]) | set(table["Predicted_MOA"])]
    return confusion_matrix(table["Metadata_MOA"], table["Predicted_MOA"], labels=occurring), occurring
