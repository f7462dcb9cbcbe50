"""Time the reading of fields, file formats in turn in one process."""

from mscnn.bench.settings import LoaderSettings
from mscnn.cli import parse
from mscnn.cli.bench import print_and_write
from mscnn.core import memory

COMMAND = parse.Command("bench loader", __doc__, LoaderSettings)


def main(argv: list[str]) -> None:
    """Measure the fields per second that one rank reads, by file format."""
    settings = COMMAND.read(argv)

    from mscnn.bench import loader  # here, so that --help comes at once
    from mscnn.distributed import core_binding

    threads = core_binding.bind_single_process(settings.threads).threads
    malloc = memory.keep_memory() if settings.keep_memory else "the system's own, as asked"
    print(f"malloc: {malloc}")
    results = loader.measure(settings)
    print_and_write(loader.table(results), settings.json, {"threads": threads, "malloc": malloc, **results})
