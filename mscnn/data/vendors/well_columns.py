"""Columns of a table of images that name wells, and whether they agree with each other and with names of files.

Exercised by `pytest tests/data/vendors/test_well_columns.py`.
"""

import re
from collections.abc import Sequence

from mscnn.data.tables.wells import place_at, well_name, well_place

_HARMONY = re.compile(r"r(\d{2})c(\d{2})f\d{2,}p\d{2}-ch")
_TOKEN = re.compile(r"(?:^|[_\- ])([A-P])(\d{2})(?=[_\-. ])")


def well_names(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return each well as A01, "" where it is missing, and the texts that are no wells."""
    found = {text: well_place(text) if text.strip() else None for text in dict.fromkeys(texts)}
    names = {text: well_name(*place) if place else "" for text, place in found.items()}
    return [names[text] for text in texts], [text for text, place in found.items() if place is None and text.strip()]


def wells_at(rows: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return the wells at rows (numbers from 1, or letters) and columns (numbers from 1), "" where they are no place."""
    pairs = list(zip(rows, columns, strict=True))
    places = {pair: place_at(*pair) for pair in dict.fromkeys(pairs)}
    return [well_name(*place) if (place := places[pair]) else "" for pair in pairs]


def row_column_conflict(wells: Sequence[str], rows: Sequence[str], columns: Sequence[str]) -> str:
    """Return how wells (A01, or "") contradict columns of rows and columns, "" where they agree.

    Rows and columns may be counted from 0 or from 1, the same in all of a table.
    """
    spots = {(well_place(well), _row(row), _number(column))
             for well, row, column in dict.fromkeys(zip(wells, rows, columns, strict=True)) if well}
    told = sorted((place, row, column) for place, row, column in spots
                  if place is not None and row is not None and column is not None)
    for first in (1, 0):
        if all((row - first, column - first) == place for place, row, column in told):
            return ""
    return _describe([(place, (row - 1, column - 1)) for place, row, column in told], "their rows and columns")


def harmony_name_conflict(wells: Sequence[str], names: Sequence[str]) -> str:
    """Return how wells contradict names of files as Harmony writes them, r02c03f01p01-ch1.tiff; "" where they agree."""
    told = []
    for well, name in zip(wells, names, strict=True):
        match = _HARMONY.search(name) if well else None
        place = well_place(well)
        if match and place:
            told.append((place, (int(match[1]) - 1, int(match[2]) - 1)))
    return _describe(sorted(set(told)), "the names of their files")


def other_name_conflict(wells: Sequence[str], names: Sequence[str]) -> str:
    """Return how wells contradict what may be wells in names of files, as in P1_B03_s1.tif; "" where they agree.

    Names are compared only where each has one such part, and these differ: it may be another number.
    """
    tokens = [_TOKEN.findall(name) for name in names]
    if not all(len(found) == 1 for found in tokens) or len({found[0] for found in tokens}) < 2:
        return ""
    told = {(place, (ord(row) - ord("A"), int(column) - 1))
            for well, [(row, column)] in zip(wells, tokens, strict=True) if (place := well_place(well)) is not None}
    return _describe(sorted(told), "the names of their files")


def _describe(told: list[tuple[tuple[int, int], tuple[int, int]]], what: str) -> str:
    """Return how many wells are elsewhere by another source, with an example.

    told: place of each well, and its place by the source.
    """
    wrong = [(place, other) for place, other in told if place != other]
    if not wrong:
        return ""
    steps = {(other[0] - place[0], other[1] - place[1]) for place, other in told}
    is_turned = len(told) > 1 and all(other == place[::-1] for place, other in told)
    how = ", with rows and columns exchanged" if is_turned else ", all shifted alike" if len(steps) == 1 else ""
    (place, other), number = wrong[0], len({place for place, _ in wrong})
    spot = f"row {other[0] + 1} column {other[1] + 1}"
    return f"{number} wells contradict {what}{how}: {well_name(*place)} is at {spot} there"


def _row(text: str) -> int | None:
    """Return the number of a row: 3 for 3, 03, 3.0 and C; None for another text."""
    plain = text.strip().lower()
    if re.fullmatch(r"a?[a-z]", plain):
        return ord(plain[-1]) - ord("a") + 1 + (26 if len(plain) == 2 else 0)
    return _number(plain)


def _number(text: str) -> int | None:
    match = re.fullmatch(r"([0-9]{1,3})(\.0*)?", text.strip())
    return int(match[1]) if match else None
