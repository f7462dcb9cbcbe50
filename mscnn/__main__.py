"""Start a command: `mscnn COMMAND`, the same as `python -m mscnn COMMAND`.  The commands are the files of mscnn/cli."""

import sys

from mscnn import cli
from mscnn.core import errors
from mscnn.distributed import launchers


def main() -> None:
    """Run the command that the command line names."""
    errors.run(lambda: cli.run_command(cli.PROGRAM, cli.__name__, sys.argv[1:]),
               is_reporter=launchers.is_rank_zero, on_exit=launchers.exit_rank)


if __name__ == "__main__":
    main()
