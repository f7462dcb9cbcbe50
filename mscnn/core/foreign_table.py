"""Tables that any program may have written: parquet, CSV and data frames as columns of text or of numbers.

Column types that CSV lacks become text (categories, dates, decimals) or are refused by name (lists, objects, bytes).
"""

import csv
import datetime
import decimal
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as arrow_compute
import pyarrow.parquet as parquet

from mscnn.core import csv_safe
from mscnn.core.errors import DataError
from mscnn.core.files import read_bytes

LARGEST = 2**35     # bytes of a file
MOST_VALUES = 2**31  # rows times columns: a few packed bytes stand for many
TEXT, NUMBER, TRUTH, OTHER = "text", "numbers", "true or false", "other"
_SCALARS = (str, bool, int, float, np.generic, decimal.Decimal, datetime.date, datetime.time)


@dataclass(frozen=True)
class ForeignTable:
    """A table whose column names are text and unique."""

    columns: dict[str, pa.ChunkedArray]  # of the same length
    source: str                          # file, for errors
    remedy: str                          # what to do about a column that does not fit
    rows: int

    def kind(self, name: str) -> str:
        """Return TEXT, NUMBER, TRUTH or OTHER, by the type of a column."""
        return _kind(self.columns[name].type)

    def text(self, name: str) -> pd.Series:
        """Return a column as text, "" where it is missing; a number 1.0 is "1". Raises DataError for lists and the like."""
        column, kind = self.columns[name], self.kind(name)
        if kind == OTHER:
            self._refuse(name, f"holds {column.type}, not text")
        if pa.types.is_floating(column.type):
            shown = column.to_pandas().map(lambda value: "" if pd.isna(value) else f"{value:.15g}")
            return shown.astype(str).rename(name)
        if kind == TRUTH:
            return column.to_pandas().map({True: "True", False: "False"}).fillna("").astype(str).rename(name)
        return column.cast(pa.string()).fill_null("").to_pandas().rename(name)

    def numbers(self, name: str) -> pd.Series:
        """Return a column as float64, NaN where it is missing. Raises DataError naming a row that holds no number."""
        column, kind = self.columns[name], self.kind(name)
        if kind in (OTHER, TRUTH):
            self._refuse(name, f"holds {column.type}, not numbers")
        if kind == NUMBER:
            return column.cast(pa.float64(), safe=False).to_pandas().rename(name)
        texts = self.text(name).str.strip()
        found = pd.to_numeric(texts.where(texts != ""), errors="coerce").astype(float)
        wrong = np.flatnonzero(found.isna() & (texts != "") & (texts.str.casefold() != "nan"))
        if len(wrong):
            self._refuse(name, f"holds {texts.iloc[wrong[0]][:40]!r} in row {wrong[0] + 1}, not a number")
        return found

    def finite(self, name: str, *, or_missing: bool = False) -> pd.Series:
        """Return a column as finite float64. or_missing: NaN is fine. Raises DataError naming a row that is not finite."""
        found = self.numbers(name)
        wrong = np.flatnonzero(np.isinf(found) if or_missing else ~np.isfinite(found))
        if len(wrong):
            self._refuse(name, f"holds {found.iloc[wrong[0]]} in row {wrong[0] + 1}, not a finite number")
        return found

    def require(self, *names: str) -> None:
        """Raise DataError naming the columns that are missing."""
        if missing := [name for name in names if name not in self.columns]:
            raise DataError(f"{self.source}: lacks {', '.join(missing)}; {self.remedy}")

    def _refuse(self, name: str, why: str) -> None:
        raise DataError(f"{self.source}: column {name[:60]} {why[:200]}; {self.remedy}")


