"""Jobs that cannot work, under a real mpiexec: one line, exit code 2, nothing left behind."""

import re
import sys
import time
import types
import uuid

import pytest
import torch.distributed as dist

from mscnn.core.errors import UsageError
from mscnn.distributed import launchers, world
from mscnn.distributed.mpi import process_group
from tests.conftest import processes_with, run_mpi, run_python

pytestmark = pytest.mark.ranks

WITHOUT_MPI4PY = ("import runpy, sys; sys.modules['mpi4py'] = None; sys.argv[:1] = ['mscnn', 'ranks']; "
                  "runpy.run_module('mscnn', run_name='__main__')")


@pytest.mark.parametrize("backend", ["gloo", "mpi"])
@pytest.mark.parametrize(("program", "settings", "message"), [
    (("-c", WITHOUT_MPI4PY), ("--oversubscribe", "true"), "MPI needs mpi4py"),
    (("-m", "mscnn", "ranks"), ("--threads", 4096, "--bind", "false"), "too few cores: rank 0 on ")])
def test_ranks_that_cannot_work_report_it_once(mpiexec, backend, program, settings, message):
    mark = uuid.uuid4().hex
    done = run_mpi(mpiexec, 2, *program, "--backend", backend, *settings, timeout=60, MARK=mark)
    lines = [line for line in done.stderr.splitlines() if "error: " in line]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr
    time.sleep(0.5)
    assert not processes_with(mark)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_of_one_host_use_gloo_on_loopback(mpiexec, ranks):
    done = run_mpi(mpiexec, ranks, "-m", "mscnn", "ranks", "--oversubscribe", "true", MSCNN_NONCE="")
    assert done.returncode == 0, done.stderr
    how = r"gloo, rendezvous at 127\.0\.0\.1:\d+, interface lo" if ranks > 1 else "a single process"
    assert re.match(rf"{ranks} ranks by mpi[^;]*; {how}\n", done.stdout), done.stdout


BROADCAST = r"""
from mscnn.distributed import launchers
from mscnn.distributed.mpi import process_group
comm = process_group.communicator()
for root in range(comm.size):
    for value in (None, "", "Zelle \u00df \U0001f9ec \0", [root, 2.5, True, None], {"at": ["a", 29500]}, "x" * 100_000):
        assert process_group.broadcast_object(value if comm.rank == root else "ignored", root) == value, (root, value)
assert process_group.broadcast_object(comm.rank) == 0
print(f"received {comm.rank}", flush=True)  # in one piece: lines of ranks mingle
launchers.abort_at_exit(0)  # else the first to end would end the job
"""


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_broadcast_value_reaches_all_ranks_unchanged(mpiexec, ranks):
    done = run_mpi(mpiexec, ranks, "-c", BROADCAST)
    assert sorted(re.findall(r"received (\d)", done.stdout)) == [str(rank) for rank in range(ranks)], done.stderr


def test_a_value_that_json_does_not_have_is_not_broadcast(mpiexec):
    """Pickle would take it."""
    refused = "from mscnn.distributed.mpi import process_group; process_group.broadcast_object({1, 'a set'})"
    assert "TypeError: Object of type set is not JSON serializable" in run_mpi(mpiexec, 1, "-c", refused).stderr


def test_ranks_that_mpi_does_not_know_are_not_trained_one_by_one():
    pytest.importorskip("mpi4py")
    done = run_python("-m", "mscnn", "ranks", "--backend", "mpi", "--oversubscribe", "true", ranks=2)
    assert done.returncode == 2
    assert "MPI knows 1 rank, torchrun started 2; use the mpirun of the MPI that mpi4py finds" in done.stderr


def test_a_torch_that_was_built_with_mpi_brings_the_group(monkeypatch):
    """A stand-in: no wheel of PyTorch has one."""
    started, status = [], []
    library = types.SimpleNamespace(COMM_WORLD=None, _set_abort_status=status.append)
    monkeypatch.setitem(sys.modules, "mpi4py", types.SimpleNamespace(MPI=library))
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", library)
    monkeypatch.setattr(dist, "is_mpi_available", lambda: True)
    monkeypatch.setattr(dist, "init_process_group", started.append)
    assert process_group.start(1) == "MPI, PyTorch's own process group"
    assert (started, status) == (["mpi"], [1])
    launchers.abort_at_exit(0)
    assert status == [1, 0]
    monkeypatch.setattr(world, "DistributedDataParallel", lambda module, **_: module)
    monkeypatch.setattr(dist, "get_backend", lambda: "mpi")
    with pytest.raises(UsageError, match="PyTorch's own MPI adds no bfloat16; leave out --compress"):
        world.World(size=2).to_ddp(None, "bfloat16")
