"""`python -m mscnn.bench step`: images a second, operations and memory of a training step, by variant."""

import sys
from pathlib import Path

from mscnn import commandline, cpu, errors, rundir

COMMANDS = ("step",)


def main() -> None:
    """Run the command that is named first."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        print(f"{__doc__}\nCommands: {', '.join(COMMANDS)}; each explains itself with --help.")
        return
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        raise errors.UsageError(f"name a command first ({', '.join(COMMANDS)}), got {' '.join(sys.argv[1:2]) or 'nothing'}")
    settings = commandline.bench_step(sys.argv[2:])

    import torch  # here, so that --help comes at once

    from mscnn.bench import step

    threads, _ = cpu.threads_per_rank(cpu.allowed_cores(), 1, settings.threads)
    torch.set_num_threads(threads)
    memory = cpu.keep_memory() if settings.keep_memory else "the system's own, as asked"
    print(f"malloc: {memory}")
    results = step.measure(settings, cpu.feature_flags())
    print(step.table(results))
    if settings.json:
        rundir.write_json(Path(settings.json), rundir.environment(threads=threads, malloc=memory, **results))


if __name__ == "__main__":
    errors.run(main)
