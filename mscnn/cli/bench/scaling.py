"""Count what ranks exchange, time steps by number of ranks, and predict them for a cluster.

here:          mscnn bench scaling
on a cluster:  srun mscnn bench scaling --bandwidth 100 --latency 2
"""

from mscnn.bench.settings import ScalingSettings
from mscnn.cli import parse
from mscnn.cli.bench import print_and_write
from mscnn.distributed import launchers

COMMAND = parse.Command("bench scaling", __doc__, ScalingSettings)


def main(argv: list[str]) -> None:
    """Measure the ranks that a launcher started, or start jobs of several numbers of ranks and predict a cluster."""
    settings = COMMAND.read(argv)
    starts_ranks = launchers.detect().launcher == launchers.NONE
    if settings.bind:
        launchers.drop_openmp_binding()

    from mscnn.bench import scaling  # here, so that --help comes at once

    results = scaling.by_number(settings) if starts_ranks else scaling.on_these_ranks(settings)
    if launchers.is_rank_zero():
        print_and_write(scaling.table(results), settings.json, results)
