"""Numbers of an index as its text has them -> whole numbers and wells; names of channels that differ.

Exercised by `pytest tests/data/vendors/test_plate_numbers.py`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar

from mscnn.core import identity
from mscnn.data.tables.wells import LAST_COLUMN, LAST_ROW, well_name

Key = TypeVar("Key")

OUTSIDE = "planes lie outside of the plate; copy the index again, or correct it"               # kinds of problems
NUMBERS = "planes lack a number that tells their place; copy the index again, or correct it"
_WHOLE = re.compile(r"-?[0-9]{1,9}")


@lru_cache(maxsize=2**12)
def whole(text: str | None) -> int | None:
    """Return the whole number that a text is, of at most 9 digits; None for another text or none."""
    stripped = (text or "").strip()
    return int(stripped) if _WHOLE.fullmatch(stripped) else None


@lru_cache(maxsize=2**12)
def well_at(row: int, column: int, rows: int | None, columns: int | None) -> str:
    """Return the well at row and column from 1; "" outside of a plate of so many rows and columns, None if not known."""
    is_inside = 1 <= row <= min(rows or LAST_ROW, LAST_ROW) and 1 <= column <= min(columns or LAST_COLUMN, LAST_COLUMN)
    return well_name(row - 1, column - 1) if is_inside else ""


def outside(what: str, row: int, column: int, rows: int | None, columns: int | None) -> str:
    """Return why something has no well, in words."""
    return f"{what} is in row {row} and column {column} of a plate of {rows or LAST_ROW} x {columns or LAST_COLUMN} wells"


def distinct_names(names: Mapping[Key, str], numbers: Mapping[Key, str]) -> dict[Key, str]:
    """Return a name for each channel of a plate, no two of which are the same in the eyes of `identity`.

    numbers: what is added to the names that several channels have, and stands for an empty one.
    """
    forms = [identity.normal_form(name) for name in names.values()]
    named: dict[Key, str] = {}
    for (key, name), form in zip(names.items(), forms, strict=True):
        shown = " ".join(name.split())
        named[key] = numbers[key] if not form else shown if forms.count(form) == 1 else f"{shown} {numbers[key]}"
    return named
