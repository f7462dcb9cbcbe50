"""Where a run, or a folder of folds, keeps its scores and its trainings."""

from pathlib import Path

from mscnn.core.errors import DataError
from mscnn.evaluation import results
from mscnn.evaluation.results import FoldDescription


def scores_folder(run: Path) -> Path:
    """Return the folder with the scores of a run, or of all folds together. Raises DataError where nothing was scored."""
    for folder in (run / "scores", run / "evaluation"):
        if (folder / results.SCORES).exists():
            return folder
    raise DataError(f"{run}: neither evaluation/{results.SCORES} nor scores/{results.SCORES} is there; evaluate it with "
                    "evaluate.py, or finish its folds with `mscnn loco`")


def trainings_of(run: Path) -> list[Path]:
    """Return the run directories whose networks were scored: the folds, or the run itself. Raises DataError.

    Of a folder of folds that one network serves, it is the network's.
    """
    if folds := _folds(run):
        return [run / _name(fold.checkpoint, -3, run) for fold in folds]
    scores = scores_folder(run)
    return [run / _name(str(results.read_description(scores).checkpoint), -3, run)] if scores.name == "scores" else [run]


def evaluations_of(run: Path) -> list[Path]:
    """Return the folders of the evaluations that were combined, or the one with the scores. Raises DataError."""
    return [run / "evaluation" / _name(fold.folder, -1, run) for fold in _folds(run)] or [scores_folder(run)]


def _folds(run: Path) -> list[FoldDescription]:
    """Return the folds of a run, [] for one network. Raises DataError where folder and description do not agree."""
    scores = scores_folder(run)
    description = results.read_description(scores)
    folds = description.folds
    if description.is_one_network and folds:  # with a read-out for each
        return []
    if folds == [] or (scores.name == "scores") != bool(folds):
        raise DataError(f"{scores / results.EVALUATION}: describes {len(folds or [])} folds, in a folder {scores.name}; "
                        f"{results.REMEDY}")
    return folds or []


def _name(path: str, place: int, run: Path) -> str:
    """Return one part of a path, counted from its end: the name of a folder. Raises DataError where it is none."""
    parts = Path(path).parts
    name = parts[place] if len(parts) >= -place else ""
    if name in ("", "/", "..") or not name.isprintable():
        raise DataError(f"{scores_folder(run) / results.EVALUATION}: folds names {path!r}, which is in no folder of {run}; "
                        f"{results.REMEDY}")
    return name
