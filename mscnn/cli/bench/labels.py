"""Compare statistics, a label-free and a supervised network, by the number of labelled compounds."""

from pathlib import Path

from mscnn.bench.settings import LabelsSettings
from mscnn.cli import parse

COMMAND = parse.Command("bench labels", __doc__, LabelsSettings)


def main(argv: list[str]) -> None:
    """Draw a screen that statistics see little of, train networks, and write labels.csv and labels.png."""
    settings = COMMAND.read(argv)

    from mscnn.bench import labels  # here, so that --help comes at once
    from mscnn.core import csv_safe, files
    from mscnn.report.labels import draw_labels

    out = Path(settings.out)
    with files.locked_folder(out):
        table = labels.measure(settings)
        csv_safe.write_csv(table, out / "labels.csv", index=False)
        draw_labels(table, out / "labels.png")
    print(table.round(3).to_string(index=False))
