"""Processes of train.py and other scripts that start at once: forked from a process that has loaded the libraries.

Loading the libraries takes a rank longer than its test.  A forked process runs the script or module itself, with its own
arguments and environment.  It does not shut down as a whole interpreter does: tests of what happens before libraries are
loaded, or at exit, start fresh processes.
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
    """A process and the files of its output."""

    def __init__(self, pid: int, wait: Callable[[float | None], int | None], files: list[IO[bytes]]):
        self.pid, self._wait, self._files = pid, wait, files
        self.returncode: int | None = None  # None while it runs, negative where a signal ended it

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self.wait(0)

    def wait(self, timeout: float | None) -> int | None:
        """Wait for the exit code. After the timeout kill the process and raise TimeoutExpired; timeout 0: return None."""
        if self.returncode is None:
            self.returncode = self._wait(timeout)
            if self.returncode is None and timeout:
                self.kill()
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout, *self.outputs())
        return self.returncode

    def kill(self) -> None:
        """Kill it, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, 9)
            self.returncode = self._wait(30)

    def outputs(self) -> tuple[str, str]:
        """Return its standard output and standard error so far."""
        return tuple(Path(file.name).read_text(errors="replace") for file in self._files)


def start(words: list[str], environment: dict[str, str], folder: Path) -> RunningProcess:
    """Start a script, or -m and a module, with its arguments, in a forked process."""
    _serve()
    files = _files()
    process = _CONTEXT.Process(target=_become, args=(words, environment, str(folder), [file.name for file in files]))
    process.start()

    def wait(timeout: float | None) -> int | None:
        process.join(timeout)
        return process.exitcode
    return RunningProcess(process.pid, wait, files)


def start_fresh(words: list[str], environment: dict[str, str], folder: Path) -> RunningProcess:
    """Start whatever `python` takes in a new interpreter."""
    files = _files()
    process = subprocess.Popen([sys.executable, *words], stdout=files[0], stderr=files[1], cwd=folder, env=environment)

    def wait(timeout: float | None) -> int | None:
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
    return RunningProcess(process.pid, wait, files)


def _serve() -> None:
    """Start the process that forks, unless it runs. Threads of its libraries would not survive a fork, so it has none."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["OMP_NUM_THREADS"]
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


def _files() -> list[IO[bytes]]:
    """Return files for standard output and standard error, deleted with the last reference."""
    return [tempfile.NamedTemporaryFile("w+b") for _ in range(2)]


def _become(words: list[str], environment: dict[str, str], folder: str, files: list[str]) -> None:
    """Turn this process into the script."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, name in enumerate(files, 1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND), number)
    sys.path.insert(0, folder)
    tempfile.tempdir = None  # TMPDIR may differ here
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(LOADED)
