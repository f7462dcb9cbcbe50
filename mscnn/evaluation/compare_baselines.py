"""Score baselines on the folds of a run, exactly as its network is scored.   mscnn baselines RUN

A run is a run directory of train.py, or a folder of folds (`mscnn loco`, slurm/loco.sh).
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mscnn.core import config, files, foreign_table, run_directory
from mscnn.core.errors import DataError, UsageError
from mscnn.core.logs import log, progress, working
from mscnn.data.pixels import handcrafted
from mscnn.data.pixels.dataset_scale import DatasetScale
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.tables import sides, splits
from mscnn.data.tables.site_table import SiteTable
from mscnn.distributed import world
from mscnn.evaluation import aggregate, baselines, control_scores, load_run, results, scoring
from mscnn.evaluation.control_scores import ControlAccuracy
from mscnn.evaluation.results import BASELINES, EvaluationDescription
from mscnn.evaluation.run_folders import evaluations_of, scores_folder, trainings_of
from mscnn.evaluation.scoring import BaselineResult, BaselineResults, BaselineScores, Score
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration
from mscnn.profiling import h5ad, h5ad_writer, profile_table, retrieval
from mscnn.profiling.profile_table import ProfileTable
from mscnn.profiling.retrieval import RetrievalComparison
from mscnn.training import prepare_data
from mscnn.training.inference import predict
from mscnn.training.statistics import measure

FEATURES = "features.parquet"
KEYS = ("Metadata_Plate", "Metadata_Well", "Metadata_Site")
DRAWS = 1000  # of compounds and of labels, for each baseline
NOT_SCORED = BaselineScores(*(Score(0, 0) for _ in scoring.LEVELS), compounds_fields={})  # one mechanism: nothing to tell


def score_baselines(run: Path, *, features: Path | None, nuclei: str | None, workers: int, microbatch: int,
                    moved: str | None = None, image_root: str | None = None,
                    follow_links: str | None = None) -> BaselineResults:
    """Score all baselines on the run's folds, and on random folds; write baselines.json beside the run's scores.

    features: file that `mscnn features` wrote for the run's table; None: measure them, into RUN/features.parquet.
    nuclei: channel that shows nuclei.  workers: processes that measure.  microbatch: fields that the untrained network
    computes at once.  moved, image_root, follow_links: where table and images are now, and where links may lead.
    """
    trainings = trainings_of(run)
    settings = config.from_flat(run_directory.read_settings(trainings[0]))
    data = dataclasses.replace(settings.data.at(moved, image_root, follow_links), leave_out=None)
    settings = dataclasses.replace(settings, data=data)
    if settings.data.assays:
        raise UsageError(f"{run} has learnt assays, and baselines predict mechanisms; name a run of mechanisms")
    _require_table(data, trainings[0])
    sites = prepare_data.load_sites(data, needs_labels=not settings.objective.is_label_free,
                                    left_out=splits.read_left_out(trainings[0]))
    folds = _folds(trainings, results.read_description(scores_folder(run)), sites)
    table = prepare_data.with_shape(sites.labelled(), settings.data.size(), world.World())
    measured = baselines.align(table, _features(run, table, features, nuclei, workers))
    screen = baselines.Screen(table, measured, _statistics(table, settings, microbatch),
                              _untrained(table, settings, microbatch))
    tested = np.concatenate([test for _, test in folds])
    if not len(tested):
        raise UsageError(f"{run} holds nothing out, so that there is nothing to compare")
    is_control, mechanisms = table.is_control(), table.frame["mechanism"]
    if is_one_effect := mechanisms[~is_control].nunique() < 2:
        log.info("treated wells have one mechanism, of which every guess is right: baselines are asked to tell it from the "
                 "control alone")
    treated_folds = [] if is_one_effect else [(train, test[~is_control[test]]) for train, test in folds]
    at_random = [] if is_one_effect else _random_folds(table, tested[~is_control[tested]])
    of_controls = folds if is_control[tested].any() else []
    with working("retrieval of the held-out treatments"):
        found = BaselineResults(len(folds), {}, _retrieval(run, screen, tested[~is_control[tested]], settings))
    names = baselines.available(screen)
    steps = len(names) * sum(map(len, (treated_folds, at_random, of_controls)))
    with progress(steps, "baselines", unit="fold") as bar:
        for name in names:
            held_out = _score(name, screen, treated_folds, settings, bar.advance) if treated_folds else NOT_SCORED
            random = _score(name, screen, at_random, settings, bar.advance) if at_random else None
            controls = _score_controls(name, screen, of_controls, settings, bar.advance) if of_controls else None
            found.baselines[name] = BaselineResult("shortcut" if name in baselines.SHORTCUTS else "real", held_out, random,
                                                   controls)
            log.info("%-26s %s", name, _told(found.baselines[name]))
    for line in retrieval.lines(found.retrieval):
        log.info("%s", line)
    out = scores_folder(run) / BASELINES
    files.write_json(out, found.to_json())
    log.info("baselines: %s", out)
    return found


def _require_table(data: config.Data, training: Path) -> None:
    """Raise DataError where the table or folder that a training names is not there, as seen from this folder."""
    place = Path(next(filter(None, (getattr(data, name) for name in config.SCREENS))))
    if not place.exists():
        raise DataError(f"{place}: the training in {training} names its table so, and it is not there; say with --data "
                        "where it is now, or start from the folder in which the training was started")


def _told(result: BaselineResult) -> str:
    """Return the counts of a baseline on one line."""
    counts = ", ".join(f"{split} {scores.fields.correct}/{scores.fields.total}"
                       for split, scores in (("held out", result.held_out), ("random", result.random))
                       if scores and scores.fields.total)
    parts = [f"{counts} fields right"] if counts else []
    if result.controls:
        control, effects = result.controls.control, result.controls.effects
        parts.append(f"control from effect {100 * result.controls.balanced:.0f} % (chance 50 %; wells: control "
                     f"{control.count}/{control.total}, effects {effects.count}/{effects.total})")
    return "; ".join(parts) or "nothing to tell apart"


def _random_folds(table: SiteTable, held_out: np.ndarray) -> list[baselines.Fold]:
    try:
        return list(baselines.random_folds(table.frame["mechanism"].to_numpy(), held_out))
    except DataError as problem:
        log.warning("no random split to compare with: %s", problem)
        return []


def _folds(trainings: list[Path], description: EvaluationDescription, sites: SiteTable) -> list[baselines.Fold]:
    """Return the sides of each fold as positions among the labelled sites.

    One network of several folds has seen all sites; its folds are those of its read-outs, a compound each.
    Raises DataError for other sides than its network was scored on.
    """
    records, is_labelled = description.splits(), (sites.frame["mechanism"] != "").to_numpy()
    if description.is_one_network and description.folds is not None:
        of_folds = [np.where(sides.is_among(sites, "compound", record.held_out), splits.TEST, splits.TRAIN)
                 for record in records]
    else:
        of_folds = [_sides(training / "split.csv", sites, record)
                 for training, record in zip(trainings, records, strict=True)]
    return [(np.flatnonzero(side[is_labelled] == splits.TRAIN), np.flatnonzero(side[is_labelled] == splits.TEST))
            for side in of_folds]


def _sides(path: Path, table: SiteTable, record: splits.SplitRecord) -> np.ndarray:
    """Return the sides of a training's split.csv. Raises DataError for others than its network was scored on."""
    side = splits.read_sides(path, table)
    if splits.to_record(splits.Split(record.method, side, tuple(record.held_out)), table).sha256 != record.sha256:
        raise DataError(f"{path}: is not the split that the network was scored on (its SHA-256 differs); copy it again "
                        "from where the run trained")
    return side


