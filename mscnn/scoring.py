"""How many are right, of how many, at each level.  Exercised by `pytest tests/test_scoring.py`."""

import pandas as pd


def scores(tables: dict[str, pd.DataFrame]) -> dict[str, dict[str, int]]:
    """{"fields": {"correct": k, "total": n}, "wells": ..., "treatments": ..., "compounds": ...}.

    Rows whose mechanism is not known count in neither.
    """
    return {level: {"correct": int((table["Predicted_MOA"] == table["Metadata_MOA"]).sum()),
                    "total": int((table["Metadata_MOA"] != "").sum())} for level, table in tables.items()}


def confusion(table: pd.DataFrame) -> pd.DataFrame:
    """Counts: a row for each true mechanism, a column for each mechanism that is true or predicted somewhere."""
    table = table[table["Metadata_MOA"] != ""]
    true = sorted(set(table["Metadata_MOA"]))
    names = sorted({*true, *table["Predicted_MOA"]})
    counts = pd.crosstab(table["Metadata_MOA"], table["Predicted_MOA"])
    return counts.reindex(index=true, columns=names, fill_value=0)