def read_parquet(path: Path, remedy: str) -> ForeignTable:
    """Read a parquet file. Raises DataError for a file that is damaged, or that holds a column twice.

    An index that pandas saved is left out, unless it is named Metadata_*.
    """
    try:
        file = parquet.ParquetFile(pa.BufferReader(read_bytes(path, largest=LARGEST)))
        if file.metadata.num_rows * file.metadata.num_columns > MOST_VALUES:
            raise OSError(f"it promises {file.metadata.num_rows:,} rows of {file.metadata.num_columns:,} values")
        table = file.read()
        table.validate()
        index = (table.schema.pandas_metadata or {}).get("index_columns", [])
        names = [name for name in table.column_names if name not in index or name.startswith("Metadata_")]
        return _table(names, table.num_rows, table.column, str(path), remedy)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, pa.ArrowException) as problem:
        if isinstance(problem, DataError):
            raise
        raise DataError(f"{path}: no readable parquet file ({_line(problem)}); {remedy}") from None


def read_csv(path: Path, remedy: str, *, is_number: Callable[[str], bool], missing: list[str]) -> ForeignTable:
    """Read .csv or .csv.gz of any program. Raises DataError for a file that is no table in UTF-8, and for a column twice.

    is_number: of a column's name, whether it holds numbers; missing: texts that stand for NaN there.
    """
    try:
        if not path.is_file():
            raise OSError("it is a folder" if path.is_dir() else "there is no such file")
        frame = csv_safe.read_csv(path, is_number=is_number, missing=missing)
    except (OSError, EOFError, zlib.error, csv.Error, ValueError, OverflowError) as problem:
        raise DataError(f"{path}: cannot be read ({_line(problem)}); {remedy}") from None
    return from_frame(frame, str(path), remedy)


def from_frame(frame: pd.DataFrame, source: str, remedy: str) -> ForeignTable:
    """Return the table of a data frame, without its index. Raises DataError for a column that is there twice."""
    return _table([str(name) for name in frame.columns], len(frame), lambda number: _arrow(frame.iloc[:, number]), source,
                  remedy, by_place=True)


def _table(names: list[str], rows: int, column: Callable[[Any], pa.ChunkedArray], source: str, remedy: str, *,
           by_place: bool = False) -> ForeignTable:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{source}: column {', '.join(twice)} is there twice; {remedy}")
    found = {name: _plain(column(number if by_place else name)) for number, name in enumerate(names)}
    return ForeignTable(found, source, remedy, rows)


def _arrow(column: pd.Series) -> pa.ChunkedArray:
    """Return a pandas column as arrow; mixed scalars as text; what is no scalar as a column of OTHER."""
    if isinstance(column.dtype, pd.SparseDtype):
        column = column.sparse.to_dense()
    try:
        return pa.chunked_array([pa.array(column.reset_index(drop=True), from_pandas=True)])
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        try:
            return pa.chunked_array([pa.array(list(_texts(column)), pa.string())])
        except (TypeError, ValueError):  # ValueError: half a character
            return pa.chunked_array([pa.array([b""] * len(column), pa.binary())])


def _texts(column: pd.Series) -> Iterator[str | None]:
    """Yield scalars as text. Raises TypeError for what is no scalar."""
    for value in column:
        if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
            yield None
        elif isinstance(value, _SCALARS) and not isinstance(value, complex):
            yield f"{value:.15g}" if isinstance(value, float | np.floating) else str(value)
        else:
            raise TypeError(type(value).__name__)


def _plain(column: Any) -> pa.ChunkedArray:
    """Return a column without encodings; text is valid UTF-8. Raises ArrowException."""
    column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    if pa.types.is_run_end_encoded(column.type):
        column = arrow_compute.run_end_decode(column)  # pyright: ignore[reportAttributeAccessIssue]  (made at import)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if _kind(column.type) == TEXT:
        column = column.cast(pa.string())
        column.validate(full=True)
    return column


def _kind(type_: pa.DataType) -> str:
    types = pa.types
    if types.is_boolean(type_):
        return TRUTH
    if types.is_integer(type_) or types.is_floating(type_):
        return NUMBER
    is_text = (types.is_null, types.is_string, types.is_large_string, types.is_string_view, types.is_date,
               types.is_timestamp, types.is_time)
    return TEXT if any(fits(type_) for fits in is_text) else OTHER


def _line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:300]
