from pathlib import Path

from mscnn.core.machine import feature_flags


def test_feature_flags_are_the_kernels():
    first = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    assert feature_flags() == set(first.split(":")[1].split())