def _retrieval(run: Path, screen: baselines.Screen, held_out: np.ndarray,
               settings: config.Config) -> RetrievalComparison | None:
    """Return how tables without training, and the network's profiles, find the held-out treatments; None where none can."""
    is_scored = np.isin(np.arange(len(screen.table)), held_out)
    metadata = aggregate.metadata(screen.table).assign(**{profile_table.SCORED: is_scored})
    try:
        tables = {name: profile_table.from_frame(pd.concat([metadata, features], axis=1), name)
                  for name, features in baselines.tables(screen).items()}
        network, note = _network_profiles(run, tables[baselines.HANDCRAFTED], is_seen=settings.objective.transductive)
        return retrieval.compare(tables, network, note=note, control=screen.table.control,
                                 aggregate_wells=settings.aggregation.aggregate_wells,
                                 aggregate_treatments=settings.aggregation.aggregate_treatments, seed=settings.run.seed)
    except DataError as problem:
        log.warning("treatments are not compared by retrieval: %s", problem)
        return None


def _network_profiles(run: Path, fields: ProfileTable, *, is_seen: bool) -> tuple[list[ProfileTable], str]:
    """Return the network's profiles of all labelled fields, a table a fold, and a note; [] and why where some lack.

    is_seen: the network has seen the held-out fields, without their mechanisms.
    """
    own = scores_folder(run) / results.PROFILES
    paths = [own] if own.exists() else [folder / results.PROFILES for folder in evaluations_of(run)]
    why = (f"profiles of {len(paths)} networks cannot be compared with each other; evaluated with --profiles all, each "
           "network finds the treatments that it did not see" if len(paths) > 1 else
           "the network's profiles of all treatments are not there; evaluate it with --profiles all")
    network = [profile_table.read(path) for path in paths if path.exists()]
    is_known = [(table.metadata["Metadata_MOA"] != "").to_numpy() for table in network]
    if len(network) < len(paths) or any(known.sum() < len(fields.metadata) for known in is_known):
        return [], why
    network = [table.select(known) for table, known in zip(network, is_known, strict=True)]
    notes = [f"each treatment by the network of its fold, of {len(network)}"] if len(network) > 1 else []
    return network, "; ".join([*notes, *([load_run.SEEN] if is_seen else [])])


