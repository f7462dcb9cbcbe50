"""Compile a library once, keep it in a cache that only its user can write, and load it after it was verified.

The name of a file in the cache holds a digest of what it was made from and by, and one of its content.  A library is loaded
from memory: a file that is cut short or replaced later cannot end the process.
"""

import ctypes
import hashlib
import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import torch

from mscnn.core import machine
from mscnn.core.files import rename_durably
from mscnn.core.own_cache import own_folder, read_own

LIMIT = 120.0          # seconds for a compilation, which takes some; a compiler that hangs must not stop a job
VERSION_LIMIT = 20.0   # seconds for its version
LARGEST = 2**26        # bytes of a library; the kernel takes 100 KB


class BuildError(Exception):
    """A library that cannot be compiled; the message is one line."""


def obtain(source: Path, compiler: str | None, flags: tuple[str, ...], cache: Path) -> tuple[ctypes.CDLL, str]:
    """Return the library of a C++ source and the headers beside it, and where it is kept.

    It is compiled unless the cache holds it, whole and our own.

    Raises BuildError where it cannot be compiled, and OSError where it cannot be loaded.
    """
    stamp = _stamp(source, flags)
    no_compiler: BuildError | None = None
    try:
        made_by = _version(compiler) if compiler else "*"
    except BuildError as problem:  # of a node that shares a home with one that has a compiler
        made_by, no_compiler = "*", problem
    folder, problem = own_folder(cache)
    kept = [] if folder is None else sorted(folder.glob(f"sparse-{stamp}-{made_by}-*.so"))
    for path in kept:
        content = _verified(path)
        if content is not None:
            return _load(content), str(path)
    if no_compiler or not compiler:
        raise no_compiler or BuildError("no C++ compiler; install g++")
    with tempfile.TemporaryDirectory(dir=folder) as private:
        made = _compile(source, compiler, flags, Path(private) / "sparse")
        content = made.read_bytes()
        library = _load(content)
        if folder is None:
            return library, f"compiled for this process alone: {problem}"
        path = folder / f"sparse-{stamp}-{made_by}-{_digest(content)}.so"
        try:
            made.chmod(0o600)
            rename_durably(made, path)
        except OSError as reason:
            return library, f"compiled for this process alone: {path} cannot be written ({reason.strerror})"
    for other in kept:
        if other != path:
            with suppress(OSError):
                other.unlink()
    return library, str(path) + (", compiled again: the file there was damaged, or others could write it" if kept else "")


def _stamp(source: Path, flags: tuple[str, ...]) -> str:
    """Return a digest of what a library depends on but the compiler; nodes of other CPUs may share a home."""
    parts = (*flags, torch.__version__, *sorted(machine.feature_flags()))
    files = [source, *sorted(source.parent.glob("*.h"))]
    return hashlib.sha256(b"\0".join(map(Path.read_bytes, files)) + "\0".join(parts).encode()).hexdigest()[:16]


def _version(compiler: str) -> str:
    """Return a digest of the compiler's name and version. Raises BuildError where it cannot tell."""
    code, said = _run([compiler, "--version"], VERSION_LIMIT)
    if code:
        raise BuildError(f"{compiler} --version failed: {said}")
    return hashlib.sha256(f"{compiler}\0{said}".encode()).hexdigest()[:8]


def _verified(path: Path) -> bytes | None:
    """Return the content of a library in the cache; None for a link, a file that others can write, or other content."""
    try:
        content = read_own(path, largest=LARGEST)
    except OSError:
        return None
    return content if path.name.endswith(f"-{_digest(content)}.so") else None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _compile(source: Path, compiler: str, flags: tuple[str, ...], made: Path) -> Path:
    """Compile to made.so and return it. Raises BuildError."""
    # Linked without -fopenmp: OpenMP calls then use the runtime that torch has loaded, not a second one.
    for arguments in ((*flags, "-c", str(source), "-o", f"{made}.o"), ("-shared", f"{made}.o", "-o", f"{made}.so")):
        code, said = _run([compiler, *arguments], LIMIT)
        if code or not Path(arguments[-1]).exists():
            raise BuildError(f"{compiler} failed: {(said.splitlines() or [f'exit code {code}'])[0]}")
    return Path(f"{made}.so")


def _run(command: list[str], seconds: float) -> tuple[int, str]:
    """Run a compiler; return its exit code, and all that it said. Raises BuildError where it takes too long."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, errors="replace", start_new_session=True)
        try:
            said, _ = process.communicate(timeout=seconds)
        except BaseException:  # an interrupt too: its own session gets no signal of the terminal
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the driver, and what it has started
            process.wait()
            raise
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} took more than {seconds:.0f} s and was ended") from None
    except OSError as problem:
        raise BuildError(f"{command[0]} cannot be run ({problem.strerror})") from None
    return process.returncode, said.strip()


def _load(content: bytes) -> ctypes.CDLL:
    """Load a library from memory, or from a file of this process alone where the system forbids that. Raises OSError."""
    try:
        descriptor = os.memfd_create("mscnn-sparse")  # stays open: a second library must get another name
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        return ctypes.CDLL(f"/proc/self/fd/{descriptor}")
    except OSError:
        with tempfile.TemporaryDirectory() as private:
            path = Path(private) / "sparse.so"
            path.write_bytes(content)
            return ctypes.CDLL(str(path))
