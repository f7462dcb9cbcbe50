"""Start a measurement: `python -m mscnn.bench COMMAND`, the same as `mscnn bench COMMAND`."""

import sys

from mscnn.cli import bench
from mscnn.core import errors
from mscnn.distributed import launchers

if __name__ == "__main__":
    errors.run(lambda: bench.main(sys.argv[1:]), is_reporter=launchers.is_rank_zero, on_exit=launchers.exit_rank)
