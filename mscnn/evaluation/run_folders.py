"""Where a run, or a folder of folds, keeps its scores and its trainings."""

from pathlib import Path

from mscnn.core.errors import DataError
from mscnn.evaluation import results


def scores_folder(run: Path) -> Path:
    """Return the folder with the scores of a run, or of all folds together. Raises DataError where nothing was scored."""
    for folder in (run / "scores", run / "evaluation"):
        if (folder / results.SCORES).exists():
            return folder
    raise DataError(f"{run}: neither evaluation/{results.SCORES} nor scores/{results.SCORES} is there; evaluate it with "
                    "evaluate.py, or finish its folds with `mscnn loco`")


def trainings_of(run: Path) -> list[Path]:
    """Return the run directories whose networks were scored: the folds, or the run itself. Raises DataError."""
    scores = scores_folder(run)
    folds = results.read_description(scores).folds
    if scores.name != "scores":
        return [run]
    return [run / Path(fold.checkpoint).parent.parent.name for fold in folds or []]
