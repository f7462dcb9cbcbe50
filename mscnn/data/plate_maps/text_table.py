"""Text files of any program -> a sheet: encodings, separators, `sep=` lines and packed files."""

import csv
import io
import re
import zlib
from collections import Counter
from pathlib import Path

from mscnn.core.errors import DataError
from mscnn.core.files import read_bytes
from mscnn.data.plate_maps.sheet import Sheet

LARGEST = 2**28  # bytes of a map, packed or not
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x81]")
_LOOKED_AT = 200  # lines that tell the separator
REMEDY = "give a table of wells as CSV, TSV or XLSX"


def read_content(path: Path) -> bytes:
    """Return the bytes of a map, unpacked where they are gzip. Raises DataError for an empty, large or damaged file."""
    try:
        raw = read_bytes(path, largest=LARGEST)
        if raw[:2] == b"\x1f\x8b":
            unpacker = zlib.decompressobj(wbits=31)
            raw = unpacker.decompress(raw, LARGEST + 1)
            if len(raw) > LARGEST:
                raise OSError(f"more than {LARGEST:,} bytes when unpacked")
            if not unpacker.eof:
                raise OSError("the gzip file is cut short; copy it again")
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; {REMEDY}") from None
    except (OSError, zlib.error) as problem:
        raise DataError(f"{path}: cannot be read ({problem}); {REMEDY}") from None
    if not raw.strip():
        raise DataError(f"{path}: the file is empty; {REMEDY}")
    return raw


def read_text(raw: bytes, path: Path) -> Sheet:
    """Return the sheet of a text file's bytes. Raises DataError for what is no text."""
    text, notes = decode(raw, path)
    lines = text.split("\n", 1)
    declared = lines[0].strip().lower()
    skipped = int(declared.startswith("sep=") and len(declared) <= len("sep=;"))
    body = lines[1] if skipped and len(lines) > 1 else text
    named = declared[4:] if len(declared) == len("sep=;") else ""
    separator = (named or ("\t" if lines[0].rstrip("\r\n").endswith("\t") else "")) if skipped else ""
    try:
        reader = csv.reader(io.StringIO(body, newline=""), delimiter=separator or separator_of(body))
        rows = tuple((number, cells) for number, row in enumerate(reader, 1 + skipped)
                     if any(cells := tuple(cell.strip() for cell in row)))
    except csv.Error as problem:
        raise DataError(f"{path}: is no table ({problem}); {REMEDY}") from None
    if not rows:
        raise DataError(f"{path}: holds no values; {REMEDY}")
    return Sheet(stem(path), str(path), rows, notes)


def decode(raw: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    """Return text by its byte order mark, else as UTF-8, else as Windows-1252 with a note. Raises DataError for no text."""
    notes: tuple[str, ...] = ()
    encoding = next((name for mark, name in _BOMS if raw.startswith(mark)), _utf16_without_mark(raw) or "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise DataError(f"{path}: is cut short or no text in {encoding}; save it as CSV in UTF-8") from None
        text = raw.decode("cp1252", "replace").replace("\ufffd", "\x81")  # the five codes that Windows-1252 lacks
        notes = ("the file is not in UTF-8 and is read as Windows-1252 (Latin-1); look at names with accents and µ",)
    if wrong := _CONTROL.search(text):
        kind = "a NUL" if wrong[0] == "\0" else f"the control character {wrong[0]!r}"
        line = text.count("\n", 0, wrong.start()) + 1
        raise DataError(f"{path}: line {line} holds {kind}, as no text does; save it again as CSV in UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n"), notes


def separator_of(text: str) -> str:
    """Return what separates the cells: the comma, semicolon or tab by which most lines have the same number of cells."""
    lines = [line for line in text.split("\n", _LOOKED_AT)[:_LOOKED_AT] if line.strip() and not line.startswith("#")]

    def fit(separator: str) -> tuple[int, int]:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=separator))
        return max(((count, width) for width, count in widths.items() if width > 1), default=(0, 0))

    return max(",;\t", key=fit)  # of equal ones the first, the comma


def stem(path: Path) -> str:
    """Return the name of a file without its suffixes: map.csv.gz -> map."""
    name = path.name
    for suffix in (".gz", ".csv", ".tsv", ".txt", ".xlsx", ".xlsm"):
        name = name[:-len(suffix)] if name.lower().endswith(suffix) else name
    return name


def _utf16_without_mark(raw: bytes) -> str:
    """Return the encoding where every second byte is a zero, as of Latin letters in UTF-16; "" for others."""
    start = raw[:2000]
    zeros = [start[place::2].count(0) / max(len(start) // 2, 1) for place in (0, 1)]
    if max(zeros) < 0.5 or min(zeros) > 0.1:
        return ""
    return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
