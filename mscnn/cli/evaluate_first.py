"""Evaluate runs that were trained and not evaluated yet, before a command that shows their scores."""

from pathlib import Path

from mscnn.cli import evaluate
from mscnn.core.errors import DataError
from mscnn.core.logs import log


def evaluate_first(run: Path) -> None:
    """Evaluate a run as `mscnn evaluate --checkpoint RUN` does, unless it has scores already, or is no run directory.

    Raises what the evaluation raises, but for pictures and the like that could not be written: those are logged.
    """
    from mscnn.evaluation import results  # here, so that --help comes at once

    scores = run / "evaluation" / results.SCORES
    if not (run / "checkpoints").is_dir() or scores.exists():
        return
    log.info("%s is not evaluated yet; evaluating it first, as `mscnn evaluate --checkpoint %s` does", run, run)
    try:
        evaluate.main(["--checkpoint", str(run)], is_last=False)
    except DataError as problem:
        if not scores.exists():
            raise
        log.warning("%s: %s", run, problem)
