"""Names of wells <-> places on a plate of up to 1,536 wells.  Exercised by `pytest tests/data/tables/test_wells.py`."""

import re
from string import ascii_uppercase

from mscnn.core import identity

LAST_ROW, LAST_COLUMN = 32, 48  # AF 48, of a plate of 1,536 wells


def well_place(well: str) -> tuple[int, int] | None:
    """Return row and column from 0: B02 -> (1, 1), AF48 -> (31, 47); None for no place on a plate of up to 1,536 wells.

    Any spelling that `identity.well` knows is read: B2, b02, R02C02, B - 2.
    """
    match = re.fullmatch(r"(a?[a-z])([0-9]{2})", identity.well(well))
    if not match:
        return None
    row, column = (26 if len(match[1]) == 2 else 0) + ord(match[1][-1]) - ord("a"), int(match[2]) - 1
    return (row, column) if row < LAST_ROW and 0 <= column < LAST_COLUMN else None


def place_at(row: str, column: str) -> tuple[int, int] | None:
    """Return row and column from 0 of a row (letters, or a number from 1) and a column: (C, 03) and (3, 3.0) -> (2, 2)."""
    row, column = (re.sub(r"\.0*$", "", text.strip(" \"'")) for text in (row, column))
    match = re.fullmatch(r"(?:([a-z]+)|r?([0-9]+)) c?([0-9]+)", f"{row} {column}", re.IGNORECASE)
    return well_place(f"{match[1]}{match[3]}" if match[1] else f"R{match[2]}C{match[3]}") if match else None


def well_name(row: int, column: int) -> str:
    """Return the well at row and column from 0: (1, 1) -> B02, (31, 47) -> AF48. Raises ValueError beyond 1,536 wells."""
    if not (0 <= row < LAST_ROW and 0 <= column < LAST_COLUMN):
        raise ValueError(f"row {row + 1} column {column + 1} is no place on a plate of at most {LAST_ROW} x "
                         f"{LAST_COLUMN} wells")
    return f"{'A' if row > 25 else ''}{ascii_uppercase[row % 26]}{column + 1:02}"
