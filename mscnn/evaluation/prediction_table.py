"""Read the tables of predictions that an evaluation wrote, and check them: by themselves and against its scores."""

from pathlib import Path

import numpy as np
import pandas as pd

from mscnn.core import csv_safe, foreign_table
from mscnn.core.errors import DataError
from mscnn.data.tables.site_table import PUBLIC_NAMES
from mscnn.evaluation import aggregate, assay_scores
from mscnn.evaluation.aggregate import ASSAY, PROBABILITY
from mscnn.evaluation.readout_scores import EvaluationScores
from mscnn.evaluation.scoring import count_right

REMEDY = "evaluate the run again"
PREDICTED, DOSE = "Predicted_MOA", "Metadata_Concentration"
READOUT = "Readout"  # column with the name of the read-out that predicts, where there are several
ROUNDING = 1e-6  # by which a probability may leave 0 to 1


def read(path: Path, level: str) -> pd.DataFrame:
    """Read the predictions of a level, parquet for fields and CSV for others: text, concentrations and probabilities.

    Of assays, the known values too, and no predicted mechanism.  Where none could be predicted, no probabilities.
    Raises DataError naming the column and the row that no evaluation writes.
    """
    if level == "fields":
        table = foreign_table.read_parquet(path, REMEDY)
    else:
        table = foreign_table.read_csv(path, REMEDY, missing=[""],
                                       is_number=lambda name: name.startswith((PROBABILITY, ASSAY)) or name == DOSE)
    keys = [f"Metadata_{name}" for name in aggregate.LEVELS.get(level, ())] or [*PUBLIC_NAMES.values()]
    classes = [name for name in table.columns if name.startswith(PROBABILITY)]
    assays = [name for name in table.columns if name.startswith(ASSAY)]
    predicted = [] if assays else [PREDICTED]
    table.require(*keys, *predicted, *(ASSAY + name.removeprefix(PROBABILITY) for name in classes if assays))
    if not classes and (table.text(PREDICTED) != "").any():
        raise DataError(f"{path}: lacks columns {PROBABILITY}*; {REMEDY}")
    frame = pd.DataFrame({
        **{name: table.finite(name, or_missing=True) if name == DOSE else table.text(name) for name in keys},
        **{name: table.text(name) for name in predicted}, **{name: table.finite(name, or_missing=True) for name in assays},
        **{name: table.finite(name) for name in classes}})
    return _checked(frame if level == "fields" else csv_safe.unescape_table(frame), path)


def read_readouts(path: Path) -> dict[str, pd.DataFrame]:
    """Read the predictions of fields by each read-out alone: {name: table}. Raises DataError as `read` does."""
    table, names = read(path, "fields"), foreign_table.read_parquet(path, REMEDY).text(READOUT)
    return {str(name): table[(names == name).to_numpy()].reset_index(drop=True) for name in names.unique()}


def require_scores(tables: dict[str, pd.DataFrame], scores: EvaluationScores, control: str, folder: Path) -> None:
    """Raise DataError where the tables of an evaluation do not give its scores: files of two evaluations are mixed.

    control: compound of the untreated wells, which never count.
    """
    if any(aggregate.is_of_assays(table) != (scores.assays is not None) for table in tables.values()):
        raise DataError(f"{folder}: its scores are of assays, or its tables of predictions are, and not both; {REMEDY}")
    if scores.assays is not None:
        if "compounds" in tables and assay_scores.counts(tables["compounds"]) != scores.assays.counts():
            raise DataError(f"{folder}: compounds.csv holds other assays, or other values, than its scores; {REMEDY}")
        return
    for level, table in tables.items():
        score, counted = scores.by_level()[level], count_right(table, control)
        if (score.correct, score.total) != counted:
            raise DataError(f"{folder}: the predictions of {level} give {counted[0]}/{counted[1]} right, its scores say "
                            f"{score.correct}/{score.total}; {REMEDY}")


def _checked(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the table. Raises DataError where a probability is none, or is not that of the class that is predicted.

    So it does for the value of an assay that is neither 1, 0 nor missing.
    """
    names = [name for name in frame if name.startswith(PROBABILITY)]
    values = frame[names].to_numpy()
    for row, column in np.argwhere((values < -ROUNDING) | (values > 1 + ROUNDING))[:1]:
        raise DataError(f"{path}: column {names[column]} holds {values[row, column]} in row {row + 1}, not a probability; "
                        f"{REMEDY}")
    assays = [name for name in frame if name.startswith(ASSAY)]
    known = frame[assays].to_numpy()
    for row, column in np.argwhere(~(np.isnan(known) | (known == 0) | (known == 1)))[:1]:
        raise DataError(f"{path}: column {assays[column]} holds {known[row, column]} in row {row + 1}, not 1, 0 or "
                        f"nothing; {REMEDY}")
    if assays or not names:
        return frame
    highest = np.array([name.removeprefix(PROBABILITY) for name in names], dtype=object)[values.argmax(axis=1)]
    for row in np.flatnonzero(frame[PREDICTED].to_numpy(dtype=object) != highest)[:1]:
        raise DataError(f"{path}: row {row + 1} predicts {frame[PREDICTED].iloc[row]!r}, where {highest[row]!r} has the "
                        f"highest probability; {REMEDY}")
    return frame
