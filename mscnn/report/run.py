"""What a run directory, or a folder of folds, holds for a reader: all that the report shows."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mscnn.core import config, csv_safe, run_directory
from mscnn.core.errors import DataError
from mscnn.evaluation import results

LEVELS = ("fields", "wells", "treatments", "compounds")


@dataclass(frozen=True)
class Fold:
    """One training. metrics: the lines of metrics.jsonl; summary, environment: as written, {} where they are not."""

    name: str
    metrics: pd.DataFrame
    summary: dict[str, Any]
    environment: dict[str, Any]
    split: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One score and what lies behind it.

    tables: a row a field, well, treatment, compound; baselines: as comparison.py writes them, {} where they were not run;
    gallery: examples, each with "folder"; profiles: the file of one network's features, None where there are several.
    """

    path: Path
    settings: dict[str, Any]
    scores: dict[str, Any]
    described: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    baselines: dict[str, Any]
    folds: list[Fold]
    gallery: list[dict[str, Any]]
    profiles: Path | None

    def is_folds(self) -> bool:
        """Whether several trainings were scored as one."""
        return "folds" in self.described

    def splits(self) -> list[dict[str, Any]]:
        """Who was held out of each training."""
        return [fold["split"] for fold in self.described["folds"]] if self.is_folds() else [self.described["split"]]

    def channels(self) -> list[str]:
        """Names of the channels, in the network's order."""
        return self.described["channels"]

    def leaks(self) -> str:
        """Why the score flatters, or ""."""
        return next((split["leaks"] for split in self.splits() if split["leaks"]), "")


def scores_folder(path: Path) -> Path:
    """Where the scores of a run are, or those of all folds together. Raises DataError naming what writes them."""
    found = next((folder for folder in (path / "scores", path / "evaluation") if (folder / results.SCORES).exists()), None)
    if found is None:
        raise DataError(f"{path}: neither evaluation/{results.SCORES} nor scores/{results.SCORES} is there; evaluate it "
                        "with evaluate.py, or finish its folds with `python -m mscnn loco`")
    return found


def trainings(path: Path) -> list[Path]:
    """The run directories whose networks were scored: the folds, or the run itself."""
    scores = scores_folder(path)
    folds = _json(scores / results.EVALUATION).get("folds", [])
    return [path / Path(fold["checkpoint"]).parent.parent.name for fold in folds] if scores.name == "scores" else [path]


def read(path: Path) -> Run:
    """Raises DataError naming what is missing, and what writes it."""
    scores, folders = scores_folder(path), trainings(path)
    described, baselines = _json(scores / results.EVALUATION), scores / results.BASELINES
    evaluations = [path / "evaluation" / Path(fold["folder"]).name for fold in described.get("folds", [])] or [scores]
    tables = {level: _text_table(scores / f"{level}.csv") for level in LEVELS[1:]}
    return Run(path=path, settings=config.from_flat(run_directory.read_settings(folders[0])).flat(),
               scores=_json(scores / results.SCORES), described=described,
               tables={"fields": pd.read_parquet(scores / results.FIELDS), **tables},
               baselines=_json(baselines)["baselines"] if baselines.exists() else {},
               folds=[_fold(folder) for folder in folders],
               profiles=scores / results.PROFILES if (scores / results.PROFILES).exists() else None,
               gallery=[entry | {"folder": folder / "gallery"} for folder in evaluations
                        if (folder / "gallery" / "gallery.json").exists()
                        for entry in _json(folder / "gallery" / "gallery.json")])


def _fold(folder: Path) -> Fold:
    def optional(name: str) -> dict[str, Any]:
        return _json(folder / name) if (folder / name).exists() else {}

    metrics = folder / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return Fold(folder.name, pd.DataFrame([json.loads(line) for line in lines]), optional(run_directory.SUMMARY),
                optional("environment.json"), optional("split.json"))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as problem:
        raise DataError(f"{path}: cannot be read ({problem}); evaluate the run again") from None


def _text_table(path: Path) -> pd.DataFrame:
    """A CSV of results.py: metadata as the text it is, concentrations and probabilities as numbers."""
    try:
        header = pd.read_csv(path, nrows=0)
        text = {name: str for name in header if not name.startswith("Probability_") and name != "Metadata_Concentration"}
        table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"Metadata_Concentration": [""]})
    except (OSError, ValueError) as problem:
        raise DataError(f"{path}: cannot be read ({problem}); evaluate the run again") from None
    return csv_safe.unescape_table(table)
