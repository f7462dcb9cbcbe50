"""Time `mscnn report` on a large screen that is drawn."""

from mscnn.bench.settings import ReportSettings
from mscnn.cli import bench, parse

COMMAND = parse.Command("bench report", __doc__, ReportSettings)


def main(argv: list[str]) -> None:
    """Draw an evaluation, report it, and print seconds, memory and the size of the page."""
    settings = COMMAND.read(argv)

    from mscnn.bench import drawn_report  # here, so that --help comes at once

    results = drawn_report.measure(settings)
    bench.print_and_write(drawn_report.table(results), settings.json, results)
