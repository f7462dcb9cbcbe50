"""Train the multi-scale CNN.   python train.py demo   |   torchrun --nproc-per-node 2 train.py fields256 --run-dir DIR

The run from top to bottom is mscnn/training/run.py.
"""

import sys

from mscnn.cli import train
from mscnn.core import errors
from mscnn.distributed import launchers

if __name__ == "__main__":
    errors.run(lambda: train.main(sys.argv[1:]), is_reporter=launchers.is_rank_zero, on_exit=launchers.exit_rank)
