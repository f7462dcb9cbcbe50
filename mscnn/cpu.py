"""How many cores this process may use, and which share of them a rank takes; memory held.  Imports no torch.

Exercised by `pytest tests/test_cpu.py`.
"""

import ctypes
import os
import resource
import sys
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _NEVER = -1, -4, 2**31 - 1  # malloc.h; the value is a C int


def allowed_cores() -> int:
    """Cores in this process's affinity mask."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_per_rank(cores: int, ranks_here: int, asked: int) -> tuple[int, str]:
    """Compute threads for one of `ranks_here` ranks on a machine with `cores` cores, and why.

    torchrun sets OMP_NUM_THREADS=1 where there are two ranks or more; a rank's share of the cores is used instead.
    """
    if asked:
        return asked, "asked for"
    threads = max(1, cores // ranks_here)
    why = f"{cores} cores for {ranks_here} rank{'s' if ranks_here > 1 else ''}"
    return threads, why + (", fewer than one each" if cores < ranks_here else "")


def feature_flags() -> frozenset[str]:
    """What this CPU can do, in the kernel's names (avx512f, avx512_bf16, amx_bf16, ...); empty where it does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))


def keep_memory() -> str:
    """Make malloc keep what is freed for the next step. Returns what was done, for the log.

    By default glibc gives each large tensor back to the system, which clears its pages anew for the next one: half the
    time of a dense step at 1024x1280 (CHANGELOG.md).  Where there is no glibc nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return "the system's own: no mallopt here"
    kept = mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER)
    return "glibc, keeping freed memory" if kept else "the system's own: mallopt refused"


def peak_memory_gib() -> float:
    """The most memory that this process has held so far, GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # macOS counts bytes, Linux KiB
