"""Faults of a table or its files: a record of each, one refusal that lists them all, and a CSV that is safe to open."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

from mscnn.core import csv_safe
from mscnn.core.errors import DataError, printable

COLUMNS = ("row", "file", "reason")


@dataclass(frozen=True)
class Problem:
    """One fault of a table or of its files."""

    row: int | None  # of the table, counted as in its file, where the header is 1; None: of the whole
    file: str        # the image or table concerned
    reason: str      # complete by itself
    kind: str        # what is wrong, in the plural, and the remedy: `files are missing; copy them`

    def line(self, source: Path) -> str:
        """Return one line, `row 2: file: reason`, for readers who know that it is about the table at source."""
        place = "" if self.row is None else f"row {self.row}: "
        file, reason = printable(self.file), printable(self.reason)
        return place + (reason if self.file == str(source) or file in reason else f"{file}: {reason}")


def rows_of(column: pd.Series) -> Iterable[tuple[int, Any]]:
    """Return (row in its file, value) of a column whose index counts rows."""
    return cast(Iterable[tuple[int, Any]], column.items())


def sentence(kind: str, number: int, places: str = "") -> str:
    """Return `files are missing: 3 in 2 of 5 plates; copy them` for a kind of problem.  places: where, after a blank."""
    what, parting, remedy = kind.partition("; ")
    return f"{what}: {number:,}{places}{parting}{remedy}"


def count(problems: Sequence[Problem]) -> list[str]:
    """Return `concentrations are not numbers: 3; write them like 0.3` for each kind of problem."""
    return [sentence(kind, number) for kind, number in Counter(problem.kind for problem in problems).items()]


def refuse(problems: Sequence[Problem], source: Path) -> None:
    """Raise a DataError that lists all problems of the table at source, if there are any."""
    if problems:
        raise DataError(f"{source}: {'. '.join(count(problems))}", [problem.line(source) for problem in problems])


def in_order(problems: Sequence[Problem]) -> list[Problem]:
    """Sort problems by row, those of the whole table first."""
    return sorted(problems, key=lambda problem: (problem.row or 0, problem.file, problem.reason))


def write_csv(problems: Sequence[Problem], path: Path) -> None:
    """Write columns row, file, reason; what a spreadsheet would take for a formula gets an apostrophe in front."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        rows.writerows(["" if problem.row is None else problem.row,
                        *(csv_safe.escape(printable(text)) for text in (problem.file, problem.reason))]
                       for problem in problems)
