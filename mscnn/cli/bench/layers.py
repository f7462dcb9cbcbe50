"""Time a training step by part, with each part's share of its bound, and the forward pass alone."""

from mscnn.bench.settings import LayersSettings
from mscnn.cli import parse
from mscnn.cli.bench import print_and_write
from mscnn.core import machine, memory

COMMAND = parse.Command("bench layers", __doc__, LayersSettings)


def main(argv: list[str]) -> None:
    """Measure the parts of a training step in this process."""
    settings = COMMAND.read(argv)

    from mscnn.bench import layers  # here, so that --help comes at once
    from mscnn.distributed import core_binding

    threads = core_binding.bind_single_process(settings.threads).threads
    malloc = memory.keep_memory()  # as training does
    results = layers.measure(settings, machine.feature_flags())
    print_and_write(layers.table(results), settings.json, {"threads": threads, "malloc": malloc, **results})
