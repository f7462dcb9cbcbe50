"""Print host, cores, memory node and threads of each rank that a launcher started.

torchrun --nproc-per-node 2 -m mscnn ranks
mpirun -n 4 mscnn ranks --backend mpi
srun -n 32 mscnn ranks
"""

from mscnn.cli import parse
from mscnn.core import errors
from mscnn.core.config import Parallel
from mscnn.distributed import launchers

COMMAND = parse.Command("ranks", __doc__, Parallel)


def main(argv: list[str]) -> None:
    """Form the process group, bind the ranks to their cores, and print a line for each on rank 0."""
    settings = COMMAND.read(argv)
    if settings.bind and (names := launchers.drop_openmp_binding()):
        raise errors.UsageError(f"{', '.join(names)} bound this process before it could look at its cores; unset it "
                                "(train.py and evaluate.py do so themselves), or say --bind false")

    from mscnn.distributed import core_binding, world  # here, so that --help comes at once

    ranks = world.init(settings.backend, join_seconds=settings.join_timeout, wait_seconds=settings.start_timeout)
    plan = core_binding.bind_rank(ranks, settings)
    lines = core_binding.describe_bindings(ranks, plan)
    if ranks.rank == 0:
        print(f"{ranks.size} ranks by {ranks.launcher}; {ranks.rendezvous}", *lines, sep="\n", flush=True)
    ranks.shutdown()
