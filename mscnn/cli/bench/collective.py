"""Time sums over ranks by size, over each backend here, or among the ranks of a launcher.

here:          mscnn bench collective
on a cluster:  srun mscnn bench collective --backend mpi
"""

from mscnn.bench.settings import CollectiveSettings
from mscnn.cli import parse
from mscnn.cli.bench import print_and_write
from mscnn.distributed import launchers

COMMAND = parse.Command("bench collective", __doc__, CollectiveSettings)


def main(argv: list[str]) -> None:
    """Measure the ranks that a launcher started, or start one job per backend and measure its ranks."""
    settings = COMMAND.read(argv)
    starts_ranks = launchers.detect().launcher == launchers.NONE
    if settings.bind:
        launchers.drop_openmp_binding()

    from mscnn.bench import collective  # here, so that --help comes at once

    backends = collective.by_backend(settings) if starts_ranks else collective.on_these_ranks(settings)
    if launchers.is_rank_zero():
        print_and_write(collective.table(backends), settings.json, {"backends": backends})
