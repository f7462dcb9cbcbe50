"""Serve as one rank to `scaling`, which starts this command as a job."""

import sys

from mscnn.bench.settings import ScalingSettings
from mscnn.cli import parse
from mscnn.distributed import launchers

COMMAND = parse.Command("bench scaling-worker", __doc__, ScalingSettings)


def main(argv: list[str]) -> None:
    """Answer each line of rank 0's standard input with the time of a step."""
    settings = COMMAND.read(argv)
    if settings.bind:
        launchers.drop_openmp_binding()

    from mscnn.bench import process, scaling  # here, so that --help comes at once

    scaling.serve(settings, sys.stdin, process.reserve_stdout())
