"""Files that are whole or not there, and YAML that nothing hides in."""

import json
import os
from pathlib import Path
from typing import Any

import yaml

from mscnn.core.errors import UsageError


def put(aside: Path, path: Path) -> None:
    """Flush a file that was written aside to the disk, then give it its name: readers see the old one or the new one."""
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(aside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_yaml(path: Path, *, option: str = "", remedy: str = "") -> Any:
    """What a YAML file holds, built-in types alone. Raises UsageError for one that cannot be read, or that has aliases: a
    few lines of them stand for more than fits into memory.

    option: by which it was named; remedy: what to do about it, unless the reason says so.
    """
    try:
        text = path.read_text()
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("it has an alias, `*name`; write the value out")
        return yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as problem:
        said = " ".join(str(problem).split())
    except (LookupError, AttributeError):  # PyYAML's own, for `!!int ''`, `!!bool x` and `!!timestamp x`
        said = "it has a value that does not fit the type named before it"
    raise UsageError(f"{option}{' ' if option else ''}{path}: cannot be read ({said}){'; ' if remedy else ''}{remedy}")


def make_output_folder(folder: Path) -> None:
    """Make a folder for results, or take the one that is there. Raises UsageError where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UsageError(f"{folder} cannot be written ({problem}); name another folder with --out") from None


def write_json(path: Path, content: Any) -> None:
    """Indented, so that people can read it; whole or not at all."""
    aside = path.with_name(path.name + ".partial")
    aside.write_text(json.dumps(content, indent=1) + "\n")
    put(aside, path)
