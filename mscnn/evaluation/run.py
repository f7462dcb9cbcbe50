"""One evaluation from top to bottom: checkpoint, sites, predictions, scores.   python evaluate.py --checkpoint RUN

`evaluate` predicts, `write` scores.  Several ranks share out the sites.
"""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from mscnn.core import activity, config, errors, files, identity, machine, memory, run_directory
from mscnn.core.errors import DataError
from mscnn.core.logs import log, open_logs, progress
from mscnn.core.units import MICROMOLAR
from mscnn.core.words import counted
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.tables import splits
from mscnn.distributed import core_binding, core_plan, heartbeat, world
from mscnn.evaluation import (
    aggregate,
    confidence,
    decisions,
    known_profiles,
    known_reference,
    load_run,
    profile_scores,
    quality_file,
    readout_scores,
    results,
)
from mscnn.evaluation.confidence import TreatmentConfidence
from mscnn.evaluation.decisions import Evidence
from mscnn.evaluation.known_reference import KnownReference
from mscnn.evaluation.predict_run import Predictions, predict_run
from mscnn.evaluation.readout_scores import ReadoutScores
from mscnn.evaluation.results import EvaluationDescription, FoldDescription
from mscnn.evaluation.settings import EvaluationSettings
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration
from mscnn.profiling import h5ad_writer
from mscnn.profiling.profile_table import ProfileTable
from mscnn.training import checkpoint
from mscnn.training.checkpoint import Checkpoint

LEARNT = ("the run held out wells or fields of compounds that it was trained on, whose confidence says nothing of other "
          "compounds; hold compounds out to calibrate it")


@dataclass(frozen=True)
class Evaluation:
    """The predictions of a checkpoint, before they are scored."""

    out: Path                    # folder of the results
    network: MCNN
    fields: FieldReader          # of all sites that were predicted
    scored: np.ndarray           # positions among them of the sites that are scored
    predictions: pd.DataFrame    # a row a scored site, as aggregate.field_predictions makes them
    profiles: pd.DataFrame       # of all sites, as aggregate.field_profiles makes them, and Metadata_Scored
    statistics: pd.DataFrame | None      # the same of the statistics that a chosen read-out reads; None without one
    candidates: dict[str, pd.DataFrame]  # predictions of the scored sites by each read-out alone; {} without a choice
    readout: ReadoutScores | None        # what was chosen and why; None likewise
    description: EvaluationDescription
    left_out: pd.DataFrame | None = None  # predictions of the scored sites by read-outs without their mechanism; None
                                          # without read-outs over compounds
    reference: ProfileTable | None = None  # of another screen: known wells of the training; None where they cannot be had
    calibrated_by: TreatmentConfidence | None = None  # of another screen: what calibrates treatments; None: fitted to them
    sha256: str = ""                      # of the checkpoint
    quality: pd.DataFrame | None = None   # of all sites, as quality_file.measure_sites returns it; None: not asked for
    keep_known: Path | None = None        # run directory that keeps the known wells of these profiles; None: they are not
                                          # those of the whole training
    is_another: bool = False              # table than that of the training
    new: np.ndarray | None = None         # positions of sites that are decided on and not scored, as no mechanism is known
    new_predictions: pd.DataFrame | None = None  # a row each of these; None: there are none

    def decided(self) -> tuple[np.ndarray, pd.DataFrame]:
        """Return positions and predictions of all sites that are decided on: scored ones, then new ones."""
        if self.new is None or not len(self.new):
            return self.scored, self.predictions
        return (np.concatenate([self.scored, self.new]),
                pd.concat([self.predictions, self.new_predictions], ignore_index=True))


