"""A CSV read as the text it is."""

import csv
import gzip
import io
import zlib
from pathlib import Path

import pandas as pd

from mscnn.core.errors import DataError

LARGEST = 2**31  # bytes of a table that is read: /dev/zero has no end, and a few packed bytes stand for many


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV (or .csv.gz) with every value as text and any line ends; the index counts rows from 1, the header.

    Raises DataError for a file that is no table in UTF-8.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise OSError(f"more than {LARGEST:,} bytes")
        lines = io.StringIO(raw.decode("utf-8-sig"), newline="")  # line ends within a value stay as they are
        numbered = [(number, row) for number, row in enumerate(csv.reader(lines), 1) if row]
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; name the CSV with a row a site") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as problem:
        raise DataError(f"{path}: cannot be read ({problem}); give a CSV in UTF-8") from None
    if len(numbered) < 2:
        raise DataError(f"{path}: holds no rows below its header; give a table with one row a site")
    numbers, rows = zip(*numbered, strict=True)
    header = [name.strip() for name in rows[0]]
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        separator = "semicolons" if ";" in header[0] else "tabs"
        raise DataError(f"{path}: columns are separated by {separator}; save it with commas")
    ragged = [f"row {number}: {len(row)} values" for number, row in numbered if len(row) != len(header)]
    twice = sorted({name for name in header if header.count(name) > 1})
    if ragged or twice:
        raise DataError(f"{path}: the header has {len(header)} columns that these do not fit; mend the table",
                        ragged + [f"column {name} appears twice" for name in twice])
    return pd.DataFrame(rows[1:], columns=header, index=numbers[1:], dtype=str)
