"""The MPI process group under a real mpiexec, gloo beside it, and how jobs end when something goes wrong."""

import re
import subprocess
import sys
import time
import types
import uuid
from pathlib import Path

import pytest

from mscnn.core.errors import UsageError
from mscnn.distributed.mpi import process_group
from tests.conftest import processes_with, run_mpi, run_python

pytestmark = pytest.mark.ranks
HERE = Path(__file__).parent


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_each_collective_over_mpi_gives_what_the_ranks_brought(mpiexec, ranks):
    done = run_mpi(mpiexec, ranks, "-m", "mpi4py", HERE / "check_collectives.py", "mpi")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 180


def test_each_collective_over_gloo_gives_the_same():
    done = run_python(HERE / "check_collectives.py", "gloo", ranks=3, timeout=120, PYTHONWARNINGS="ignore")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 100


def fails(mpiexec: str, ranks: int, what: str) -> str:
    """What a failing job says; it must end soon, for a busy machine, with an exit code, and leave no process."""
    mark = uuid.uuid4().hex
    done = run_mpi(mpiexec, ranks, HERE / "check_failures.py", what, mark, timeout=120)
    assert done.returncode == 1, done.stderr
    time.sleep(0.5)
    assert not processes_with(mark)
    return done.stderr


@pytest.mark.parametrize(("what", "reason"), [("raises", "Error: well B07 is missing"), ("leaves", "without a word")])
def test_a_rank_that_fails_ends_the_job_and_says_why(mpiexec, what, reason):
    assert reason in fails(mpiexec, 2, what)  # long before the timeout of 300 s


def test_a_rank_that_stops_is_noticed_by_those_who_wait(mpiexec):
    said = fails(mpiexec, 2, "stops")
    lines = [line for line in said.splitlines() if "ending the job" in line]
    assert len(lines) == 1
    assert "rank 0 on " in lines[0]
    assert "all_reduce of 1,000 float32 over MPI has waited longer than 3 s" in lines[0]


def test_ranks_that_disagree_get_mpis_own_error_and_no_more_work(mpiexec):
    if "Intel" in subprocess.run([mpiexec, "--version"], capture_output=True, text=True).stdout:
        pytest.skip("Intel MPI does not notice: the ranks wait, and the watchdog ends the job")
    said = fails(mpiexec, 2, "disagrees")
    assert "rank 1 on " in said
    assert re.search("broadcast from rank 0 of 1,000 float32 over MPI failed: .*truncate", said, re.IGNORECASE)
    assert "barrier over MPI: group 0 accepts no more calls, an earlier operation failed: rank 1 on " in said


def test_an_error_in_a_bucket_of_gradients_reaches_backward(mpiexec):
    said = fails(mpiexec, 1, "breaks")
    assert "all_reduce of 8 float32 over MPI failed: the network went away" in said
    assert "Segmentation" not in said


def test_a_missing_mpi_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(UsageError, match=r"MPI needs mpi4py .*; pip install mpi4py, or use gloo"):
        process_group.start(1)

    class WithoutLibrary(types.ModuleType):
        @property
        def MPI(self):
            raise RuntimeError("cannot load MPI library\nlibmpi.so: no such file")
    monkeypatch.setitem(sys.modules, "mpi4py", WithoutLibrary("mpi4py"))
    with pytest.raises(UsageError, match=r"finds no MPI \(cannot load MPI library libmpi.so: .*\); load the cluster's"):
        process_group.start(1)


def test_an_mpi_without_threads_is_refused(monkeypatch):
    package = types.ModuleType("mpi4py")
    package.MPI = types.SimpleNamespace(THREAD_SINGLE=0, THREAD_FUNNELED=1, THREAD_MULTIPLE=3, Query_thread=lambda: 2)
    monkeypatch.setitem(sys.modules, "mpi4py", package)
    with pytest.raises(UsageError, match=r"MPI_THREAD_SERIALIZED, .* needs MPI_THREAD_MULTIPLE; unset"):
        process_group.start(1)
