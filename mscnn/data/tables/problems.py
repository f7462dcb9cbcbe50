"""What is wrong with a table or its files: a record each, one refusal of them all, and a CSV that is safe to open."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mscnn.core import csv_safe
from mscnn.core.errors import DataError, printable

COLUMNS = ("row", "file", "reason")


@dataclass(frozen=True)
class Problem:
    """One thing that does not fit.

    row: of the table, counted as in its file, where the header is 1; None: the whole.  file: the image or table concerned.
    reason: complete by itself.  kind: what follows the number of such problems in a sentence, with the remedy.
    """

    row: int | None
    file: str
    reason: str
    kind: str

    def line(self, source: Path) -> str:
        """One line, `row 2: file: reason`, for readers who know that it is about the table at source."""
        place = "" if self.row is None else f"row {self.row}: "
        file, reason = printable(self.file), printable(self.reason)
        return place + (reason if self.file == str(source) or file in reason else f"{file}: {reason}")


def count(problems: Sequence[Problem]) -> list[str]:
    """`3 concentrations are not numbers; write them like 0.3` for each kind of problem."""
    return [f"{number} {kind}" for kind, number in Counter(problem.kind for problem in problems).items()]


def refuse(problems: Sequence[Problem], source: Path) -> None:
    """Raise a DataError that lists all problems of the table at source, if there are any."""
    if problems:
        raise DataError(f"{source}: {'. '.join(count(problems))}", [problem.line(source) for problem in problems])


def in_order(problems: Sequence[Problem]) -> list[Problem]:
    """By row, those of the whole table first."""
    return sorted(problems, key=lambda problem: (problem.row or 0, problem.file, problem.reason))


def write_csv(problems: Sequence[Problem], path: Path) -> None:
    """Write columns row, file, reason; what a spreadsheet would take for a formula gets an apostrophe in front."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        rows.writerows(["" if problem.row is None else problem.row,
                        *(csv_safe.escape(printable(text)) for text in (problem.file, problem.reason))]
                       for problem in problems)