def evaluate(settings: EvaluationSettings) -> Evaluation | None:
    """Predict the sites that a checkpoint is scored on; None on all ranks but rank 0.

    Where too few mechanisms are known to predict any, the tables have no probabilities, and a note says why.
    Raises UsageError or DataError on all ranks alike for what cannot be evaluated.
    """
    ranks = world.init(settings.backend, join_seconds=settings.join_timeout)
    out = Path(settings.out or Path(settings.checkpoint) / "evaluation")
    ranks.run_on_all_or_raise(lambda: _hold(out) if ranks.rank == 0 else None)
    ranks.run_on_all_or_raise(lambda: files.make_output_folder(out / "log"))
    open_logs(ranks.rank, None)
    if ranks.rank == 0:
        heartbeat.remove_stale(out / "log")
    ranks.require_equal(**machine.versions(), settings=run_directory.digest(repr(asdict(settings))))
    heartbeat.write_to(out / "log")
    plan = core_binding.bind_rank(ranks, settings)
    memory.keep_memory()
    path, saved = ranks.run_on_all_or_raise(lambda: checkpoint.read(Path(settings.checkpoint)))
    ranks.require_equal(checkpoint=f"of step {saved.step} with SHA-256 {saved.sha256[:16]}")
    with errors.details_to_file(out, is_reporter=ranks.rank == 0):
        sites = load_run.select_sites(settings, saved, ranks)
        scale, notes, is_measured = load_run.load_scale(saved, sites.table, ranks, other_screen=settings.another())
        notes += load_run.compare_counts(saved, sites.table, ranks, is_measured=is_measured)
    height, width = saved.image_size
    fields = FieldReader(sites.table, scale, (height, width))
    network = load_run.load_network(saved, Acceleration())
    no_predictions = _why_unpredictable(saved, sites)
    if no_predictions:
        saved, sites = replace(saved, readout=None), replace(sites, over_compounds=False)
    predicted = _predict(settings, saved, sites, network, fields, ranks, plan)
    measures = quality_file.measure_sites(sites.table, ranks) if settings.quality else None
    reference = known_reference.find(settings, saved, path, network, ranks, loader_thread_init=core_binding.loader_binding(
        plan, settings)) if settings.another() else KnownReference()
    ranks.shutdown()
    activity.clear()  # no time limit for pictures
    if ranks.rank:
        return None
    reference = known_reference.in_unit(reference, saved, _unit(saved, sites))
    if not settings.another() and saved.settings.get("replicate_weight") and sites.table.is_control().any():
        notes.append(load_run.LEARNT_APART)
    own_notes = [note for note in sites.notes if note != load_run.SEEN_ALL or not no_predictions]
    notes = own_notes + notes + predicted.notes + checkpoint.caveats(path, saved)
    notes += [reference.note] if reference.note else []
    if settings.another() and (note := load_run.note_scaled_by_controls(saved, sites.scored())):
        notes.append(note)
    notes += [f"{no_predictions}; no mechanism is predicted"] if no_predictions else []
    calibrated_by = _calibrated_by(saved, path) if settings.another() and not no_predictions else None
    for note in notes:
        log.warning("NOTE: %s", note)
    description = _describe(saved, sites, path, out, predicted.folds, notes)
    description = replace(description, classes=[]) if no_predictions else description
    results.begin(out)
    files.write_json(out / results.EVALUATION, description.to_json())  # from here on the folder is known as ours
    found = _tables(saved, sites, predicted, out, network, fields, description)
    return replace(found, is_another=settings.another(), quality=measures, reference=reference.wells,
                   calibrated_by=calibrated_by, sha256=saved.sha256,
                   keep_known=known_profiles.run_folder(path) if is_whole(settings, saved, sites) else None)


def is_whole(settings: EvaluationSettings, saved: Checkpoint, sites: load_run.EvaluationSites) -> bool:
    """Return whether the sites are all of the training's own table: none lacks its images, none is left out as learnt."""
    return not settings.another() and len(sites.table) == len(saved.split.sides)


def _why_unpredictable(saved: Checkpoint, sites: load_run.EvaluationSites) -> str:
    """Return why a label-free network can predict no mechanism, or "" where it, or another network, can."""
    known = saved.split.trained["mechanisms"]
    if not load_run.is_label_free(saved):
        return ""
    if not saved.resume.has_lda_head:
        return (f"label-free, and without a read-out of mechanisms yet, at step {saved.step} of {saved.total_steps}: "
                "finish the training by --resume auto, or train with --head chosen")
    if len(known) < 2:
        return f"{counted(len(known), 'mechanism')} known, and a prediction needs two"
    if sites.over_compounds:
        labelled = sites.table.labelled()
        pairs = labelled.frame.loc[~labelled.is_control(), ["compound", "mechanism"]].drop_duplicates()
        for compound in pairs["compound"]:
            if labelled.frame.loc[labelled.frame["compound"] != compound, "mechanism"].nunique() < 2:
                return f"without {compound} fewer than two mechanisms are known, and a prediction needs two"
    return ""


