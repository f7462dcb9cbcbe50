"""Many problems of rows in few lines: a line for each kind, with the plates that it is on.

Exercised by `pytest tests/data/tables/test_problem_summary.py`.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mscnn.core.words import counted, examples
from mscnn.data.tables.problems import Problem, sentence
from mscnn.data.tables.site_table import natural

PLATES = 3  # plates of a kind that are named
MOST = 18   # kinds that are listed


def plates_of(problems: Sequence[Problem], plates: pd.Series, source: Path) -> list[str | None]:
    """Return the plate of each problem; None where it is of the whole, or of a row of another table.

    plates: of the rows of the table at source, by their number; rows of another table, such as BBBC021's moa.csv, have
    numbers of their own.
    """
    return [str(plates.at[problem.row]) if problem.row in plates.index and (
        problem.file == str(source) or not problem.file.endswith((".csv", ".csv.gz"))) else None for problem in problems]


def lines(problems: Sequence[Problem], frame: pd.DataFrame, source: Path) -> list[str]:
    """Return a line for each kind of problem of rows, most first: how many, on how many plates, which, and the remedy.

    frame: of the site table at source; its index counts rows as the file does.
    """
    problems = [problem for problem in problems if problem.row is not None]
    plates = plates_of(problems, frame["plate"], source)
    kinds = Counter(problem.kind for problem in problems)
    files = frame["files"].map(len).groupby(frame["plate"]).sum()
    shown = []
    for kind, number in kinds.most_common(MOST):
        by_plate = Counter(plate for problem, plate in zip(problems, plates, strict=True) if problem.kind == kind and plate)
        shown.append(sentence(kind, number, _places(by_plate, files)))
    if len(kinds) > MOST:
        shown.append(f"and problems of {len(kinds) - MOST} more kinds")
    return shown


def _places(by_plate: Counter, files: pd.Series) -> str:
    """Return ` in 2 of 3 plates: P1, P2 (every file of 1 of them)`; "" where no row of a plate is concerned.

    files: of each plate.
    """
    if not by_plate:
        return ""
    whole = sum(number >= files[plate] for plate, number in by_plate.items())
    every = "" if not whole else " (every file)" if whole == len(by_plate) else f" (every file of {whole:,} of them)"
    return (f" in {len(by_plate):,} of {counted(len(files), 'plate')}{every}: "
            f"{examples(sorted(by_plate, key=natural), PLATES)}")
