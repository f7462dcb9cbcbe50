"""Time `mscnn table` on a plate of 384 wells, and measure its memory, by format of the index."""

from mscnn.bench.settings import TableSettings
from mscnn.cli import parse
from mscnn.cli.bench import print_and_write

COMMAND = parse.Command("bench table", __doc__, TableSettings)


def main(argv: list[str]) -> None:
    """Measure how long a large plate takes to become a site table."""
    settings = COMMAND.read(argv)

    from mscnn.bench import plate_index  # here, so that --help comes at once

    results = plate_index.measure(settings)
    print_and_write(plate_index.table(results), settings.json, results)
