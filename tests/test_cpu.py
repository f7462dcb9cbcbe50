import os
from pathlib import Path

import numpy as np
import pytest

from mscnn.cpu import allowed_cores, feature_flags, peak_memory_gib, threads_per_rank
from tests.conftest import run_python


@pytest.mark.parametrize(("cores", "ranks", "asked", "expected"), [
    (40, 4, 0, 10), (2, 2, 0, 1), (2, 1, 0, 2), (7, 2, 0, 3), (2, 4, 0, 1), (2, 4, 3, 3)])
def test_a_rank_takes_its_share_of_the_cores(cores, ranks, asked, expected):
    threads, why = threads_per_rank(cores, ranks, asked)
    assert threads == expected
    assert ("fewer than one each" in why) == (cores < ranks and not asked)


def test_only_cores_in_the_mask_count():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert allowed_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert allowed_cores() == len(before)


def test_peak_memory_remembers_what_was_held():
    before = peak_memory_gib()
    np.ones(int((before + 0.25) * 2**30), np.uint8)
    assert peak_memory_gib() >= before + 0.24


def test_memory_is_kept_between_steps():
    """Page faults of allocating, writing and freeing 64 MiB ten times: once over, or each time anew."""
    program = """
import resource, sys
import torch
from mscnn import cpu
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
if sys.argv[1] == "keep":
    assert cpu.keep_memory() == "glibc, keeping freed memory"
for _ in range(20):  # until the heap has settled
    torch.ones(2**24)
before = faults()
for _ in range(10):
    torch.ones(2**24)
print(faults() - before)
"""
    counted = {}
    for way in ("keep", "give"):
        done = run_python("-c", program, way)
        assert done.returncode == 0, done.stderr
        counted[way] = int(done.stdout)
    assert counted["keep"] < 0.1 * counted["give"]


def test_feature_flags_are_the_kernels():
    first = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    assert feature_flags() == set(first.split(":")[1].split())
