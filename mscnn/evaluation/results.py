"""The files of an evaluation: tables at every level, scores, and a description."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mscnn.core import csv_safe, files, paths
from mscnn.core.logs import log
from mscnn.core.record_files import read_json
from mscnn.core.records import Count, Record
from mscnn.core.units import MICROMOLAR
from mscnn.core.words import counted
from mscnn.data.tables.left_out import LeftOut
from mscnn.data.tables.splits import SplitRecord
from mscnn.evaluation import (
    aggregate,
    assay_scores,
    calibration,
    confidence,
    control_scores,
    left_out_mechanism,
    prediction_table,
    readout_scores,
    scoring,
)
from mscnn.evaluation.assay_scores import AssayScores
from mscnn.evaluation.confidence import TreatmentConfidence
from mscnn.evaluation.prediction_table import READOUT, REMEDY
from mscnn.evaluation.readout_scores import EvaluationScores, ReadoutScores
from mscnn.evaluation.scoring import LevelScores, Score
from mscnn.profiling.profile_numbers import LISTS

FIELDS = "predictions.parquet"
PROFILES = "profiles.parquet"
ANNDATA = "profiles.h5ad"         # the same, where it was asked for
DECISIONS = "decisions.csv"       # of decisions.py: all that decides on a treatment
PROFILE_SCORES = "profile_scores.json"  # of profile_scores.py, with lists beside it
STATISTICS = "statistics.parquet"  # what a chosen read-out reads beside the profiles
QUALITY = "quality.parquet"        # measures and flags of the fields, of quality_file.py
READOUTS = "readouts.parquet"      # predictions of the fields by each read-out alone
ASSAYS = "assays.csv"              # scores of each assay, of a network that predicts assays
EVALUATION = "evaluation.json"
BASELINES = "baselines.json"      # of compare_baselines.py
CONFUSION = "confusion.png"       # of report/confusion.py
MULTIQC = "mscnn_scores_mqc.json"  # of report/multiqc.py
GALLERY = "gallery/gallery.json"  # of report/gallery.py
PICTURES = "gallery/pictures.json"  # of report/pictures.py
SCORES = "scores.json"            # written last: an evaluation without it was cut off
OUTDATED = (SCORES, BASELINES, CONFUSION, MULTIQC, DECISIONS)
# What combined folds must share.
MUST_MATCH = ("control", "unit", "aggregate_wells", "aggregate_treatments", "tta", "head", "left_out")
Rule = Literal["mean", "median"]
WRITTEN = (EVALUATION, FIELDS, PROFILES, ANNDATA, STATISTICS, QUALITY, READOUTS, SCORES, ASSAYS, CONFUSION, MULTIQC,
           "predictions.csv", "wells.csv", "treatments.csv", "compounds.csv", DECISIONS, PROFILE_SCORES, *LISTS)
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
    classes: list[str] | None = None           # mechanisms in the order of the network's outputs; None: folds; []: none
                                               # can be predicted
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
    left_out: LeftOut | None = None            # fields of the screen that --leave-out left out, without their sites

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
          candidates: dict[str, pd.DataFrame] | None = None, left_out: pd.DataFrame | None = None, *,
          calibrated_by: TreatmentConfidence | None = None, checkpoint_sha256: str = "") -> EvaluationScores:
    """Write predictions.csv and .parquet, wells.csv, treatments.csv, compounds.csv and scores.json; return the scores.

    fields: a row per field, as aggregate.field_predictions makes it.  readout: what was chosen; None without a choice.
    candidates: the fields as each read-out alone predicts them.  left_out: as read-outs without their mechanism predict
    them; probabilities 0 where none was left out; None without such read-outs.  calibrated_by: what calibrates treatments
    of another screen than the training's; None: it is fitted to these treatments.  checkpoint_sha256: of the one network.
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
    levels = dict.fromkeys(scoring.LEVELS, Score(0, 0)) if of_assays else scoring.scores(tables, description.control)
    calibrated = None if of_assays else calibration.calibrations(tables, description.control)
    can_predict = not of_assays and any(name.startswith(aggregate.PROBABILITY) for name in fields)
    found = None if not can_predict else calibrated_by or confidence.fit(
        tables["treatments"], is_read_out=readout is not None, checkpoint=checkpoint_sha256)
    compared = (None if left_out is None else
                left_out_mechanism.compare(tables["treatments"], of_levels(left_out)["treatments"]))
    controls = None if not can_predict else control_scores.score(tables["wells"], description.control, description.splits())
    scores = EvaluationScores(**levels, readout=readout, calibration=calibrated, left_out_mechanism=compared,
                              assays=of_assays, confidence=found, controls=controls, left_out=description.left_out)
    if of_assays:
        assay_scores.log_scores(of_assays)
    elif scores.fields.total and calibrated:
        log_scores(scores)
        calibration.log_calibration(calibrated)
    else:
        log.info("no treated site has a known mechanism: predictions without scores" if can_predict else
                 "no mechanism is predicted, and nothing is scored")
    if found:
        confidence.log_confidence(found)
    if description.left_out:
        log.info("%s", description.left_out)
    if readout:
        readout_scores.log_readout(readout)
    if compared:
        left_out_mechanism.log_left_out(compared)
    if controls:
        control_scores.log_controls(controls)
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
    _remove(out, *OUTDATED, GALLERY, PICTURES, PROFILES, ANNDATA, STATISTICS, QUALITY, READOUTS, ASSAYS, PROFILE_SCORES,
            *LISTS)


def require_own(out: Path) -> None:
    """Raise UsageError where the folder holds files with names of an evaluation, and no evaluation of this program."""
    paths.require_own(out, WRITTEN, lambda folder: paths.has_keys(folder / EVALUATION, "aggregate_wells", "notes"))


def log_scores(scores: LevelScores) -> None:
    """Log a line per level: k/n, share and interval."""
    for level, score in scores.by_level().items():
        if score.interval:
            log.info("%-11s %4d/%-4d right  %5.1f%%   95 %% interval over %s: %.0f to %.0f %%", level,
                     score.correct, score.total, 100 * score.correct / score.total,
                     counted(score.interval.compounds, "compound"),
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


def _write_candidates(candidates: dict[str, pd.DataFrame], path: Path) -> None:
    """Write the predictions of each candidate, of the fields whose mechanism is known."""
    tables = [table[table["Metadata_MOA"] != ""].assign(**{READOUT: name}) for name, table in candidates.items()]
    pd.concat(tables, ignore_index=True).to_parquet(path, index=False)


def _remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
