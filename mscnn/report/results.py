"""Predictions of an evaluation, or of several folds together: tables at every level, scores and pictures in a folder.

Exercised by `pytest tests/test_gather.py tests/test_train_and_evaluate.py`.
"""

import json
from pathlib import Path

import pandas as pd

from mscnn import profiles, rundir, scoring
from mscnn.errors import DataError
from mscnn.log import log
from mscnn.report import confusion

FIELDS = "predictions.parquet"
EVALUATION = "evaluation.json"
_SITE = ["Metadata_Plate", "Metadata_Well", "Metadata_Site"]


def write(fields: pd.DataFrame, control: str, out: Path) -> dict[str, dict[str, int]]:
    """Write predictions.csv and .parquet, wells.csv, treatments.csv, compounds.csv, scores.json, confusion.png.

    fields: a row a field, as profiles.field_predictions makes it.  Returns the scores, which are also printed.
    """
    levels = profiles.aggregate(fields, control)
    levels["fields"].to_parquet(out / FIELDS, index=False)
    for level, predictions in levels.items():
        predictions.to_csv(out / ("predictions.csv" if level == "fields" else f"{level}.csv"), index=False)
    scores = scoring.scores(levels)
    rundir.write_json(out / "scores.json", scores)
    if not scores["fields"]["total"]:
        (out / "confusion.png").unlink(missing_ok=True)  # of an earlier evaluation
        log.info("no site has a known mechanism: predictions without scores in %s", out)
        return scores
    matrices = {level: scoring.confusion(levels[level]) for level in ("fields", "treatments")
                if scores[level]["total"]}
    confusion.draw(matrices, "Which mechanism is taken for which?", out / "confusion.png")
    for level, score in scores.items():
        log.info("%-11s %4d/%-4d right  %5.1f%%", level, score["correct"], score["total"],
                 100 * score["correct"] / max(score["total"], 1))
    log.info("tables and pictures: %s", out)
    return scores


def gather(evaluations: list[Path], out: Path) -> dict[str, dict[str, int]]:
    """Score the folds of a screen, each evaluated into a folder of its own, as one. Raises DataError naming what is wrong.

    A treatment's wells may lie in several folds (leave one week out); each field must have been predicted once.
    """
    tables, controls, notes = [], {}, []
    for folder in evaluations:
        try:
            tables.append(pd.read_parquet(folder / FIELDS))
            described = json.loads((folder / EVALUATION).read_text())
        except (OSError, ValueError) as problem:
            raise DataError(f"{folder}: no evaluation to read ({problem}); name a folder that evaluate.py wrote") from None
        controls[described["control"]] = folder
        notes += [f"{folder}: {note}" for note in described["notes"]]
        if list(tables[-1]) != list(tables[0]):
            apart = sorted({*tables[-1]} ^ {*tables[0]})
            raise DataError(f"{folder} and {evaluations[0]} were trained on other mechanisms: only one has "
                            f"{', '.join(apart) or 'this order'}; gather folds of one screen")
    if len(controls) > 1:
        raise DataError(f"evaluations have other control compounds: {', '.join(controls)}; gather folds of one screen")
    fields = pd.concat(tables, ignore_index=True)
    if (twice := fields.duplicated(_SITE)).any():
        sites = [" ".join(row) for row in fields.loc[twice, _SITE].drop_duplicates().astype(str).to_numpy()]
        raise DataError("fields that were predicted more than once (plate, well, site); gather each fold once", sites)
    for note in notes:
        log.warning("NOTE: %s", note)
    rundir.make(out)
    rundir.write_json(out / EVALUATION, {"gathered": [str(folder) for folder in evaluations],
                                         "control": next(iter(controls)), "notes": notes})
    return write(fields, next(iter(controls)), out)
