"""Memory of this process: what malloc keeps, and the peak.  Imports no torch."""

import ctypes
import resource
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _NEVER = -1, -4, 2**31 - 1  # malloc.h; the value is a C int


def keep_memory() -> str:
    """Make malloc keep freed memory for the next step. Returns what was done, for the log.

    By default glibc returns each large tensor to the system, which zeroes the pages for the next one.  That takes half the
    time of a dense step at 1024x1280 (CHANGELOG.md).  Without glibc nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return "the system's own: no mallopt here"
    kept = mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER)
    return "glibc, keeping freed memory" if kept else "the system's own: mallopt refused"


def peak_memory_gib() -> float:
    """Return the peak memory of this process so far, GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # macOS counts bytes, Linux KiB
