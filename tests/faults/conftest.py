"""Runs of train.py that go wrong on purpose."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mscnn.core import run_directory
from mscnn.training import checkpoint
from tests import forked_process
from tests.checkpoint_content import content_digest
from tests.conftest import OVER_MPI, ROOT, processes_with, started_ranks, tiny_screen

SETTINGS = ("--hold-out", "b", "--minibatch", "3", "--epochs", "2", "--lr", "0.003",
            "--threads", "1", "--statistics-weight", "1", "--ema-decay", "0.9",
            "--class-weights", "none", "--log-every", "1", "--oversubscribe", "true",
            "--checkpoint-steps", "1", "--resume", "auto")
STEPS = 6
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
            "--shutdown-timeout", "60")
WITHOUT_OVERRIDE = ("setpriv", "--bounding-set", "-dac_override")  # root that must keep to the permissions of files
START = ROOT / "tests" / "faults" / "start.py"


@dataclass
class Run:
    """A training of two ranks in a folder of its own, which may be started again and again.

    mpiexec: starts it, and MPI carries its gradients; without it torchrun does, and gloo.
    """

    folder: Path
    data: tuple[object, ...]  # the settings that name it
    mpiexec: str = ""

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    def start(self, *options: object, fault: str = "", rank: int = 1, step: int = 3,
              torchrun: tuple[str, ...] = TORCHRUN) -> subprocess.Popen:
        """Start it; its output goes to a file."""
        (self.folder / "when").unlink(missing_ok=True)
        starter = (self.mpiexec, "-n", 2, sys.executable) if self.mpiexec else (*torchrun, "--nproc-per-node", 2)
        starter = (*WITHOUT_OVERRIDE, *starter) if fault == "read-only" and os.geteuid() == 0 else starter
        options = (*options, *(("--backend", "mpi") if self.mpiexec else ()))
        script = (START, fault, rank, step, self.folder / "when", "train.py") if fault else ("train.py",)
        command = (*starter, *script, "supervised", *self.data, *SETTINGS, "--run-dir", self.run_dir, *options)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **OVER_MPI}
        with self.output.open("w") as output:
            return subprocess.Popen([str(word) for word in command], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT,
                                    env=environment)

    @contextmanager
    def forked(self, *options: object, ranks: int = 2) -> Iterator[list[forked_process.RunningProcess]]:
        """Its ranks as forked processes, which start in a moment; torchrun has no part in it."""
        command = ("train.py", "supervised", *self.data, *SETTINGS, "--run-dir", self.run_dir, *options)
        with started_ranks(*command, ranks=ranks) as started:
            yield started

    def until(self, name: str, process: subprocess.Popen | forked_process.RunningProcess) -> None:
        """Wait until a file of the run is there."""
        while not (self.run_dir / name).exists():
            assert process.poll() is None, process
            time.sleep(0.02)

    @property
    def output(self) -> Path:
        return self.folder / "output.txt"

    def end(self, process: subprocess.Popen, timeout: float = 300) -> float | None:
        """Wait until nothing of it is left; seconds from the fault until then, None where there was none."""
        process.wait(timeout)
        ended, deadline = time.time(), time.monotonic() + 20
        while left := processes_with(str(self.run_dir)):
            assert time.monotonic() < deadline, f"left behind: {left}"
            ended = time.time()
            time.sleep(0.1)
        when = self.folder / "when"
        return ended - float(when.read_text()) if when.exists() else None

    def errors(self) -> list[str]:
        """The lines in which the program itself says what went wrong."""
        return [line for line in self.output.read_text().splitlines() if line.startswith(("start.py: ", "train.py: "))]

    def status(self) -> dict:
        return run_directory.read_status(self.run_dir)

    def finish(self) -> str:
        """Start it again, to its end; the SHA-256 of all that is in its last checkpoint, but for where it lies."""
        with self.forked() as ranks:
            assert [process.wait(200) for process in ranks] == [0, 0], [process.outputs() for process in ranks]
        return self.hash()

    def hash(self) -> str:
        _, saved = checkpoint.read(self.run_dir)
        assert saved.step == STEPS
        return content_digest(saved, "run_dir", "resume", "sites", "packed", "image_root", "step_timeout", "start_timeout")


@pytest.fixture(scope="session")
def fault_screen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_screen.__wrapped__(tmp_path_factory.mktemp("screen"))


@pytest.fixture
def full_only(is_full: bool) -> None:
    """For what `make test` leaves out."""
    if not is_full:
        pytest.skip("only with --full")


@pytest.fixture
def new_run(tmp_path: Path, fault_screen: Path) -> Callable[..., Run]:
    """Makes a run in a new folder."""
    def make(name: str = "a", **how) -> Run:
        (tmp_path / name).mkdir()
        return Run(tmp_path / name, **{"data": ("--sites", fault_screen)} | how)
    return make


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, fault_screen: Path) -> Run:
    """A run that nothing happens to, at its end."""
    run = Run(tmp_path_factory.mktemp("undisturbed"), ("--sites", fault_screen))
    run.finish()
    return run
