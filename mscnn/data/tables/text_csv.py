"""A CSV read as the text it is."""

import csv
import gzip
import io
import re
import zlib
from itertools import dropwhile
from pathlib import Path

import pandas as pd

from mscnn.core.csv_safe import find_separator
from mscnn.core.errors import DataError

LARGEST = 2**31  # bytes of a table that is read: /dev/zero has no end, and a few packed bytes stand for many


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV (or .csv.gz) with every value as text and any line ends; the index counts rows from 1, the header.

    Columns are separated by commas, semicolons or tabs.  Empty rows, and empty values beyond the header, are left out.
    Raises DataError for a file that is no table in UTF-8.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise OSError(f"more than {LARGEST:,} bytes")
        numbered = _rows(raw.decode("utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; name the CSV with a row a site") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as problem:
        raise DataError(f"{path}: cannot be read ({problem}); give a CSV in UTF-8") from None
    if len(numbered) < 2:
        raise DataError(f"{path}: holds no rows below its header; give a table with one row a site")
    numbers, rows = zip(*numbered, strict=True)
    header = [name.strip() for name in rows[0]]
    ragged = [f"row {number}: {len(row)} values" for number, row in numbered if len(row) != len(header)]
    twice = sorted({name for name in header if header.count(name) > 1})
    if ragged or twice:
        raise DataError(f"{path}: the header has {len(header)} columns that these do not fit; mend the table",
                        ragged + [f"column {name} appears twice" for name in twice])
    return pd.DataFrame(rows[1:], columns=header, index=numbers[1:], dtype=str)


def header_names(path: Path) -> list[str]:
    """Return the names of the columns of a CSV (or .csv.gz) by its first line; none where it cannot be read."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return []
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            line = file.read(2**16).decode("utf-8-sig", "replace").partition("\n")[0]
    except (OSError, EOFError, zlib.error):
        return []
    return [name.strip(' "') for name in re.split(r"[,;\t\r]", line)]


def plain_name(column: str) -> str:
    """Return a column's name without prefix, unit and case: Image_Metadata_Plate_ID -> plateid, Dose (µM) -> dose."""
    return re.sub(r"\(.*?\)|\[.*?\]|[\W_]", "", re.sub(r"^(Image_)?(Metadata_)?", "", column)).lower()


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """Return the rows of a table that hold something, each with its number.

    Spreadsheets end lines with separators, and some write a first line like `sep=;`.
    """
    start, _, rest = text.partition("\n")
    declared = start.strip().lower()
    skipped = int(declared.startswith("sep=") and len(declared) <= len("sep=;"))
    body = rest if skipped else text
    lines = io.StringIO(body, newline="")  # line ends within a value stay as they are
    separator = find_separator(body.replace("\r", "\n").lstrip("\n").partition("\n")[0])
    rows = [(number, row) for number, row in enumerate(csv.reader(lines, delimiter=separator), 1 + skipped)
            if any(value.strip() for value in row)]
    width = next((sum(1 for _ in dropwhile(lambda name: not name.strip(), reversed(row))) for _, row in rows), 0)
    return [(number, row[:width] if not any(value.strip() for value in row[width:]) else row) for number, row in rows]
