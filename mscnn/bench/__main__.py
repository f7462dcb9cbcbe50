"""`python -m mscnn.bench COMMAND`: what the claims of the README rest on.

step: images a second, operations and memory of a training step, by variant.
loader: fields a second that one rank reads, by file format.
curves: learning curves of runs that differ in a setting, drawn together.
collective: how long ranks take to add gradients, by size and backend; here, or under a cluster's launcher.
scaling: what ranks exchange, steps by number of ranks, and a prediction for a cluster.
"""

import os
import sys
from pathlib import Path
from typing import Any, TextIO

from mscnn.cli import parse
from mscnn.core import errors, files, machine, memory, run_directory
from mscnn.distributed import launchers

COMMANDS = ("step", "loader", "curves", "collective", "scaling")
WORKER = "step-worker"  # what `step` starts for each variant
SCALING_WORKER = "scaling-worker"  # what `scaling` starts as ranks


def main() -> None:
    """Run the command that is named first."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        print(f"{__doc__}\nCommands: {', '.join(COMMANDS)}; each explains itself with --help.")
        return
    if len(sys.argv) < 2 or sys.argv[1] not in (*COMMANDS, WORKER, SCALING_WORKER):
        raise errors.UsageError(f"name a command first ({', '.join(COMMANDS)}), got {' '.join(sys.argv[1:2]) or 'nothing'}")
    {"step": bench_step, WORKER: bench_step, "loader": bench_loader, "curves": bench_curves, "collective": bench_collective,
     "scaling": bench_scaling, SCALING_WORKER: bench_scaling}[sys.argv[1]](sys.argv[2:])


def bench_step(argv: list[str]) -> None:
    """Training steps."""
    settings = parse.bench_step(argv)

    from mscnn.bench import step, worker
    from mscnn.distributed import core_binding  # here, so that --help comes at once

    threads = core_binding.bind_single_process(settings.threads).threads
    if sys.argv[1] == WORKER:
        worker.serve(settings, machine.feature_flags(), sys.stdin, answers_apart())
        return
    results = step.measure(settings)
    print(step.table(results))
    if settings.json:
        files.write_json(Path(settings.json), machine.environment(threads=threads, **results))


def bench_loader(argv: list[str]) -> None:
    """Reading of fields."""
    settings = parse.bench_loader(argv)

    from mscnn.bench import loader
    from mscnn.distributed import core_binding  # here, so that --help comes at once

    threads = core_binding.bind_single_process(settings.threads).threads
    malloc = memory.keep_memory() if settings.keep_memory else "the system's own, as asked"
    print(f"malloc: {malloc}")
    results = loader.measure(settings)
    print(loader.table(results))
    if settings.json:
        files.write_json(Path(settings.json), machine.environment(threads=threads, malloc=malloc, **results))


def bench_curves(argv: list[str]) -> None:
    """Learning curves."""
    settings = parse.bench_curves(argv)

    from mscnn.report import curves

    runs = [Path(run) for run in settings.runs.split(",")]
    losses = {run: curves.losses(run) for run in runs}
    values = {run: str(run_directory.read_settings(run)[settings.by]) for run in runs}
    table = curves.by_value(losses, values)
    curves.draw(table, settings.by, settings.window, Path(settings.out))
    apart = curves.distances(table, settings.window)
    print(f"mean distance of two curves: {apart['within']:.4f} within a {settings.by}, {apart['between']:.4f} between")


def bench_collective(argv: list[str]) -> None:
    """Sums over ranks: of a launcher, or of two jobs that are started here."""
    settings = parse.bench_collective(argv)
    started_here = launchers.detect().launcher == launchers.NONE
    if settings.bind:
        launchers.drop_openmp_binding()

    from mscnn.bench import collective  # here, so that --help comes at once

    backends = collective.by_backend(settings) if started_here else collective.on_these_ranks(settings)
    if launchers.is_rank_zero():
        finish(collective.table(backends), settings.json, backends=backends)


def bench_scaling(argv: list[str]) -> None:
    """Steps by number of ranks, and what a cluster would make of them."""
    settings = parse.bench_scaling(argv)
    started_here = launchers.detect().launcher == launchers.NONE
    if settings.bind:
        launchers.drop_openmp_binding()

    from mscnn.bench import scaling  # here, so that --help comes at once

    if sys.argv[1] == SCALING_WORKER:
        scaling.serve(settings, sys.stdin, answers_apart())
        return
    results = scaling.by_number(settings) if started_here else scaling.on_these_ranks(settings)
    if launchers.is_rank_zero():
        finish(scaling.table(results), settings.json, **results)


def finish(table: str, json: str | None, **results: Any) -> None:
    """Print the table, and write the results where asked."""
    print(table)
    if json:
        files.write_json(Path(json), machine.environment(**results))


def answers_apart() -> TextIO:
    """A worker's standard output for answers alone: whatever libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    errors.run(main, is_reporter=launchers.is_rank_zero, on_exit=launchers.exit_rank)
