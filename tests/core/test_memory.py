import numpy as np

from mscnn.core.memory import peak_memory_gib
from tests.conftest import run_python


def test_peak_memory_remembers_what_was_held():
    before = peak_memory_gib()
    np.ones(int((before + 0.25) * 2**30), np.uint8)
    assert peak_memory_gib() >= before + 0.24


def test_memory_is_kept_between_steps():
    """Page faults of allocating, writing and freeing 64 MiB ten times: once over, or each time anew."""
    program = """
import resource, sys
import torch
from mscnn.core import memory
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
if sys.argv[1] == "keep":
    assert memory.keep_memory() == "glibc, keeping freed memory"
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
