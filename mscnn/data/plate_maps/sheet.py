"""A table as it stands in a file: rows of cells of text, each row with its number."""

from dataclasses import dataclass

from mscnn.data.tables.problems import Problem

Row = tuple[int, tuple[str, ...]]  # number in the file, from 1, and its cells without blanks around them


@dataclass(frozen=True)
class Sheet:
    """A text file, or one sheet of a workbook. Rows without text are left out."""

    name: str                                         # of the sheet, or of the file without its suffixes
    file: str                                         # for errors: the file, and its sheet where there are several
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    dates: frozenset[tuple[int, int]] = frozenset()   # row number and cell, from 0, of dates of a spreadsheet
    problems: tuple[Problem, ...] = ()


def is_comment(cells: tuple[str, ...]) -> bool:
    """Return whether a row is a comment: its first text starts with #, and is no error of a spreadsheet such as #N/A."""
    first = next((cell for cell in cells if cell), "")
    return first.startswith("#") and not first.startswith(("#N/A", "#NA", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!"))


def trimmed(cells: tuple[str, ...]) -> tuple[str, ...]:
    """Return the cells of a row without the empty ones at its end."""
    width = next((place for place in range(len(cells), 0, -1) if cells[place - 1]), 0)
    return cells[:width]
