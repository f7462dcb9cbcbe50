"""Who is where: `python -m mscnn.world` under any launcher prints host, cores, memory node and threads of each rank.

    torchrun --nproc-per-node 2 -m mscnn.world        mpirun -n 4 python -m mscnn.world --backend mpi
    srun -n 32 python -m mscnn.world
"""

import sys

from mscnn.cli import parse
from mscnn.core import errors
from mscnn.distributed import launchers


def main() -> None:
    """Meet, settle, tell, leave."""
    settings = parse.world(sys.argv[1:])
    if settings.bind and (names := launchers.drop_openmp_binding()):  # too late: this package has imported torch
        raise errors.UsageError(f"{', '.join(names)} bound this process before it could look at its cores; unset it "
                                "(train.py and evaluate.py do so themselves), or say --bind false")

    from mscnn.distributed import core_binding, world  # here, so that --help comes at once

    ranks = world.init(settings.backend, join_seconds=settings.join_timeout, wait_seconds=settings.start_timeout)
    plan = core_binding.bind_rank(ranks, settings)
    places = core_binding.describe_bindings(ranks, plan)
    if ranks.rank == 0:
        print(f"{ranks.size} ranks by {ranks.launcher}; {ranks.rendezvous}", *places, sep="\n", flush=True)
    ranks.shutdown()


if __name__ == "__main__":
    errors.run(main, is_reporter=launchers.is_rank_zero, on_exit=launchers.exit_rank)