def _features(run: Path, table: SiteTable, given: Path | None, nuclei: str | None, workers: int) -> pd.DataFrame:
    """Return the features: as given, as measured before, or measured now."""
    path = given or run / FEATURES
    if given and nuclei:
        raise UsageError(f"--nuclei {nuclei} is for features that are measured, and --features {given} are read; drop one")
    if given and not given.is_file():
        raise UsageError(f"--features {given} is not there; leave it out, and the features are measured")
    if nuclei or not path.exists():
        number = handcrafted.nuclei_channel(table.channels, nuclei)
        with progress(len(table), "measuring", unit="field") as bar:
            measured = handcrafted.of_sites(table, nuclei=number, workers=workers, advance=bar.advance)
        with files.write_atomically(path) as partial:
            pd.concat([aggregate.metadata(table), measured], axis=1).to_parquet(partial, index=False)
    read = h5ad.read if path.suffix == h5ad_writer.SUFFIX else foreign_table.read_parquet
    features = read(path, "name a file that `mscnn features` wrote, or remove it to measure anew")
    features.require(*KEYS)
    measured = [name for name in features.columns if name.startswith(handcrafted.PREFIX)]
    return pd.DataFrame({**{name: features.text(name) for name in KEYS},
                         **{name: features.finite(name) for name in measured}})


def _statistics(table: SiteTable, settings: config.Config, microbatch: int) -> np.ndarray:
    """Return pixel statistics (S, D) float64 of each field, scaled by itself."""
    fields = FieldReader(table, DatasetScale("field", (), ()), settings.data.size())
    with progress(len(table), "pixel statistics", unit="field") as bar:
        return measure(fields, np.arange(len(table)), microbatch=microbatch, world=world.World(), advance=bar.advance)


def _untrained(table: SiteTable, settings: config.Config, microbatch: int) -> np.ndarray:
    """Return features (S, 512) of the network that training starts from.

    Each field is scaled by itself, so that no statistic of the test side enters.
    """
    torch.manual_seed(settings.run.seed)
    acceleration = Acceleration()
    network = acceleration.prepare(MCNN(len(table.mechanisms()), *table.shape, head_relu=settings.network.head_relu,
                                          pooling=settings.network.pooling, downscale=settings.network.downscale))
    fields = FieldReader(table, DatasetScale("field", (), ()), settings.data.size())
    with progress(len(table), "the untrained network", unit="field") as bar:
        return predict(network, fields, np.arange(len(table)), microbatch=microbatch, world=world.World(),
                       acceleration=acceleration, advance=bar.advance)[1]


def _score_controls(name: str, screen: baselines.Screen, folds: list[baselines.Fold], settings: config.Config,
                    advance: Callable[[int], object]) -> ControlAccuracy | None:
    """Return how many held-out control and treated wells a baseline puts on the right side; None without either."""
    classes, control = screen.table.mechanisms(), screen.table.control
    positions, probabilities_SK = baselines.over_folds(name, screen, folds, classes, with_control=True, advance=advance)
    fields = aggregate.field_predictions(screen.table.select(positions), probabilities_SK, classes)
    tables = aggregate.aggregate(fields, control, well_rule=settings.aggregation.aggregate_wells,
                                 treatment_rule=settings.aggregation.aggregate_treatments)
    return control_scores.accuracy(tables["wells"], control)


def _score(name: str, screen: baselines.Screen, folds: list[baselines.Fold], settings: config.Config,
           advance: Callable[[int], object]) -> BaselineScores:
    classes = screen.table.mechanisms()
    positions, probabilities_SK = baselines.over_folds(name, screen, folds, classes, advance=advance)
    fields = aggregate.field_predictions(screen.table.select(positions), probabilities_SK, classes)
    tables = aggregate.aggregate(fields, screen.table.control, well_rule=settings.aggregation.aggregate_wells,
                                 treatment_rule=settings.aggregation.aggregate_treatments)
    scores = scoring.scores(tables, screen.table.control, draws=DRAWS, permutations=DRAWS, seed=settings.run.seed)
    return BaselineScores(**scores, compounds_fields=scoring.by_compound(fields, screen.table.control),
                          compounds_treatments=scoring.by_compound(tables["treatments"], screen.table.control))
