"""Draw the learning curves of several runs, grouped by a setting."""

from pathlib import Path

from mscnn.bench.settings import CurvesSettings
from mscnn.cli import parse
from mscnn.core import run_directory

COMMAND = parse.Command("bench curves", __doc__, CurvesSettings)


def main(argv: list[str]) -> None:
    """Draw the learning curves, and print how far apart they are within a group and between groups."""
    settings = COMMAND.read(argv)

    from mscnn.report import curves  # here, so that --help comes at once

    runs = [Path(run) for run in settings.runs.split(",")]
    losses = {run: curves.losses(run) for run in runs}
    values = {run: str(run_directory.read_settings(run)[settings.by]) for run in runs}
    table = curves.by_value(losses, values)
    curves.draw(table, settings.by, settings.window, Path(settings.out))
    distances = curves.distances(table, settings.window)
    print(f"mean distance of two curves: {distances['within']:.4f} within a {settings.by}, "
          f"{distances['between']:.4f} between")
