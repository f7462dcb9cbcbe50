"""Folds of a screen, each evaluated into a folder of its own, combined as one.   mscnn gather EVALUATION... --out DIR"""

from pathlib import Path

import pandas as pd
from scipy import stats

from mscnn.core import files, identity, machine
from mscnn.core.errors import DataError
from mscnn.core.logs import log
from mscnn.data.tables.held_out_wells import well_names
from mscnn.data.tables.sides import OF_WELLS
from mscnn.data.tables.site_table import PUBLIC_SITE
from mscnn.data.tables.splits import SplitRecord
from mscnn.evaluation import confidence, decisions, prediction_table, profile_scores, quality_file, readout_scores
from mscnn.evaluation.decisions import Evidence
from mscnn.evaluation.readout_scores import EvaluationScores, ReadoutScores
from mscnn.evaluation.results import (
    DECISIONS,
    EVALUATION,
    FIELDS,
    MUST_MATCH,
    READOUTS,
    REMEDY,
    SCORES,
    EvaluationDescription,
    FoldDescription,
    read_description,
    read_scores,
    read_table,
    write,
)
from mscnn.profiling import profile_table
from mscnn.profiling.known import FIRST
from mscnn.profiling.profile_numbers import HITS
from mscnn.profiling.replicates import TREATMENT

UNREADABLE = "lists of the folds cannot be read"
HELD_OUT_ALONE = "each fold has the profiles of its held-out fields alone: evaluate the folds with --profiles all"
SEVERAL = "wells of a treatment lie in several folds, and profiles of several networks are not compared: look at each fold"


def combine_folds(evaluations: list[Path], out: Path) -> EvaluationScores:
    """Score the folds of a screen, each evaluated into a folder of its own, as one. Raises DataError naming what is wrong.

    A treatment's wells may lie in several folds (leave one week out).  Each field must have been predicted once, by a
    network that was trained on neither its compound nor, where weeks were left out, its week.
    """
    folds = [_read_fold(folder) for folder in evaluations]
    tables, descriptions = [table for table, _ in folds], [description for _, description in folds]
    _require_alike(evaluations, tables, descriptions)
    fields = pd.concat(tables, ignore_index=True)
    forms = [identity.normal_table(table, PUBLIC_SITE).drop_duplicates() for table in tables]  # sites without a number
    if (is_repeated := pd.concat(forms).duplicated().to_numpy()).any():                        # share their name in a fold
        sites = pd.concat([table.loc[form.index, list(PUBLIC_SITE.values())]
                           for table, form in zip(tables, forms, strict=True)])
        names = [" ".join(row) for row in sites[is_repeated].drop_duplicates().astype(str).to_numpy()]
        raise DataError("fields that were predicted more than once (plate, well, site); gather each fold once", names)
    profile_table.refuse_spellings(fields, "the folds together")
    notes = [f"{folder}: {note}" for folder, description in zip(evaluations, descriptions, strict=True)
             for note in description.notes]
    for note in notes:
        log.warning("NOTE: %s", note)
    files.make_output_folder(out)
    description = EvaluationDescription(
        **{name: getattr(descriptions[0], name) for name in (*MUST_MATCH, "seed", "channels")}, notes=notes,
        environment=machine.environment(),
        folds=[FoldDescription(str(folder), str(description.checkpoint), *description.splits())
               for folder, description in zip(evaluations, descriptions, strict=True)])
    scores = write(fields, description, out, *_combined_readouts(evaluations))
    _write_decisions(evaluations, fields, scores, description, out)
    return scores


def _write_decisions(evaluations: list[Path], fields: pd.DataFrame, scores: EvaluationScores,
                     description: EvaluationDescription, out: Path) -> None:
    """Write what decides on each treatment; what cannot be had of the folds is a warning."""
    try:
        evidence = _evidence(evaluations)
    except DataError as problem:
        log.warning("activity and nearest known compounds of the folds are not combined: %s", str(problem).splitlines()[0])
        evidence = Evidence(activity_note=UNREADABLE, known_note=UNREADABLE)
    treatments = read_table(out, "treatments")
    confidence_T = confidence.of_treatments(treatments, scores.confidence, is_fitted_here=True)
    decided = decisions.table(treatments, fields, confidence_T, decisions.trained_compounds(description), evidence,
                              quality_file.read_all(evaluations))
    decisions.write(decided, out)
    log.info("%s: %s", decisions.summary(decided, evidence), out / DECISIONS)


