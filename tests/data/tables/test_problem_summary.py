"""Thousands of problems in a few lines, by kind and plate."""

from pathlib import Path

import pandas as pd

from mscnn.data.tables.problem_summary import MOST, lines
from mscnn.data.tables.problems import Problem

SOURCE = Path("sites.csv")
# Three plates of four rows, two files each; rows are counted from 2.
FRAME = pd.DataFrame({"plate": [f"Week{week}" for week in (1, 2, 10) for _ in range(4)], "files": [("a", "b")] * 12},
                     index=range(2, 14))
MISSING = "files are missing; unpack them"


def of_files(rows: range, kind: str = MISSING) -> list[Problem]:
    return [Problem(row, f"{row}{channel}.tif", "missing", kind) for row in rows for channel in "ab"]


def test_a_kind_names_its_plates_in_order_and_those_of_which_every_file_is_concerned():
    assert lines(of_files(range(6, 14)), FRAME, SOURCE) == [
        "files are missing: 16 in 2 of 3 plates (every file): Week2, Week10; unpack them"]
    assert lines(of_files(range(5, 14)), FRAME, SOURCE) == [
        "files are missing: 18 in 3 of 3 plates (every file of 2 of them): Week1, Week2, Week10; unpack them"]
    assert lines(of_files(range(5, 7)), FRAME, SOURCE) == [
        "files are missing: 4 in 2 of 3 plates: Week1, Week2; unpack them"]


def test_rows_of_another_table_are_on_no_plate_and_what_concerns_the_whole_is_no_kind():
    problems = [Problem(3, "moa.csv", "again", "treatments are annotated twice; keep one"), Problem(None, "s", "x", "y"),
                Problem(3, "sites.csv", "no well", "values are empty; fill them in")]
    assert lines(problems, FRAME, SOURCE) == ["treatments are annotated twice: 1; keep one",
                                              "values are empty: 1 in 1 of 3 plates: Week1; fill them in"]


def test_plates_and_kinds_are_few_lines_whatever_their_number():
    frame = pd.DataFrame({"plate": [f"P{row}" for row in range(1000)], "files": [("a",)] * 1000}, index=range(1000))
    line, = lines(of_files(range(1000)), frame, SOURCE)
    assert line == "files are missing: 2,000 in 1,000 of 1,000 plates (every file): P0, P1, P2 and 997 more; unpack them"
    many = lines([problem for number in range(50) for problem in of_files(range(2, 3), f"kind {number}; r")], FRAME, SOURCE)
    assert (len(many), many[-1]) == (MOST + 1, f"and problems of {50 - MOST} more kinds")
