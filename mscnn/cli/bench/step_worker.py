"""Serve one variant to `step`, which starts this command as a process."""

import sys

from mscnn.bench.settings import StepSettings
from mscnn.cli import parse
from mscnn.core import machine

COMMAND = parse.Command("bench step-worker", __doc__, StepSettings)


def main(argv: list[str]) -> None:
    """Answer each line of the standard input with the time of a step."""
    settings = COMMAND.read(argv)

    from mscnn.bench import process, worker  # here, so that --help comes at once
    from mscnn.distributed import core_binding

    core_binding.bind_single_process(settings.threads)
    worker.serve(settings, machine.feature_flags(), sys.stdin, process.reserve_stdout())
