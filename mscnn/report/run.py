"""All that the report shows of a run directory, or of a folder of folds."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mscnn.core import config, run_directory
from mscnn.core.errors import DataError
from mscnn.core.records import Record
from mscnn.data.tables.splits import SplitRecord
from mscnn.evaluation import results
from mscnn.evaluation.results import EvaluationDescription
from mscnn.evaluation.run_folders import scores_folder, trainings_of
from mscnn.evaluation.scoring import LEVELS, BaselineResult, BaselineResults, LevelScores


@dataclass(frozen=True)
class ExampleFiles(Record):
    """Names of the pictures of an example, in its folder."""

    field: str           # in colour
    channels: list[str]  # attribution to each channel
    scales: list[str]    # attribution to each scale of the network


@dataclass(frozen=True)
class Example(Record):
    """A field of a treatment, and the mechanism that was predicted for the treatment: an entry of gallery.json."""

    compound: str
    concentration: float | None  # None where not given
    mechanism: str
    predicted: str               # mechanism
    probability: float           # of the predicted mechanism, for the field
    plate: str
    well: str
    site: str
    channel_shares: list[float]  # of absolute attribution; they add up to 1
    scale_shares: list[float]
    files: ExampleFiles


@dataclass(frozen=True)
class Summary(Record):
    """The end of a training: summary.json."""

    fields: int               # trained on, each epoch counted
    seconds: float
    images_per_second: float
    peak_memory_gib: float    # of a process


@dataclass(frozen=True)
class Fold:
    """One training."""

    name: str                    # of the run directory
    metrics: pd.DataFrame        # a row per line of metrics.jsonl
    summary: Summary | None      # None before the training ended
    environment: dict[str, Any]  # environment.json; {} without it


@dataclass(frozen=True)
class Run:
    """A score and what lies behind it."""

    path: Path
    settings: dict[str, Any]                 # of the first training, by name
    scores: LevelScores
    description: EvaluationDescription
    tables: dict[str, pd.DataFrame]          # {level: predictions}
    baselines: dict[str, BaselineResult]     # by name; {} where they were not run
    folds: list[Fold]
    gallery: list[tuple[Path, Example]]      # folder and example
    profiles: Path | None                    # features of one network; None where there are several

    def is_folds(self) -> bool:
        """Return whether several trainings were scored as one."""
        return self.description.folds is not None

    def splits(self) -> list[SplitRecord]:
        """Return the split of each training."""
        return self.description.splits()


def read(path: Path) -> Run:
    """Read a run directory, or a folder of folds. Raises DataError naming what is missing, and what writes it."""
    scores, trainings = scores_folder(path), trainings_of(path)
    description, baselines = results.read_description(scores), scores / results.BASELINES
    folds = description.folds or []
    evaluations = [path / "evaluation" / Path(fold.folder).name for fold in folds] or [scores]
    return Run(path=path, settings=config.from_flat(run_directory.read_settings(trainings[0])).flat(),
               scores=results.read_scores(scores), description=description,
               tables={level: results.read_table(scores, level) for level in LEVELS},
               baselines=results.read_json(baselines, BaselineResults.from_json).baselines if baselines.exists() else {},
               folds=[_fold(folder) for folder in trainings],
               profiles=scores / results.PROFILES if (scores / results.PROFILES).exists() else None,
               gallery=[(listing.parent, example) for folder in evaluations
                        if (listing := folder / results.GALLERY).exists()
                        for example in results.read_json(listing, _examples)])


def _fold(folder: Path) -> Fold:
    summary, environment = folder / run_directory.SUMMARY, folder / "environment.json"
    return Fold(folder.name, _metrics(folder / "metrics.jsonl"),
                results.read_json(summary, Summary.from_json) if summary.exists() else None,
                results.read_json(environment, dict) if environment.exists() else {})


def _metrics(path: Path) -> pd.DataFrame:
    lines = path.read_text().splitlines() if path.exists() else []
    try:
        return pd.DataFrame([json.loads(line) for line in lines])
    except ValueError as problem:
        raise DataError(f"{path}: cannot be read ({problem}); train again, or remove the file") from None


def _examples(content: Any) -> list[Example]:
    if not isinstance(content, list):
        raise ValueError("it is not a list")
    return [Example.from_json(entry) for entry in content]
