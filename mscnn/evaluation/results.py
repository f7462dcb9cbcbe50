"""Predictions of an evaluation, or of several folds together: tables at every level, scores and pictures in a folder."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from mscnn.core import csv_safe, files, machine
from mscnn.core.errors import DataError
from mscnn.core.logs import log
from mscnn.evaluation import aggregate, scoring
from mscnn.report import confusion

FIELDS = "predictions.parquet"
PROFILES = "profiles.parquet"
EVALUATION = "evaluation.json"
BASELINES = "baselines.json"  # of comparison.py
SCORES = "scores.json"  # written last: an evaluation without it was cut off
_SITE = ["Metadata_Plate", "Metadata_Well", "Metadata_Site"]
ALIKE = ("control", "aggregate_wells", "aggregate_treatments", "tta", "head")


def write(fields: pd.DataFrame, described: dict[str, Any], out: Path) -> dict[str, dict[str, Any]]:
    """Write predictions.csv and .parquet, wells.csv, treatments.csv, compounds.csv, confusion.png, scores.json.

    fields: a row a field, as profiles.field_predictions makes it; described: what a reader must know, for evaluation.json,
    with "control", "aggregate_wells" and "aggregate_treatments".  Returns the scores, which are also printed.
    """
    begin(out)
    files.write_json(out / EVALUATION, described)
    levels = aggregate.aggregate(fields, described["control"], wells=described["aggregate_wells"],
                                treatments=described["aggregate_treatments"])
    levels["fields"].to_parquet(out / FIELDS, index=False)
    for level, predictions in levels.items():
        csv_safe.write_csv(predictions, out / ("predictions.csv" if level == "fields" else f"{level}.csv"))
    scores = scoring.scores(levels)
    if scores["fields"]["total"]:
        matrices = {level: scoring.confusion(levels[level]) for level in ("fields", "treatments")
                    if scores[level]["total"]}
        confusion.draw(matrices, "Which mechanism is taken for which?", out / "confusion.png")
        show(scores)
    else:
        log.info("no site has a known mechanism: predictions without scores")
    files.write_json(out / SCORES, scores)
    log.info("tables and pictures: %s", out)
    return scores


def begin(out: Path) -> None:
    """From here on the folder is no finished evaluation; what would outlive an earlier one goes."""
    for name in (SCORES, BASELINES, "confusion.png", "gallery/gallery.json"):
        (out / name).unlink(missing_ok=True)


def show(scores: dict[str, dict[str, Any]]) -> None:
    """A line a level: k/n, share and interval."""
    for level, score in scores.items():
        if score["total"]:
            log.info("%-11s %4d/%-4d right  %5.1f%%   95 %% interval over %d compounds: %.0f to %.0f %%", level,
                     score["correct"], score["total"], 100 * score["correct"] / score["total"],
                     score["interval"]["compounds"], 100 * score["interval"]["low"], 100 * score["interval"]["high"])


def combine_folds(evaluations: list[Path], out: Path) -> dict[str, dict[str, Any]]:
    """Score the folds of a screen, each evaluated into a folder of its own, as one. Raises DataError naming what is wrong.

    A treatment's wells may lie in several folds (leave one week out); each field must have been predicted once, by a
    network that was trained on neither its compound nor, where weeks were left out, its week.
    """
    tables, described = zip(*(_read(folder) for folder in evaluations), strict=True)
    for folder, table, own in zip(evaluations, tables, described, strict=True):
        if list(table) != list(tables[0]):
            apart = sorted({*table} ^ {*tables[0]})
            raise DataError(f"{folder} and {evaluations[0]} were trained on other mechanisms: only one has "
                            f"{', '.join(apart) or 'this order'}; gather folds of one screen")
        for name in ALIKE:
            if own[name] != described[0][name]:
                raise DataError(f"{evaluations[0]} and {folder} have other settings of {name}: {described[0][name]}, "
                                f"{own[name]}; gather folds of one screen")
        if (leaking := _leaks(table, own)):
            raise DataError(f"{folder}: its network was trained on what it is scored on; gather held-out folds", leaking)
    fields = pd.concat(tables, ignore_index=True)
    once = pd.concat([table[_SITE].drop_duplicates() for table in tables])  # sites without a number share their name
    if (twice := once.duplicated()).any():
        sites = [" ".join(row) for row in once[twice].drop_duplicates().astype(str).to_numpy()]
        raise DataError("fields that were predicted more than once (plate, well, site); gather each fold once", sites)
    notes = [f"{folder}: {note}" for folder, own in zip(evaluations, described, strict=True) for note in own["notes"]]
    for note in notes:
        log.warning("NOTE: %s", note)
    files.make_output_folder(out)
    return write(fields, {
        **{name: described[0].get(name) for name in (*ALIKE, "seed", "channels")}, "notes": notes,
        "folds": [{"folder": str(folder), "checkpoint": own.get("checkpoint"), "split": own["split"]}
                  for folder, own in zip(evaluations, described, strict=True)],
        "environment": machine.environment()}, out)


def _read(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    try:
        table, described = pd.read_parquet(folder / FIELDS), json.loads((folder / EVALUATION).read_text())
        json.loads((folder / SCORES).read_text())
    except (OSError, ValueError) as problem:
        raise DataError(f"{folder}: no evaluation to read ({problem}); name a folder that evaluate.py wrote") from None
    if missing := {*ALIKE, "split", "notes"} - {*described}:
        raise DataError(f"{folder}: {EVALUATION} lacks {', '.join(sorted(missing))}; evaluate its checkpoint again")
    return table, described


def _leaks(fields: pd.DataFrame, described: dict[str, Any]) -> list[str]:
    """Compounds, or weeks where weeks were left out, on both sides of a fold; a random split does not claim otherwise."""
    split = described["split"]
    if split["leaks"]:
        return []
    both = {"compound": "Metadata_Compound"} | ({"week": "Metadata_Week"} if split["method"] == "leave-week-out" else {})
    return [f"{what} {name}" for what, column in both.items()
            for name in sorted(set(fields[column]) & set(split["trained"].get(f"{what}s", [])))]