def _calibrated_by(saved: Checkpoint, path: Path) -> TreatmentConfidence:
    """Return what calibrates treatments of another screen, as the run's own evaluation found it."""
    if saved.readout is not None:
        return TreatmentConfidence("read-out", checkpoint=saved.sha256)
    if saved.split.leaks or saved.split.meaning:
        return TreatmentConfidence("none", checkpoint=saved.sha256, note=LEARNT)
    own = known_profiles.run_folder(path) / "evaluation"
    try:
        found = results.read_scores(own).confidence if (own / results.SCORES).exists() else None
    except DataError as problem:
        log.warning("confidence is not calibrated: %s", str(problem).splitlines()[0])
        found = None
    if found is not None and found.checkpoint == saved.sha256:
        return found
    return TreatmentConfidence("none", checkpoint=saved.sha256, note="confidence is calibrated by the run's own held-out "
                               f"treatments, and {own} holds no evaluation of this checkpoint: evaluate the run first")


def _tables(saved: Checkpoint, sites: load_run.EvaluationSites, found: Predictions, out: Path, network: MCNN,
            fields: FieldReader, description: EvaluationDescription) -> Evaluation:
    """Return the predictions of the scored sites, and features and statistics of all, as tables."""
    is_scored, readout = sites.is_scored, found.readout
    is_new = ~is_scored & ~sites.table.is_control() & ~sites.table.is_labelled()

    def predictions(probabilities_SK: np.ndarray, chosen_S: np.ndarray = is_scored) -> pd.DataFrame:
        of_table = aggregate.assay_predictions if load_run.is_of_assays(saved) else aggregate.field_predictions
        if description.classes == []:
            probabilities_SK = probabilities_SK[:, :0]
        return of_table(sites.table.select(chosen_S), probabilities_SK[chosen_S], description.classes or [])

    statistics = None if found.statistics is None else pd.concat(
        [aggregate.metadata(sites.table), found.statistics], axis=1).assign(Metadata_Scored=is_scored)
    return Evaluation(
        out=out, network=network, fields=fields, scored=np.flatnonzero(is_scored),
        predictions=predictions(found.probabilities_SK), new=np.flatnonzero(is_new),
        new_predictions=predictions(found.probabilities_SK, is_new), statistics=statistics,
        profiles=aggregate.field_profiles(sites.table, found.features_SF).assign(Metadata_Scored=is_scored),
        candidates={name: predictions(of_SK) for name, of_SK in readout.candidates.items()} if readout else {},
        readout=readout_scores.merge([readout_scores.describe(choice) for choice in readout.choices]) if readout else None,
        left_out=None if found.left_out_SK is None else predictions(found.left_out_SK), description=description)


def _hold(out: Path) -> None:
    """Lock the folder of the results. Raises UsageError where it holds files of others with the names of ours."""
    results.require_own(out)
    files.hold_folder(out)


def write(evaluation: Evaluation) -> None:
    """Score the predictions, and write them at every level; scores.json comes last."""
    results.write(evaluation.predictions, evaluation.description, evaluation.out, evaluation.readout,
                  evaluation.candidates, evaluation.left_out, calibrated_by=evaluation.calibrated_by,
                  checkpoint_sha256=evaluation.sha256)


def write_profiles(evaluation: Evaluation) -> None:
    """Write the network's activations of all sites, and statistics that a read-out reads, each whole or not at all."""
    for table, name in ((evaluation.profiles, results.PROFILES), (evaluation.statistics, results.STATISTICS)):
        if table is not None:
            with files.write_atomically(evaluation.out / name) as partial:
                table.to_parquet(partial, index=False)


def write_quality(evaluation: Evaluation) -> None:
    """Write the quality of all sites, where it was measured."""
    if evaluation.quality is not None:
        quality_file.write(evaluation.fields.table, evaluation.quality, evaluation.out)


def write_anndata(profiles: pd.DataFrame, out: Path) -> None:
    """Write the network's activations of all sites as an AnnData file, whole or not at all."""
    with files.write_atomically(out / results.ANNDATA) as partial:
        h5ad_writer.write(profiles, partial)


