"""Time training steps, variants in turn, each in a process of its own."""

from mscnn.bench.settings import StepSettings
from mscnn.cli import parse
from mscnn.cli.bench import print_and_write
from mscnn.core import machine, memory

COMMAND = parse.Command("bench step", __doc__, StepSettings)


def main(argv: list[str]) -> None:
    """Measure images per second, operations and memory of a training step, by variant; and the ways of each branch."""
    settings = COMMAND.read(argv)

    from mscnn.bench import step  # here, so that --help comes at once
    from mscnn.distributed import core_binding

    threads = core_binding.bind_single_process(settings.threads).threads
    results = step.measure(settings)
    memory.keep_memory()  # as training does; the variants, some of which do not, have processes of their own
    ways = step.measure_ways(settings, machine.feature_flags())
    print_and_write(f"{step.table(results)}\n{step.table_of_ways(ways, settings.size)}", settings.json,
                    {"threads": threads, **results, "ways": ways})