def _evidence(evaluations: list[Path]) -> Evidence:
    """Return what the profiles of each fold's network say of the treatments that it is scored on. Raises DataError.

    Profiles of several networks are not compared with each other: a treatment in several folds, as one without a known
    mechanism that each of them predicts, has no evidence.  q is computed anew over the treatments of all folds (Benjamini &
    Hochberg).
    """
    hits, first, can_decide = [], [], True
    for folder in evaluations:
        decided, (scores, lists) = decisions.read(folder), profile_scores.read(folder, REMEDY)
        if decided is None:
            continue
        first.append(decided[FIRST][decided["Similarity"].notna()])
        if HITS in lists:
            hits.append(lists[HITS].merge(decided[TREATMENT], on=TREATMENT))
            can_decide &= scores is None or next(iter(scores.tables.values())).numbers.activity.can_decide
    joined = [pd.concat(parts, ignore_index=True) if parts else None for parts in (hits, first)]
    note = SEVERAL if any(part is not None and part.duplicated(TREATMENT).any() for part in joined) else HELD_OUT_ALONE
    found = [None if part is None else part.drop_duplicates(TREATMENT, keep=False) for part in joined]
    if found[0] is None or found[0]["P_Value"].isna().all():
        return Evidence(*found, activity_note=note, known_note=note)
    if len(tests := sorted(set(found[0]["Test"]) - {""})) > 1:
        return Evidence(*found, activity_note=f"folds have p of different tests: {', '.join(tests)}", known_note=note,
                        can_decide=False)
    is_ranked = found[0]["P_Value"].notna()
    found[0].loc[is_ranked, "Q_Value"] = stats.false_discovery_control(found[0].loc[is_ranked, "P_Value"])
    return Evidence(*found, known_note=note, can_decide=can_decide)


def _combined_readouts(evaluations: list[Path]) -> tuple[ReadoutScores | None, dict[str, pd.DataFrame]]:
    """Return the choices of folds as one, and the predictions by candidates that all folds have; none without a choice."""
    found = [read_scores(folder).readout for folder in evaluations]
    parts = [readout for readout in found if readout]
    if not parts or len(parts) < len(found):
        return None, {}
    tables = [prediction_table.read_readouts(folder / READOUTS) if (folder / READOUTS).exists() else {}
              for folder in evaluations]
    return readout_scores.merge(parts), {
        name: pd.concat([table[name] for table in tables], ignore_index=True)
        for name in tables[0] if all(name in table for table in tables)}


def _require_alike(evaluations: list[Path], tables: list[pd.DataFrame], descriptions: list[EvaluationDescription]) -> None:
    """Raise DataError for folds of different mechanisms or settings, and for a fold that leaks."""
    for folder, table, description in zip(evaluations, tables, descriptions, strict=True):
        if list(table) != list(tables[0]):
            apart = sorted({*table} ^ {*tables[0]})
            raise DataError(f"{folder} and {evaluations[0]} were trained on other mechanisms: only one has "
                            f"{', '.join(apart) or 'this order'}; gather folds of one screen")
        for name in MUST_MATCH:
            first, other = getattr(descriptions[0], name), getattr(description, name)
            if other != first:
                raise DataError(f"{evaluations[0]} and {folder} have other settings of {name}: {first}, {other}; gather "
                                "folds of one screen")
        if leaking := _leaks(table, *description.splits(), control=description.control):
            raise DataError(f"{folder}: its network was trained on what it is scored on; gather held-out folds", leaking)


def _read_fold(folder: Path) -> tuple[pd.DataFrame, EvaluationDescription]:
    if missing := [name for name in (FIELDS, EVALUATION, SCORES) if not (folder / name).exists()]:
        raise DataError(f"{folder}: no evaluation to read (no {', '.join(missing)}); name a folder that evaluate.py wrote")
    table, description = read_table(folder, "fields"), read_description(folder)
    prediction_table.require_scores({"fields": table}, read_scores(folder), description.control, folder)
    if description.folds is not None:
        raise DataError(f"{folder}: holds folds that were combined before; name the folder of each fold")
    return table, description


def _leaks(fields: pd.DataFrame, split: SplitRecord, control: str) -> list[str]:
    """Return what must be on one side of a fold and is on both; none for a split that admits leaks.

    That is compounds, or weeks or plates where these were left out; and wells that were not held out: control wells where
    the control was trained on, and all where wells were held out.
    """
    if split.leaks:
        return []
    treated = fields[~identity.is_name(fields["Metadata_Compound"], control)]
    names = {"week": fields["Metadata_Week"]} if split.method == "leave-week-out" else {}
    names |= {"plate": fields["Metadata_Plate"]} if split.method == "leave-plate-out" else {}
    names |= {"compound": treated["Metadata_Compound"]} if split.method not in OF_WELLS else {}
    both = [f"{kind} {name}" for kind, column in names.items()
            for name in identity.in_common(column, split.trained.get(f"{kind}s", []))]
    trained_controls = identity.in_common([control], split.trained.get("compounds", []))
    alone = fields if split.method in OF_WELLS else fields.drop(treated.index) if trained_controls else fields[:0]
    wells = set(well_names(alone["Metadata_Plate"], alone["Metadata_Well"]))
    return [*both, *(f"well {name}" for name in sorted(wells - set(split.wells)))]
