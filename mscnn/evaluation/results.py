"""The files of an evaluation: tables at every level, scores, and a description; folds of a screen combined as one.

`mscnn gather EVALUATION... --out DIR` combines folds.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mscnn.core import csv_safe, files, identity, machine, paths
from mscnn.core.errors import DataError
from mscnn.core.logs import log
from mscnn.core.record_files import read_json
from mscnn.core.records import Count, Record
from mscnn.core.units import MICROMOLAR
from mscnn.data.tables.site_table import PUBLIC_SITE
from mscnn.data.tables.splits import SplitRecord
from mscnn.evaluation import (
    aggregate,
    assay_scores,
    calibration,
    left_out_mechanism,
    prediction_table,
    readout_scores,
    scoring,
)
from mscnn.evaluation.assay_scores import AssayScores
from mscnn.evaluation.prediction_table import READOUT, REMEDY
from mscnn.evaluation.readout_scores import EvaluationScores, ReadoutScores
from mscnn.evaluation.scoring import LevelScores, Score
from mscnn.profiling import profile_table
from mscnn.profiling.profile_numbers import LISTS

FIELDS = "predictions.parquet"
PROFILES = "profiles.parquet"
ANNDATA = "profiles.h5ad"         # the same, where it was asked for
PROFILE_SCORES = "profile_scores.json"  # of profile_scores.py, with lists beside it
STATISTICS = "statistics.parquet"  # what a chosen read-out reads beside the profiles
READOUTS = "readouts.parquet"      # predictions of the fields by each read-out alone
ASSAYS = "assays.csv"              # scores of each assay, of a network that predicts assays
EVALUATION = "evaluation.json"
BASELINES = "baselines.json"      # of compare_baselines.py
CONFUSION = "confusion.png"       # of report/confusion.py
MULTIQC = "mscnn_scores_mqc.json"  # of report/multiqc.py
GALLERY = "gallery/gallery.json"  # of report/gallery.py
SCORES = "scores.json"            # written last: an evaluation without it was cut off
OUTDATED = (SCORES, BASELINES, CONFUSION, MULTIQC)
MUST_MATCH = ("control", "unit", "aggregate_wells", "aggregate_treatments", "tta", "head")  # what combined folds must share
Rule = Literal["mean", "median"]
WRITTEN = (EVALUATION, FIELDS, PROFILES, ANNDATA, STATISTICS, READOUTS, SCORES, ASSAYS, CONFUSION, MULTIQC,
           "predictions.csv", "wells.csv", "treatments.csv", "compounds.csv", PROFILE_SCORES, *LISTS)
_ONE_NETWORK = ("checkpoint", "step", "compounds", "classes", "split")


@dataclass(frozen=True)
class FoldDescription(Record):
    """A fold of several that were combined."""

    folder: str         # of its evaluation
    checkpoint: str     # that was evaluated
    split: SplitRecord  # without sides


@dataclass(frozen=True, kw_only=True)
class EvaluationDescription(Record):
    """What a reader of scores must know: evaluation.json.

    It describes one network, folds that were combined, or one label-free network with a read-out for each fold.
    """

    checkpoint: str | None = None              # file that was evaluated; None: folds
    step: Count | None = None                  # optimiser steps it had taken; None: folds
    compounds: list[str] | None = None         # treated compounds that are scored; None: folds
    control: str                               # compound of the untreated wells, in any spelling
    channels: list[str]                        # in the network's order
    classes: list[str] | None = None           # mechanisms in the order of the network's outputs; None: folds
    notes: list[str]                           # doubts about the scores
    aggregate_wells: Rule                      # from fields to wells
    aggregate_treatments: Rule                 # from wells to treatments
    tta: Literal["none", "flips-turns"]        # test-time augmentation
    head: Literal["softmax", "lda", "chosen"]  # last layer
    seed: Count                                # of the training
    split: SplitRecord | None = None           # who was trained on and who was held out, without sides; None: folds
    environment: dict[str, Any]                # machine and versions
    unit: str = MICROMOLAR                     # of the concentrations, as it is shown
    folds: list[FoldDescription] | None = None  # combined, or each with a read-out of its own on one network

    def __post_init__(self):
        missing = [name for name in _ONE_NETWORK if getattr(self, name) is None]
        if missing and (self.folds is None or self.checkpoint is not None):
            raise ValueError(f"lacks {', '.join(missing)}, or folds")

    @property
    def is_one_network(self) -> bool:
        """Whether one network was evaluated."""
        return self.checkpoint is not None

    def splits(self) -> list[SplitRecord]:
        """Return the split of each training, or of each read-out."""
        if self.folds is not None:
            return [fold.split for fold in self.folds]
        assert self.split is not None
        return [self.split]

    def leaks(self) -> str:
        """Return why the scores flatter, or ""."""
        return next((split.leaks for split in self.splits() if split.leaks), "")


def write(fields: pd.DataFrame, description: EvaluationDescription, out: Path, readout: ReadoutScores | None = None,
          candidates: dict[str, pd.DataFrame] | None = None, left_out: pd.DataFrame | None = None) -> EvaluationScores:
    """Write predictions.csv and .parquet, wells.csv, treatments.csv, compounds.csv and scores.json; return the scores.

    fields: a row per field, as aggregate.field_predictions makes it.  readout: what was chosen; None without a choice.
    candidates: the fields as each read-out alone predicts them.  left_out: as read-outs without their mechanism predict
    them; probabilities 0 where none was left out; None without such read-outs.
    """
    _remove(out, *OUTDATED)
    files.write_json(out / EVALUATION, description.to_json())
    of_levels = partial(aggregate.aggregate, control=description.control, well_rule=description.aggregate_wells,
                        treatment_rule=description.aggregate_treatments)
    tables = of_levels(fields)
    tables["fields"].to_parquet(out / FIELDS, index=False)
    for level, table in tables.items():
        csv_safe.write_csv(table, out / ("predictions.csv" if level == "fields" else f"{level}.csv"))
    if readout and candidates:
        _write_candidates(candidates, out / READOUTS)
        readout = readout_scores.with_scores(readout, candidates, description.control,
                                             well_rule=description.aggregate_wells,
                                             treatment_rule=description.aggregate_treatments)
    of_assays = _score_assays(tables["compounds"], description, out) if aggregate.is_of_assays(fields) else None
    levels = scoring.scores(tables) if of_assays is None else dict.fromkeys(scoring.LEVELS, Score(0, 0))
    calibrated = None if of_assays else calibration.calibrations(tables)
    compared = (None if left_out is None else
                left_out_mechanism.compare(tables["treatments"], of_levels(left_out)["treatments"]))
    scores = EvaluationScores(**levels, readout=readout, calibration=calibrated, left_out_mechanism=compared,
                              assays=of_assays)
    if of_assays:
        assay_scores.log_scores(of_assays)
    elif scores.fields.total and calibrated:
        log_scores(scores)
        calibration.log_calibration(calibrated)
    else:
        log.info("no site has a known mechanism: predictions without scores")
    if readout:
        readout_scores.log_readout(readout)
    if compared:
        left_out_mechanism.log_left_out(compared)
    files.write_json(out / SCORES, scores.to_json())
    log.info("tables and scores: %s", out)
    return scores


def _score_assays(compounds: pd.DataFrame, description: EvaluationDescription, out: Path) -> AssayScores:
    """Return the scores of assays, and write assays.csv; compounds of all folds are ranked together."""
    splits = description.splits()
    found = assay_scores.score(compounds, {name for split in splits for name in split.unlearnable},
                               networks=1 if description.is_one_network else len(splits))
    csv_safe.write_csv(assay_scores.table(found), out / ASSAYS)
    return found


def begin(out: Path) -> None:
    """Remove the files that mark a finished evaluation, and those that an earlier one would leave beside a new one."""
    _remove(out, *OUTDATED, GALLERY, PROFILES, ANNDATA, STATISTICS, READOUTS, ASSAYS, PROFILE_SCORES, *LISTS)


def require_own(out: Path) -> None:
    """Raise UsageError where the folder holds files with names of an evaluation, and no evaluation of this program."""
    paths.require_own(out, WRITTEN, lambda folder: paths.has_keys(folder / EVALUATION, "aggregate_wells", "notes"))


def log_scores(scores: LevelScores) -> None:
    """Log a line per level: k/n, share and interval."""
    for level, score in scores.by_level().items():
        if score.interval:
            log.info("%-11s %4d/%-4d right  %5.1f%%   95 %% interval over %d compounds: %.0f to %.0f %%", level,
                     score.correct, score.total, 100 * score.correct / score.total, score.interval.compounds,
                     100 * score.interval.low, 100 * score.interval.high)


def read_scores(folder: Path) -> EvaluationScores:
    """Read the scores of a finished evaluation. Raises DataError."""
    return read_json(folder / SCORES, EvaluationScores, REMEDY)


def read_description(folder: Path) -> EvaluationDescription:
    """Read the description of an evaluation. Raises DataError where the file lacks entries or has wrong types."""
    return read_json(folder / EVALUATION, EvaluationDescription, REMEDY)


def read_table(folder: Path, level: str) -> pd.DataFrame:
    """Read the predictions of a level, as prediction_table.read does. Raises DataError."""
    return prediction_table.read(folder / (FIELDS if level == "fields" else f"{level}.csv"), level)


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
    return write(fields, EvaluationDescription(
        **{name: getattr(descriptions[0], name) for name in (*MUST_MATCH, "seed", "channels")}, notes=notes,
        environment=machine.environment(),
        folds=[FoldDescription(str(folder), str(description.checkpoint), *description.splits())
               for folder, description in zip(evaluations, descriptions, strict=True)]), out,
        *_combined_readouts(evaluations))


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


def _write_candidates(candidates: dict[str, pd.DataFrame], path: Path) -> None:
    """Write the predictions of each candidate, of the fields whose mechanism is known."""
    tables = [table[table["Metadata_MOA"] != ""].assign(**{READOUT: name}) for name, table in candidates.items()]
    pd.concat(tables, ignore_index=True).to_parquet(path, index=False)


def _remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


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
        if leaking := _leaks(table, *description.splits()):
            raise DataError(f"{folder}: its network was trained on what it is scored on; gather held-out folds", leaking)


def _read_fold(folder: Path) -> tuple[pd.DataFrame, EvaluationDescription]:
    if missing := [name for name in (FIELDS, EVALUATION, SCORES) if not (folder / name).exists()]:
        raise DataError(f"{folder}: no evaluation to read (no {', '.join(missing)}); name a folder that evaluate.py wrote")
    table, description = read_table(folder, "fields"), read_description(folder)
    prediction_table.require_scores({"fields": table}, read_scores(folder), folder)
    if description.folds is not None:
        raise DataError(f"{folder}: holds folds that were combined before; name the folder of each fold")
    return table, description


def _leaks(fields: pd.DataFrame, split: SplitRecord) -> list[str]:
    """Return compounds, or weeks where weeks were left out, on both sides of a fold; none for a split that admits leaks."""
    if split.leaks:
        return []
    columns = {"compound": "Metadata_Compound"} | ({"week": "Metadata_Week"} if split.method == "leave-week-out" else {})
    return [f"{kind} {name}" for kind, column in columns.items()
            for name in identity.in_common(fields[column], split.trained.get(f"{kind}s", []))]
