"""Paths that a user gives: refused in one line, before any work, where they cannot be what was meant.  Imports no torch.

What a path names is known by the word that stands for it in --help, its metavar.
"""

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from mscnn.core.errors import UsageError, printable

FOLDER, FILE, LIST, KINDS = ("DIR",), ("FILE", "CSV"), "DIR,DIR,...", ("DIR", "FILE", "CSV", "PATH")
UNEXPANDED = {  # what a shell or another program should have replaced, and its name
    r"^~": "~, which no shell has expanded", r"\$[\w{(]|`": "a variable that no shell has expanded",
    r"%\(\w+\)|%\w+%|\{\{?\w*\}": "a placeholder that no program has filled", r"^<.*>$": "a placeholder",
    r"^['\"]|['\"]$": "quotes that no shell has taken away",
    r"^[a-z][a-z0-9+.-]+://": "an address, and no path of this machine",
    r"^\s|\s$": "a blank at its start or end", r"[\x01-\x1f\x7f]": "a control character"}


def check(name: str, value: str, kind: str, *, written: bool = False) -> None:
    """Raise UsageError for a path that is unexpanded, of the wrong kind, or, if it is to be written, cannot be.

    name: the setting, as --out or runs; kind: DIR, FILE, CSV, or PATH for either; written: by the command.
    """
    shown = f"{name} {printable(value)}"
    if not value.strip() or "\0" in value:
        raise UsageError(f"{shown} is empty, or holds a zero byte; give another path")
    found = _status(shown, Path(value))
    if found is None:
        if reason := next((reason for pattern, reason in UNEXPANDED.items() if re.search(pattern, value)), None):
            raise UsageError(f"{shown}: there is no such path, and it holds {reason}; write the path out")
        if os.path.islink(value):
            raise UsageError(f"{shown} is a link to {os.readlink(value)}, which is not there; name another path")
    elif kind in FOLDER and not stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{shown} is a file; name a folder")
    elif kind in FILE and stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{shown} is a folder; name a file")
    elif kind in FILE and written and not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{shown} is no regular file; name another file")
    if written:
        _require_writable(shown, Path(value), is_folder=found is not None and kind in FOLDER)


def require_own(folder: Path, names: Sequence[str], is_own: Callable[[Path], bool], option: str = "--out") -> None:
    """Raise UsageError where the folder holds a file of these names, and is_own(folder) denies that mscnn wrote it."""
    if (there := [name for name in names if os.path.lexists(folder / name)]) and not is_own(folder):
        raise UsageError(f"{folder} holds {there[0]}, which this command would write over and did not write; name another "
                         f"folder with {option}")


def has_keys(path: Path, *keys: str) -> bool:
    """Return whether a JSON file holds an object with these keys."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and all(key in content for key in keys)


def starts_with(path: Path, text: str) -> bool:
    """Return whether a file is not there, or begins with this text."""
    try:
        with path.open("rb") as file:
            return file.read(len(text.encode())) == text.encode()
    except FileNotFoundError:
        return True


def _status(shown: str, path: Path) -> os.stat_result | None:
    """Return the status of a path, None where it is not there. Raises UsageError where that cannot be found out."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
    except OSError as problem:
        remedy = "a part of it is a file; name another path" if problem.errno == errno.ENOTDIR else "name another path"
        raise UsageError(f"{shown} cannot be used ({problem.strerror}); {remedy}") from None


def _require_writable(shown: str, path: Path, *, is_folder: bool) -> None:
    """Raise UsageError where a path cannot be written: by the permissions of the nearest folder that is there."""
    folder = path.absolute() if is_folder else path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{shown} cannot be written ({folder} is read-only for this user); name another path")
