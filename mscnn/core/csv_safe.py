"""Tables as CSV that a spreadsheet shows and does not compute, and the same read back without loss.

Text that starts like a formula (=, +, -, @, a tab, a line break) gets an apostrophe in front, as OWASP advises against CSV
injection: at the start of a cell, and after a semicolon or a tab, which some spreadsheets take for the start of the next.
One apostrophe more is always one to take away: a name that has some by itself keeps them.  Numbers are never touched.
"""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

_START = r"(^|[;\t])"
_FORMULA = r"(?=[^\S\t\r\n]*[=+\-@＝＋－＠]|[\t\r\n])"  # after blanks too; the wide ones are computed by some as well
_BARE = re.compile(rf"{_START}('*){_FORMULA}")
_DEFUSED = re.compile(rf"{_START}'('*){_FORMULA}")


def escape(text: Any) -> Any:
    """The text as a cell that is not computed; what is no text as it is."""
    return _BARE.sub(r"\1'\2", text) if isinstance(text, str) else text


def unescape(text: Any) -> Any:
    """What `cell` was given."""
    return _DEFUSED.sub(r"\1\2", text) if isinstance(text, str) else text


def escape_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with each text and each column's name as `cell` writes it."""
    return _changed(frame, escape)


def unescape_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The inverse of `defused`, for a table that was read from a file that `write` wrote."""
    return _changed(frame, unescape)


def write_csv(frame: pd.DataFrame, path: Path, *, index: bool = False) -> None:
    """Write a table as CSV in UTF-8; the only way in which this program writes one that holds names of a screen."""
    text = escape_table(frame).to_csv(index=index, lineterminator="\n")
    if "\r" in text:  # bare, it would start a row; Python's csv quotes it only from 3.13 on
        text = escape_table(frame).to_csv(index=index, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    path.write_text(text, encoding="utf-8", newline="")


def read_csv(path: Path, *, is_number: Callable[[str], bool], missing: list[str]) -> pd.DataFrame:
    """Read a CSV (or .csv.gz) of any program: columns of numbers by their names, all others as the text they are.

    missing: texts that stand for NaN in columns of numbers.  Raises OSError, EOFError, zlib.error or ValueError.
    """
    header = pd.read_csv(path, nrows=0)
    numbers = [name for name in header if is_number(name)]
    return pd.read_csv(path, dtype={name: str for name in header if name not in numbers}, keep_default_na=False,
                       low_memory=False, na_values=dict.fromkeys(numbers, missing))


def _changed(frame: pd.DataFrame, change: Callable[[Any], Any]) -> pd.DataFrame:
    changed = frame.rename(columns=change)
    for place, (_, column) in enumerate(frame.items()):
        if not pd.api.types.is_numeric_dtype(column):
            changed.isetitem(place, column.map(change))
    return changed
