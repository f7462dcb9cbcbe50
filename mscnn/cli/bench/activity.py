"""Count false discoveries of the activity test by distance from control wells, on drawn profiles."""

from mscnn.bench.settings import ActivitySettings
from mscnn.cli import parse
from mscnn.cli.bench import print_and_write

COMMAND = parse.Command("bench activity", __doc__, ActivitySettings)


def main(argv: list[str]) -> None:
    """Measure how many treatments the test calls active, and how many of these are false."""
    settings = COMMAND.read(argv)

    from mscnn.bench import drawn_activity  # here, so that --help comes at once

    results = drawn_activity.measure(settings)
    print_and_write(drawn_activity.table(results), settings.json, {"screens": results})
