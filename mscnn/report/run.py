"""All that the report shows of a run directory, of a folder of folds, or of an evaluation of another table."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mscnn.core import config, run_directory
from mscnn.core.errors import DataError
from mscnn.core.record_files import read_json, read_json_lines
from mscnn.core.records import Count, NonNegative, Record, Share
from mscnn.data.tables.splits import SplitRecord
from mscnn.evaluation import decisions, prediction_table, profile_scores, quality_file, results
from mscnn.evaluation.profile_scores import ProfileScores
from mscnn.evaluation.readout_scores import EvaluationScores
from mscnn.evaluation.results import EvaluationDescription
from mscnn.evaluation.run_folders import evaluations_of, scores_folder, trainings_of
from mscnn.evaluation.scoring import LEVELS, BaselineResult, BaselineResults, LevelScores
from mscnn.profiling.retrieval import RetrievalComparison

Kind = Literal["right", "wrong", "new", "nearest right", "control"]  # of an example
OPTIONAL = "copy it again from where the run trained, or remove it: the report leaves that part out"


@dataclass(frozen=True)
class ExampleFiles(Record):
    """Names of the pictures of an example, in its folder."""

    field: str           # in colour
    channels: list[str]  # attribution to each channel; [] of a picture alone
    scales: list[str]    # attribution to each scale of the network; likewise


@dataclass(frozen=True)
class Example(Record):
    """A field of a treatment, and the mechanism that was predicted for the treatment: an entry of gallery.json.

    "nearest right": a treatment of a wrong one's true mechanism, or of the mechanism that was predicted, which is rightly
    predicted, or which the network was trained on.  It and a control stand beside a wrong or a new one.
    """

    compound: str
    concentration: float | None  # None where not given
    mechanism: str               # "" where not known
    predicted: str               # mechanism; "" where none was predicted
    probability: Share | None    # of the predicted mechanism, for the field; None likewise
    plate: str
    well: str
    site: str
    channel_shares: list[Share]  # of absolute attribution; they add up to 1; [] of a picture alone
    scale_shares: list[Share]
    files: ExampleFiles
    kind: Kind | None = None     # None: right or wrong, in files of earlier versions
    pair: Count | None = None    # number of the example that it stands beside


@dataclass(frozen=True)
class Summary(Record):
    """The end of a training: summary.json."""

    fields: Count                   # trained on, each epoch counted
    seconds: NonNegative
    images_per_second: NonNegative
    peak_memory_gib: NonNegative    # of a process


@dataclass(frozen=True)
class MetricsLine(Record):
    """A line of metrics.jsonl, as far as a report shows it."""

    kind: str                      # logs.TRAIN or logs.HELD_OUT
    step: Count                    # optimiser steps so far
    epoch: NonNegative | None = None
    loss: float | None = None      # mean since the line before; None where it was not finite


@dataclass(frozen=True)
class Fold:
    """One training."""

    name: str                    # of the run directory
    metrics: pd.DataFrame        # a row per line of metrics.jsonl, columns as in MetricsLine
    summary: Summary | None      # None before the training ended
    environment: dict[str, Any]  # environment.json; {} without it


@dataclass(frozen=True)
class Run:
    """A score and what lies behind it."""

    path: Path
    evaluation: Path                         # folder with the scores
    galleries: list[Path]                    # folders of evaluations that may have pictures
    settings: dict[str, Any]                 # of the first training, by name; {} where it is not beside the evaluation
    scores: EvaluationScores
    description: EvaluationDescription
    tables: dict[str, pd.DataFrame]          # {level: predictions}
    baselines: dict[str, BaselineResult]     # by name; {} where they were not run
    retrieval: RetrievalComparison | None    # None where baselines were not run, or nothing can be compared
    folds: list[Fold]
    gallery: list[tuple[Path, Example]]      # folder and example
    profiles: Path | None                    # features of one network; None where there are several
    profile_scores: ProfileScores | None     # what they say of the screen; None where they were not scored
    lists: dict[str, pd.DataFrame]           # hits, nearest known compounds, clusters, by file name
    decisions: pd.DataFrame | None           # as decisions.read returns them; None where they were not written
    quality: pd.DataFrame | None             # of the fields of all folds, as quality_file.read returns it; None likewise

    def is_folds(self) -> bool:
        """Return whether several trainings were scored as one."""
        return not self.description.is_one_network

    def splits(self) -> list[SplitRecord]:
        """Return the split of each training."""
        return self.description.splits()


def read(path: Path) -> Run:
    """Read a run directory, a folder of folds, or the folder of an evaluation (`evaluate.py --out`).

    Raises DataError naming what is missing, and what writes it.
    """
    scores, trainings, evaluations = _folders(path)
    description, of_levels = results.read_description(scores), results.read_scores(scores)
    tables = {level: results.read_table(scores, level) for level in LEVELS}
    prediction_table.require_scores(tables, of_levels, description.control, scores)
    for each in (of_levels, *(of_levels.readout.scored().values() if of_levels.readout else ())):
        _require_intervals(each, scores / results.SCORES, results.REMEDY)
    baselines = _baselines(scores / results.BASELINES)
    of_profiles, lists = profile_scores.read(scores, results.REMEDY)
    return Run(path=path, evaluation=scores, galleries=evaluations,
               settings=config.from_flat(run_directory.read_settings(trainings[0])).flat() if trainings else {},
               scores=of_levels, description=description, tables=tables,
               baselines=baselines.baselines, retrieval=baselines.retrieval,
               folds=[_fold(folder) for folder in trainings],
               profiles=scores / results.PROFILES if (scores / results.PROFILES).exists() else None,
               profile_scores=of_profiles, lists=lists, decisions=decisions.read(scores),
               quality=quality_file.read_all(evaluations),
               gallery=[example for folder in evaluations
                        for example in _gallery(folder / results.GALLERY, description)])


def _folders(path: Path) -> tuple[Path, list[Path], list[Path]]:
    """Return the folder with the scores, run directories that were trained, and folders of evaluations with galleries.

    An evaluation by itself has the run directory that it lies in, where that was evaluated, and else none.
    """
    if not (path / results.SCORES).exists():
        return scores_folder(path), trainings_of(path), evaluations_of(path)
    checkpoint = results.read_description(path).checkpoint
    run = path.absolute().parent
    is_of_run = checkpoint is not None and Path(checkpoint).absolute().is_relative_to(run)
    return path, [run] if is_of_run and (run / "config.yaml").exists() else [], [path]


def read_metrics(path: Path) -> pd.DataFrame:
    """Read metrics.jsonl: a row per line, columns as in MetricsLine. Raises DataError naming the line that does not fit."""
    lines = read_json_lines(path, MetricsLine, "train again, or remove the file") if path.exists() else []
    names = [field.name for field in dataclasses.fields(MetricsLine)]
    table = pd.DataFrame([[getattr(line, name) for name in names] for line in lines], columns=names)
    return table.astype({"epoch": float, "loss": float})


def _baselines(path: Path) -> BaselineResults:
    """Return baselines.json; no baselines without it. Raises DataError."""
    remedy = "run `mscnn baselines` again, or remove it"
    found = read_json(path, BaselineResults, remedy) if path.exists() else BaselineResults(0, {})
    for result in found.baselines.values():
        for scores in (result.held_out, result.random):
            if scores:
                _require_intervals(scores, path, remedy)
    return found


def _require_intervals(scores: LevelScores, path: Path, remedy: str) -> None:
    """Raise DataError for scores without what a report shows beside them."""
    for level, score in scores.by_level().items():
        if score.total and (score.interval is None or score.permuted is None):
            raise DataError(f"{path}: the score of {level} lacks its interval, or its permuted labels; {remedy}")


def _fold(folder: Path) -> Fold:
    summary, environment = folder / run_directory.SUMMARY, folder / "environment.json"
    return Fold(folder.name, read_metrics(folder / "metrics.jsonl"),
                read_json(summary, Summary, OPTIONAL) if summary.exists() else None,
                read_json(environment, dict[str, Any], OPTIONAL) if environment.exists() else {})


def _gallery(listing: Path, description: EvaluationDescription) -> list[tuple[Path, Example]]:
    """Return the examples of an evaluation with their folder; none without a gallery. Raises DataError."""
    examples = read_json(listing, list[Example], results.REMEDY) if listing.exists() else []
    for number, example in enumerate(examples):
        if example.pair is not None and example.pair >= len(examples):
            raise DataError(f"{listing}: [{number}] stands beside [{example.pair}], and there are {len(examples)}; "
                            f"{results.REMEDY}")
        if not (example.channel_shares or example.scale_shares or example.files.channels or example.files.scales):
            continue  # a picture alone
        for what, one, other in (("channels", example.channel_shares, description.channels),
                                 ("pictures of channels", example.files.channels, description.channels),
                                 ("pictures of scales", example.files.scales, example.scale_shares)):
            if len(one) != len(other):
                raise DataError(f"{listing}: [{number}] has {len(one)} {what}, not {len(other)}; {results.REMEDY}")
    return [(listing.parent, example) for example in examples]
