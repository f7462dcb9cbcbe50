"""Time training steps, variants in turn, each in a process of its own."""

from mscnn.bench.settings import StepSettings
from mscnn.cli import parse
from mscnn.cli.bench import print_and_write

COMMAND = parse.Command("bench step", __doc__, StepSettings)


def main(argv: list[str]) -> None:
    """Measure images per second, operations and memory of a training step, by variant."""
    settings = COMMAND.read(argv)

    from mscnn.bench import step  # here, so that --help comes at once
    from mscnn.distributed import core_binding

    threads = core_binding.bind_single_process(settings.threads).threads
    results = step.measure(settings)
    print_and_write(step.table(results), settings.json, {"threads": threads, **results})
