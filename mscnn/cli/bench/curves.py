"""Draw the learning curves of several runs, grouped by a setting."""

from pathlib import Path

from mscnn.bench.settings import CurvesSettings
from mscnn.cli import did_you_mean, parse
from mscnn.core import config, run_directory
from mscnn.core.errors import UsageError

COMMAND = parse.Command("bench curves", __doc__, CurvesSettings)


def main(argv: list[str]) -> None:
    """Draw the learning curves, and print how far apart they are within a group and between groups."""
    settings = COMMAND.read(argv)

    from mscnn.report import curves  # here, so that --help comes at once

    runs = [Path(run) for run in settings.runs.split(",")]
    losses = {run: curves.losses(run) for run in runs}
    if settings.by not in config.NAMES:
        raise UsageError(f"--by {settings.by} is no setting of a training{did_you_mean(settings.by, config.NAMES)}")
    values = {run: _value(run, settings.by) for run in runs}
    table = curves.by_value(losses, values)
    curves.draw(table, settings.by, settings.window, Path(settings.out))
    distances = curves.distances(table, settings.window)
    print(f"mean distance of two curves: {distances['within']:.4f} within a {settings.by}, "
          f"{distances['between']:.4f} between")


def _value(run: Path, name: str) -> str:
    """Return the value of a run's setting, for the legend. Raises UsageError where its settings lack it."""
    found = run_directory.read_settings(run)
    if name not in found:
        raise UsageError(f"{run / 'config.yaml'}: lacks {name}; group by another setting with --by")
    return str(found[name])[:60]
