"""Files that are whole or not there, locks, and YAML in which nothing can hide.  Imports no torch."""

import fcntl
import json
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

import yaml

from mscnn.core.errors import UsageError

LOCK = "lock"           # file of a folder that a process locks while it writes there
PARTIAL = ".partial"    # ending of a file, or a folder, that is being written
LARGEST_YAML = 2**22    # bytes; settings take some thousand
_held: dict[Path, AbstractContextManager] = {}


@contextmanager
def write_atomically(path: Path, *, alone: bool = False) -> Iterator[Path]:
    """Yield the path of a file to write; after the block flush it to the disk and give it its name.

    Readers see the old file or the whole new one.  What an unfinished block has written is removed.  Raises OSError.
    alone: raise UsageError where another process writes the same file.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        lock = lock_file(partial) if alone else nullcontext()
    except BlockingIOError:
        raise UsageError(f"{path}: another process writes it; wait until it ends, or name another file") from None
    try:
        with lock:
            yield partial
            rename_durably(partial, path)
    except OSError as problem:
        if problem.errno:  # a full disk names no file
            problem.filename = problem.filename or str(path)
        raise
    finally:  # a full disk has no room for half a file
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def rename_durably(partial: Path, path: Path) -> None:
    """Flush a file to the disk, then give it another name that survives a loss of power."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, whole or not at all."""
    with write_atomically(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n")


def make_output_folder(folder: Path) -> None:
    """Make a folder for results, unless it is there. Raises UsageError where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UsageError(f"{folder} cannot be written ({problem}); name another folder with --out") from None


@contextmanager
def locked_folder(folder: Path, option: str = "--out") -> Iterator[None]:
    """Make a folder, and keep other commands from writing there within the block.

    The lock of a process that was killed is gone with it.  option: by which the folder was named.  Raises UsageError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = lock_file(folder / LOCK)
    except BlockingIOError:
        raise UsageError(f"{folder}: another process writes there; wait until it ends, or name another folder with "
                         f"{option}") from None
    except OSError as problem:
        raise UsageError(f"{folder} cannot be written ({problem.strerror}); name another folder with {option}") from None
    with file:
        try:
            yield
        finally:
            with suppress(OSError):
                (folder / LOCK).unlink()


def hold_folder(folder: Path, option: str = "--out") -> None:
    """Do the same until this process ends. Raises UsageError."""
    if (path := folder.absolute()) not in _held:
        lock = locked_folder(folder, option)
        lock.__enter__()
        _held[path] = lock


def lock_file(path: Path) -> IO[str]:
    """Open a file and lock it for as long as it stays open. Raises BlockingIOError where another process holds the lock.

    On a file system without locks the file is open and not locked.
    """
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_nlink == 0:  # whoever held the lock has just removed its file
            file.close()
            return lock_file(path)
    except BlockingIOError:
        file.close()
        raise
    except OSError:
        pass
    return file


def read_yaml(path: Path, *, option: str = "", remedy: str = "") -> Any:
    """Return what a YAML file holds, as built-in types.

    option: by which the file was named; remedy: what to do, unless the reason says so.
    Raises UsageError for a file that cannot be read, for a key that is there twice, and for aliases: a few lines of them
    can fill any memory.
    """
    try:
        text = read_text(path, largest=LARGEST_YAML)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("it has an alias, `*name`; write the value out")
        _refuse_repeated_keys(yaml.compose(text, yaml.SafeLoader))
        return yaml.safe_load(text)
    except (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError) as problem:
        reason = " ".join(str(problem).split())
    except (LookupError, AttributeError, TypeError):  # PyYAML's own, for `!!int ''`, `!!bool x` and `!!timestamp x`
        reason = "it has a value that does not fit the type named before it"
    raise UsageError(f"{option}{' ' if option else ''}{path}: cannot be read ({reason}){'; ' if remedy else ''}{remedy}")


def read_text(path: Path, *, largest: int) -> str:
    """Return the text of a file in UTF-8. Raises OSError as read_bytes does, and ValueError for other text."""
    return read_bytes(path, largest=largest).decode("utf-8-sig")


def read_bytes(path: Path, *, largest: int) -> bytes:
    """Return the bytes of a file. Raises OSError for what is no file, and could be read for ever, and for more bytes."""
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise OSError("it is a folder" if path.is_dir() else "it is no file")
    if state.st_size > largest:
        raise OSError(f"{state.st_size:,} bytes, where at most {largest:,} are expected")
    with path.open("rb") as file:
        return file.read(state.st_size)


def _refuse_repeated_keys(node: yaml.Node | None) -> None:
    """Raise ValueError for a key that an object of a YAML file has twice: the last one would hold in silence."""
    if isinstance(node, yaml.MappingNode):
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := [key for key, number in keys.items() if number > 1]:
            raise ValueError(f"it has {', '.join(twice)} twice")
    for part in node.value if isinstance(node, yaml.CollectionNode) else ():
        for inner in part if isinstance(part, tuple) else (part,):
            _refuse_repeated_keys(inner)