def score_profiles(evaluation: Evaluation) -> Evidence:
    """Write what the profiles say of the screen, and their lists; return what they say of each treatment."""
    description = evaluation.description
    return profile_scores.write(
        evaluation.profiles, evaluation.statistics, description.control, evaluation.out,
        aggregate_wells=description.aggregate_wells, aggregate_treatments=description.aggregate_treatments,
        seed=description.seed, reference=evaluation.reference)


def keep_known(evaluation: Evaluation) -> None:
    """Keep the profiles of known compounds beside the checkpoint, where these are those of the whole training."""
    if evaluation.keep_known is None:
        return
    try:
        wells = known_profiles.of_fields(evaluation.profiles, evaluation.description.control,
                                         evaluation.description.aggregate_wells)
    except DataError as problem:  # as of a screen without a known mechanism
        log.info("no profiles of known compounds are kept: %s", str(problem).splitlines()[0])
        return
    known_reference.keep(wells, evaluation.sha256, evaluation.keep_known)


def write_decisions(evaluation: Evaluation, evidence: Evidence) -> str:
    """Write all that decides on a treatment, a row each; return a summary."""
    description, out = evaluation.description, evaluation.out
    _, predictions = evaluation.decided()
    treatments = aggregate.aggregate(predictions, description.control, well_rule=description.aggregate_wells,
                                     treatment_rule=description.aggregate_treatments)["treatments"]
    confidence_T = confidence.of_treatments(treatments, results.read_scores(out).confidence,
                                            is_fitted_here=evaluation.calibrated_by is None)
    decided = decisions.table(treatments, predictions, confidence_T, _fitted_to(evaluation), evidence,
                              quality_file.read(out))
    decisions.write(decided, out)
    return decisions.summary(decided, evidence)


def _fitted_to(evaluation: Evaluation) -> list[str]:
    """Return the compounds that what predicts was fitted to: nothing is fitted to one without a known mechanism."""
    trained = decisions.trained_compounds(evaluation.description)
    if evaluation.is_another:
        return trained
    return sorted(identity.in_common(trained, evaluation.fields.table.labelled().frame["compound"]))


def _predict(settings: EvaluationSettings, saved: Checkpoint, sites: load_run.EvaluationSites, network: MCNN,
             fields: FieldReader, ranks: world.World, plan: core_plan.Plan) -> Predictions:
    """Return what the checkpoint computes of all sites; show the progress."""
    num_sites = len(fields.table)
    heartbeat.set_time_limit(settings.step_timeout, "--step-timeout")
    with progress(num_sites, "predicting", ranks.rank, unit="field") as bar:
        return predict_run(
            saved, network, fields, ranks, microbatch=settings.microbatch, source=settings.checkpoint,
            over_compounds=sites.over_compounds, measure_plates=settings.another(),
            loader_thread_init=core_binding.loader_binding(plan, settings),
            advance=lambda sites: bar.advance(min(sites * ranks.size, num_sites - bar.done)),
            shown=partial(progress, rank=ranks.rank))


def _describe(saved: Checkpoint, sites: load_run.EvaluationSites, path: Path, out: Path, folds: list[splits.SplitRecord],
              notes: list[str]) -> EvaluationDescription:
    scored, asked = sites.scored(), config.from_flat(saved.settings)
    return EvaluationDescription(
        checkpoint=str(path), step=saved.step, compounds=splits.treated_compounds(scored), control=scored.control,
        channels=saved.channels, classes=saved.classes, notes=notes, aggregate_wells=asked.aggregation.aggregate_wells,
        aggregate_treatments=asked.aggregation.aggregate_treatments, tta=asked.aggregation.tta,
        head=asked.aggregation.head, seed=asked.run.seed, split=replace(saved.split, sides=[]),
        environment=machine.environment(), unit=_unit(saved, sites),
        left_out=sites.table.left_out.summary() if sites.table.left_out else None,
        folds=[FoldDescription(str(out), str(path), record) for record in folds] or None)


def _unit(saved: Checkpoint, sites: load_run.EvaluationSites) -> str:
    """Return the unit of the concentrations of the sites: their own, else that of the training."""
    return sites.table.unit or config.from_flat(saved.settings).data.concentration_unit or MICROMOLAR
