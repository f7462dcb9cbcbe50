"""Start `mscnn ranks` by its earlier name, `python -m mscnn.world`, which works in this release only."""

import sys

from mscnn.cli import ranks
from mscnn.core import errors
from mscnn.distributed import launchers

if __name__ == "__main__":
    errors.run(lambda: ranks.main(sys.argv[1:]), is_reporter=launchers.is_rank_zero, on_exit=launchers.exit_rank)
