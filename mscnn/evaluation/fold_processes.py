"""The processes of a cross-validation: started on cores of their own, ended together, never left behind."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mscnn.core.errors import Stopped, UsageError
from mscnn.core.files import LOCK, lock_file
from mscnn.distributed import cpu_topology, launchers

INTERRUPT = 3.0  # seconds in which a process that was interrupted has to end
_running: set[subprocess.Popen] = set()
_starting = threading.Lock()
_ended: set[Path] = set()  # folders whose processes must not start any more


def run_logged(command: list[str], name: str, log: Path, cpus: frozenset[int], out: Path) -> None:
    """Run a command of the program on these cores, its output added to a log; out: folder of the cross-validation.

    name: of the command, as "train".  Raises CalledProcessError with the last line of its output.
    """
    log.parent.mkdir(exist_ok=True)
    with _starting, log.open("a") as output, cpu_topology.on(cpus):
        if out in _ended:
            raise subprocess.CalledProcessError(1, name, "not started: the command is ending")
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT,
                                   close_fds=False,  # the lock lasts as long as they do
                                   env=launchers.child_env())
        _running.add(process)
    code = process.wait()
    _running.discard(process)
    if code:
        lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
        said = [line for line in lines if line.startswith(f"mscnn {name}: ")]  # torchrun has its own last lines
        raise subprocess.CalledProcessError(code, name, f"exit code {code}: {(said or lines)[-1]} (all of it: {log})")


def is_ending(out: Path) -> bool:
    """Return whether the processes of a folder are being ended, so that they fail for no reason of their own."""
    return out in _ended


@contextmanager
def pool_of_processes(out: Path, jobs: int) -> Iterator[ThreadPoolExecutor]:
    """Lock a folder, and yield threads that run its processes.

    On a signal all processes are terminated, so that trainings save, and Stopped is raised once they have ended.  A second
    one ends them at once, as an interrupt.  Raises UsageError where another command works on the folder.
    """
    with _locked(out), _stopped_in_order(), _interrupt_children(), ThreadPoolExecutor(jobs) as pool, \
            _terminate_children(out, pool):
        yield pool


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Lock the folder against other commands, and against processes that an earlier command left. Raises UsageError."""
    try:
        file = lock_file(out / LOCK)
    except BlockingIOError:
        raise UsageError(f"{out}: another process works on its folds; wait for it, or end it") from None
    with file:
        os.set_inheritable(file.fileno(), True)
        yield


@contextmanager
def _terminate_children(out: Path, pool: ThreadPoolExecutor) -> Iterator[None]:
    """On an exception, an interrupt or a signal in the block, start no more processes and terminate those that run."""
    _ended.discard(out)
    try:
        yield
    except BaseException:
        with _starting:
            _ended.add(out)
        pool.shutdown(wait=False, cancel_futures=True)
        _signal_all(subprocess.Popen.terminate)
        raise


@contextmanager
def _interrupt_children() -> Iterator[None]:
    """On an interrupt while processes that were terminated still save, end them at once, too."""
    try:
        yield
    except KeyboardInterrupt as problem:
        if not _is_second(problem):
            raise
        for process in list(_running):
            process.send_signal(signal.SIGINT)
            try:
                process.wait(INTERRUPT)
            except subprocess.TimeoutExpired:
                process.kill()
        raise


@contextmanager
def _stopped_in_order() -> Iterator[None]:
    """Raise Stopped for the first signal: all processes have ended by then, and trainings have saved."""
    try:
        yield
    except KeyboardInterrupt as problem:
        if _is_second(problem):
            raise
        raise Stopped(f"{problem}; finished folds and checkpoints are kept, the same command resumes from them") from None


def _is_second(problem: KeyboardInterrupt) -> bool:
    """Return whether a signal came while the processes were being ended for another one."""
    return isinstance(problem.__context__, KeyboardInterrupt)


def _signal_all(send: Callable[[subprocess.Popen], None]) -> None:
    for process in list(_running):
        send(process)
