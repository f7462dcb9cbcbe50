"""Processes of train.py and others that start in a moment: forked from one that has loaded the libraries.

Loading them takes a rank longer than all that a test has it do.  A forked process runs the script or module itself, with
arguments and an environment of its own, and is not taken down as a whole interpreter is; tests of what happens before
libraries are loaded, or at the very end, start fresh ones.
"""

import contextlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import IO

LOADED = ["torch", "torch._dynamo", "torch.utils.tensorboard", "pandas", "pyarrow.parquet", "tifffile",
          "mscnn.training.prepare_data", "mscnn.training.trainer", "mscnn.model.lda", "mscnn.training.train_state",
          "mscnn.evaluation.load_run", "mscnn.evaluation.aggregate", "mscnn.evaluation.results",
          "mscnn.evaluation.compare_baselines", "mscnn.report.html", "mscnn.report.gallery", "mscnn.bench.scaling"]


class RunningProcess:
    """A process and what it says. returncode: None as long as it runs, negative where a signal ended it."""

    def __init__(self, pid: int, wait: Callable[[float | None], int | None], said: list[IO[bytes]]):
        self.pid, self._wait, self._said = pid, wait, said
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, if it has ended."""
        return self.wait(0)

    def wait(self, timeout: float | None) -> int | None:
        """The exit code, as soon as it has ended; None where it has not in time, TimeoutExpired if it should have."""
        if self.returncode is None:
            self.returncode = self._wait(timeout)
            if self.returncode is None and timeout:
                self.kill()
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout, *self.outputs())
        return self.returncode

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, 9)
            self.returncode = self._wait(30)

    def outputs(self) -> tuple[str, str]:
        """Everything it has said so far: output, errors."""
        return tuple(Path(file.name).read_text(errors="replace") for file in self._said)


def start(words: list[str], environment: dict[str, str], folder: Path) -> RunningProcess:
    """A script, or -m and a module, with its arguments, in a forked process."""
    _serve()
    said = _files()
    process = _CONTEXT.Process(target=_become, args=(words, environment, str(folder), [file.name for file in said]))
    process.start()

    def wait(timeout: float | None) -> int | None:
        process.join(timeout)
        return process.exitcode
    return RunningProcess(process.pid, wait, said)


def start_fresh(words: list[str], environment: dict[str, str], folder: Path) -> RunningProcess:
    """Anything that `python` takes, in a process of its own."""
    said = _files()
    process = subprocess.Popen([sys.executable, *words], stdout=said[0], stderr=said[1], cwd=folder, env=environment)

    def wait(timeout: float | None) -> int | None:
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
    return RunningProcess(process.pid, wait, said)


def _serve() -> None:
    """Have the process that forks, if it is not there yet. Threads that its libraries started would not come along."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["OMP_NUM_THREADS"]
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


def _files() -> list[IO[bytes]]:
    """For output and errors; they live as long as what holds them."""
    return [tempfile.NamedTemporaryFile("w+b") for _ in range(2)]


def _become(words: list[str], environment: dict[str, str], folder: str, said: list[str]) -> None:
    """Be the script from here on."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, name in enumerate(said, 1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND), number)
    sys.path.insert(0, folder)
    tempfile.tempdir = None  # TMPDIR may be another one here
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(LOADED)
