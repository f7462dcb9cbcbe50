"""A cache folder that only its user can write, and files in it that only its user has written.  Imports no torch."""

import os
import stat
import tempfile
from pathlib import Path

from mscnn.core.files import rename_durably


def own_folder(cache: Path) -> tuple[Path | None, str]:
    """Return the cache, made where it is missing; or None, and why it is not used: others can write it, or nobody."""
    try:
        folder = cache.expanduser()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        state = folder.stat()
        if state.st_uid != os.geteuid():
            return None, f"{folder} belongs to another user (id {state.st_uid})"
        if state.st_mode & 0o022:
            return None, f"others can write {folder}; change that with chmod 700"
        with tempfile.TemporaryDirectory(dir=folder):
            return folder, ""
    except (OSError, RuntimeError) as problem:  # RuntimeError: a user without a home
        return None, f"{cache} cannot be used ({getattr(problem, 'strerror', None) or problem})"


def read_own(path: Path, *, largest: int) -> bytes:
    """Return the content of a file in the cache, at most `largest` bytes.

    Raises OSError for a link, for what is no file, and for a file that is larger, or that others own or can write.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise OSError("it is no file")
        if state.st_uid != os.geteuid() or state.st_mode & 0o022:
            raise OSError("others can write it")
        if state.st_size > largest:
            raise OSError(f"it has {state.st_size:,} bytes")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def write_own(path: Path, content: bytes) -> None:
    """Write a file of the cache whole, for its user alone, in place of another one or of a link. Raises OSError."""
    with tempfile.TemporaryDirectory(dir=path.parent) as private:
        made = Path(private) / path.name
        made.write_bytes(content)
        made.chmod(0o600)
        rename_durably(made, path)
