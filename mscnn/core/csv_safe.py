"""Write tables as CSV that a spreadsheet shows and does not compute, and read them back without loss.

Text that starts like a formula (=, +, -, @, a tab, a line break) gets an apostrophe in front, as OWASP advises against CSV
injection.  So does text after a semicolon or a tab, where some spreadsheets start the next cell.  Text that already starts
with apostrophes gets one more, so that reading back removes exactly one.  Numbers are never changed.
"""

import csv
import gzip
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pandas as pd

_START = r"(^|[;\t])"
_FORMULA = r"(?=[^\S\t\r\n]*[=+\-@＝＋－＠]|[\t\r\n])"  # after blanks too; some spreadsheets also compute the wide forms
_UNESCAPED = re.compile(rf"{_START}('*){_FORMULA}")
_ESCAPED = re.compile(rf"{_START}'('*){_FORMULA}")


def escape(text: Any) -> Any:
    """Return text as a cell that no spreadsheet computes; values that are no text unchanged."""
    return _UNESCAPED.sub(r"\1'\2", text) if isinstance(text, str) else text


def unescape(text: Any) -> Any:
    """Undo `escape`."""
    return _ESCAPED.sub(r"\1\2", text) if isinstance(text, str) else text


def escape_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with all text and column names escaped."""
    return _changed(frame, escape)


def unescape_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Undo `escape_table`, for a table read from a file of `write_csv`."""
    return _changed(frame, unescape)


def write_csv(frame: pd.DataFrame, path: Path, *, index: bool = False) -> None:
    """Write a table as CSV in UTF-8. Every CSV file with names of a screen is written here."""
    text = escape_table(frame).to_csv(index=index, lineterminator="\n")
    if "\r" in text:  # unquoted, it would start a row; Python quotes it from 3.13 on
        text = escape_table(frame).to_csv(index=index, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    path.write_text(text, encoding="utf-8", newline="")


def find_separator(header: str) -> str:
    """Return what separates the columns of a table, by its first line: a comma, a semicolon or a tab."""
    num_columns = {separator: len(next(csv.reader([header], delimiter=separator), [])) for separator in ",;\t"}
    return max(num_columns, key=lambda separator: num_columns[separator])  # of equal ones the first, the comma


def read_csv(path: Path, *, is_number: Callable[[str], bool], missing: list[str]) -> pd.DataFrame:
    """Read a CSV (or .csv.gz) of any program: columns of numbers by their names, all others as the text they are.

    Columns may be separated by semicolons or tabs; numbers there may have decimal commas.
    missing: texts that stand for NaN in columns of numbers.  Raises OSError, EOFError, zlib.error or ValueError.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        first, second = (file.readline().decode("utf-8-sig") for _ in range(2))
    separator = find_separator(first)
    decimal = "," if separator != "," and re.search(r"\d,\d", second) else "."
    names = next(csv.reader([first], delimiter=separator), [])
    if twice := sorted({name for name in names if name and names.count(name) > 1}):  # pandas would call the second x.1
        raise ValueError(f"column {', '.join(twice)[:60]} is there twice")
    header = list(map(str, pd.read_csv(path, sep=separator, nrows=0)))
    numbers = [name for name in header if is_number(name)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # else values beyond the header are dropped in silence
        try:
            return pd.read_csv(path, sep=separator, decimal=decimal, index_col=False,
                               dtype={name: str for name in header if name not in numbers}, keep_default_na=False,
                               low_memory=False, na_values=dict.fromkeys(numbers, missing))
        except pd.errors.ParserWarning:
            raise ValueError(f"rows have more values than the header's {len(header)}") from None


def _has_apostrophe(column: pd.Series) -> bool:
    """Return whether some text of a column may have been escaped: a quick look that spares most columns a slow one."""
    return bool(column.astype("str").str.contains("'", regex=False).any())


def _changed(frame: pd.DataFrame, change: Callable[[Any], Any]) -> pd.DataFrame:
    """Return the table with a function applied to all text and column names."""
    changed = frame.rename(columns=change)
    for position, (_, column) in enumerate(frame.items()):
        if not pd.api.types.is_numeric_dtype(column) and (change is not unescape or _has_apostrophe(column)):
            changed.isetitem(position, cast(Any, column.map(change)))  # pandas' stubs leave out Series
    return changed
