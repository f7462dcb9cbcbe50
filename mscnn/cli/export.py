"""Write a trained network for others: weights, model card, and a program that runs without mscnn."""

from dataclasses import dataclass
from pathlib import Path

from mscnn.cli import parse
from mscnn.core.logs import log
from mscnn.core.settings import REQUIRED, Settings, setting


@dataclass(frozen=True, kw_only=True)
class ExportSettings(Settings):
    """Settings of `mscnn export`"""

    checkpoint: str = setting(REQUIRED, "run directory, or a checkpoint file", positional=True, metavar="PATH")
    out: str = setting(REQUIRED, "new folder for weights, description, model card and program", metavar="DIR", written=True)
    onnx: bool = setting(False, "write model.onnx too, which needs the extra export")


COMMAND = parse.Command("export", __doc__, ExportSettings)


def main(argv: list[str]) -> None:
    """Write a trained network for others."""
    settings = COMMAND.read(argv)

    from mscnn.evaluation import export, results  # here, so that --help comes at once
    from mscnn.training import checkpoint

    source, out = Path(settings.checkpoint), Path(settings.out)
    _, saved = checkpoint.read(source)
    evaluation = source / "evaluation"
    scores = results.read_scores(evaluation) if (evaluation / results.SCORES).is_file() else None
    export.write(saved, scores, out, onnx=settings.onnx)
    log.info("step %d of %s in %s, %.0f MiB; how to load it is in %s", saved.step, settings.checkpoint, out,
             sum(path.stat().st_size for path in out.iterdir()) / 2**20, out / export.CARD)
