"""Score the folds of a screen, each evaluated into a folder of its own, as one screen."""

from dataclasses import dataclass
from pathlib import Path

from mscnn.cli import parse
from mscnn.core import errors, files
from mscnn.core.optional_parts import OptionalParts
from mscnn.core.settings import REQUIRED, Settings, setting


@dataclass(frozen=True, kw_only=True)
class GatherSettings(Settings):
    """Settings of `mscnn gather`"""

    evaluations: list[str] = setting(REQUIRED, "folders that `mscnn evaluate` wrote, one per fold", positional=True,
                                     metavar="DIR")
    out: str = setting(REQUIRED, "folder for the tables, scores and pictures of all folds together", metavar="DIR",
                       written=True)


COMMAND = parse.Command("gather", __doc__, GatherSettings)


def main(argv: list[str]) -> None:
    """Combine the folds into one evaluation and draw its confusion matrices."""
    settings = COMMAND.read(argv)

    from mscnn.evaluation import results  # here, so that --help comes at once
    from mscnn.evaluation.combine_folds import combine_folds

    out = Path(settings.out)
    with files.locked_folder(out), errors.details_to_file(out):
        results.require_own(out)
        combine_folds([Path(folder) for folder in settings.evaluations], out)
        parts = OptionalParts(f"tables and scores are whole in {out}")
        with parts.part(results.CONFUSION):
            from mscnn.report import confusion

            confusion.draw_confusion(out)
        with parts.part(results.MULTIQC):
            from mscnn.report import multiqc_scores

            multiqc_scores.write_scores(out)
    parts.finish()
