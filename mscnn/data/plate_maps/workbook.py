"""Sheets of an .xlsx workbook.  Needs openpyxl, of the optional part `plates`."""

import datetime
import io
import zipfile
import zlib
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from mscnn.core.errors import DataError, UsageError
from mscnn.data.plate_maps.sheet import Sheet, trimmed
from mscnn.data.plate_maps.text_table import stem
from mscnn.data.tables.problems import Problem

LARGEST = 2**29  # bytes of all parts of a workbook when unpacked
_FORMULA = "formulas have no stored result; open the workbook in a spreadsheet, save it, and read that"
_ERRORS = ("#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!")


def read_workbook(raw: bytes, path: Path) -> list[Sheet]:
    """Return the sheets that hold something; of formulas the results as they are stored.

    Raises UsageError where openpyxl is not installed, and DataError for a workbook that is damaged or too large.
    """
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise UsageError(f'{path}: reading .xlsx needs openpyxl; pip install "mscnn[plates]", or save it as CSV') from None
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as parts:
            size = sum(part.file_size for part in parts.infolist())
            if size > LARGEST or "[Content_Types].xml" not in parts.namelist():
                raise ValueError(f"{size:,} bytes when unpacked" if size > LARGEST else "it is a ZIP file of another kind")
        books = [load_workbook(io.BytesIO(raw), read_only=True, data_only=results) for results in (True, False)]
        found = [_sheet(name, books[0][name], books[1][name], path, len(books[0].sheetnames) > 1)
                 for name in books[0].sheetnames if hasattr(books[0][name], "iter_rows")]
    except (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, ParseError,
            zipfile.BadZipFile, zlib.error) as problem:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
        raise DataError(f"{path}: no readable workbook ({reason}); save it again as .xlsx or CSV") from None
    sheets = [sheet for sheet in found if sheet.rows]
    if not sheets:
        raise DataError(f"{path}: the workbook holds no values; give a table of wells")
    return sheets


def _sheet(name: str, results: Any, formulas: Any, path: Path, is_one_of_many: bool) -> Sheet:
    """Return one sheet. results, formulas: the worksheet with stored results, and with formulas."""
    file = f"{path} sheet {name}" if is_one_of_many else str(path)
    rows, dates, problems = [], set(), []
    stored, without = 0, []
    for sheet in (results, formulas):
        sheet.reset_dimensions()  # what some programs write there is wrong
    for number, (values, written) in enumerate(zip(results.iter_rows(values_only=True),
                                                   formulas.iter_rows(values_only=True), strict=True), 1):
        cells = trimmed(tuple(map(_text, values)))
        dates |= {(number, place) for place, value in enumerate(values)
                  if isinstance(value, datetime.date | datetime.time | datetime.timedelta)}
        problems += [Problem(number, file, f"cell {place + 1} holds the error {cell}",
                             "cells hold errors of formulas; mend the formulas")
                     for place, cell in enumerate(cells) if cell in _ERRORS]
        for place, formula in enumerate(written):
            if isinstance(formula, str) and formula.startswith("="):
                if values[place] is None:
                    without.append((number, place))
                else:
                    stored += formula != values[place]
        if cells:
            rows.append((number, cells))
    if without and not stored:  # beside results, none is an empty text
        problems += [Problem(number, file, f"the formula of cell {place + 1} has no stored result", _FORMULA)
                     for number, place in without]
        rows = rows or [(without[0][0], ("=",))]
    width = max((len(cells) for _, cells in rows), default=0)
    padded = tuple((number, cells + ("",) * (width - len(cells))) for number, cells in rows)
    return Sheet(name if is_one_of_many else stem(path), file, padded, (), frozenset(dates), tuple(problems))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return str(value).strip()
