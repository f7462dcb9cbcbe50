"""JSON files of records, read by one door: anybody can have written, changed or damaged a file since a command wrote it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mscnn.core.errors import DataError
from mscnn.core.files import read_text
from mscnn.core.records import Record, checked

LARGEST = 2**28  # bytes of a file of JSON
LONGEST = 300    # letters of a reason: a file decides what it quotes
Content = TypeVar("Content")
AnyRecord = TypeVar("AnyRecord", bound=Record)


def read_json(path: Path, kind: type[Content], remedy: str) -> Content:
    """Return the content of a JSON file as a record, or as any type that `records.checked` knows.

    Raises DataError naming file, entry, value and remedy where the file cannot be read, or does not fit.
    """
    return _read(path, lambda text: checked(kind, parse(text)), remedy)


def read_json_lines(path: Path, kind: type[AnyRecord], remedy: str) -> list[AnyRecord]:
    """Return the record of each line of a file. Raises DataError as read_json does, naming the line too."""
    def records(text: str) -> list[AnyRecord]:
        found = []
        for number, line in enumerate(text.split("\n"), 1):
            try:
                if line:
                    found.append(checked(kind, parse(line)))
            except ValueError as problem:
                raise ValueError(f"line {number}: {problem}") from None
        return found

    return _read(path, records, remedy)


def parse(text: str) -> Any:
    """Return what JSON holds. Raises ValueError for what is no JSON, and for a key that an object has twice."""
    return json.loads(text, object_pairs_hook=_object)


def _read(path: Path, parse: Callable[[str], Content], remedy: str) -> Content:
    try:
        return parse(read_text(path, largest=LARGEST))
    except RecursionError:
        reason = "it is nested too deeply"
    except (OSError, ValueError) as problem:
        reason = " ".join(str(getattr(problem, "strerror", None) or problem).split())
    raise DataError(f"{path}: cannot be read ({reason[:LONGEST]}); {remedy}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict. Raises ValueError for a key that it has twice: the last one would hold in silence."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return content
