"""Score a checkpoint on compounds it never saw.   python evaluate.py --checkpoint RUN_OR_FILE [--out DIR]

The evaluation from top to bottom is mscnn/evaluation/run.py.
"""

import sys

from mscnn.cli import evaluate
from mscnn.core import errors
from mscnn.distributed import launchers

if __name__ == "__main__":
    errors.run(lambda: evaluate.main(sys.argv[1:]), is_reporter=launchers.is_rank_zero, on_exit=launchers.exit_rank)
