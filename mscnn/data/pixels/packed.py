"""Packed fields: a file a plate of raw pixels, and an index of which site is which record.

A folder that `python -m mscnn pack` wrote holds

    pack.json            format and version, screen, channels, shape, type, plates, SHA-256 of the index
    index.parquet        a row a site: its metadata, source files, plate file, record in it, CRC-32 of the record's pixels
    plate-0001.fields    HEADER, padded to a page; records of raw (C, H, W) little-endian pixels, each padded to whole
                         pages; last the records' CRC-32s, 4 bytes each

A record is checked against its CRC-32 when it is first read.
pack.json is written last: without it there is no pack.  Shapes: C channels, H W pixels.
"""

import errno
import functools
import hashlib
import json
import math
import os
import re
import weakref
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from mscnn.core.errors import DataError, ImageError, UsageError, printable
from mscnn.data.pixels.images import Header
from mscnn.data.tables.site_table import METADATA, SiteTable

FORMAT, VERSION, MAGIC = "mscnn packed fields", 1, b"MSCNNPCK"
PLATE_FILE = r"plate-\d{4,}\.fields"
PAGE = 4096  # bytes to which headers and records are padded
INDEX, DESCRIPTION = "index.parquet", "pack.json"
AGAIN = "pack that folder again with `python -m mscnn pack`"
HEADER = np.dtype([("magic", "S8"), ("version", "<u4"), ("records", "<u4"), ("dtype", "S8"), ("channels", "<u4"),
                   ("height", "<u4"), ("width", "<u4"), ("page", "<u4"),
                   ("source", "S64"),       # SHA-256 of what was packed: names, sizes and times of files, metadata, options
                   ("crc32s", "<u4"),       # CRC-32 of the table of CRC-32s at the end
                   ("header", "<u4")])      # CRC-32 of the fields above


def stride(channels: int, height: int, width: int, dtype: str) -> int:
    """Bytes from one record to the next."""
    return -(-channels * height * width * np.dtype(dtype).itemsize // PAGE) * PAGE


def header_bytes(records: int, shape: tuple[int, int, int], dtype: str, source: str, crc32s: np.ndarray) -> bytes:
    """The first page of a plate file."""
    header = np.zeros((), HEADER)
    header["magic"], header["version"], header["records"], header["page"] = MAGIC, VERSION, records, PAGE
    header["dtype"], header["source"] = np.dtype(dtype).newbyteorder("<").str.encode(), source.encode()
    header["channels"], header["height"], header["width"] = shape
    header["crc32s"] = zlib.crc32(crc32s.astype("<u4").tobytes())
    header["header"] = zlib.crc32(header.tobytes()[:-4])
    return header.tobytes().ljust(PAGE, b"\0")


@dataclass(eq=False)
class PlateFile:
    """A plate file, open as long as this lives; threads and forked processes may read it at the same time.

    Raises DataError where it is not what its header promises.
    """

    path: Path
    shape: tuple[int, int, int] = field(init=False)
    dtype: np.dtype = field(init=False)
    source: str = field(init=False)
    crc32s: np.ndarray = field(init=False)  # (records,) uint32

    def __post_init__(self):
        try:
            self._file = os.open(self.path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._file)
            raw = os.pread(self._file, HEADER.itemsize, 0)
            self._size = os.fstat(self._file).st_size
        except OSError as problem:
            remedy = "raise `ulimit -n`: each plate takes one" if problem.errno == errno.EMFILE else AGAIN
            raise DataError(f"{self.path}: cannot be read ({problem.strerror}); {remedy}") from None
        header = np.frombuffer(raw.ljust(HEADER.itemsize, b"\0"), HEADER)[0]
        if header["magic"] != MAGIC or zlib.crc32(raw[:-4]) != header["header"]:
            raise DataError(f"{self.path}: its header is damaged, or it is no plate file; {AGAIN}")
        if header["version"] != VERSION or header["page"] != PAGE:
            raise DataError(f"{self.path}: version {header['version']} with pages of {header['page']}, this program reads "
                            f"version {VERSION} with pages of {PAGE}; {AGAIN}")
        records, self.dtype = int(header["records"]), np.dtype(header["dtype"].decode())
        self.shape = tuple(int(header[name]) for name in ("channels", "height", "width"))
        self.source = header["source"].decode()
        self._stride = stride(*self.shape, self.dtype)
        table, promised = PAGE + records * self._stride, PAGE + records * (self._stride + 4)
        if self._size != promised:
            cut = f"; record {max(0, self._size - PAGE) // self._stride} of {records} is the first that is not whole" \
                if self._size < table else ""
            raise DataError(f"{self.path}: {self._size:,} bytes, its header promises {promised:,}{cut}; copy it again, or "
                            f"{AGAIN}")
        self.crc32s = self._read(table, 4 * records, "its table of CRC-32s").view("<u4")
        if zlib.crc32(self.crc32s) != header["crc32s"]:
            raise DataError(f"{self.path}: its table of CRC-32s is damaged; copy it again, or {AGAIN}")
        self._checked = np.zeros(records, bool)

    def record(self, number: int) -> np.ndarray:
        """(C, H, W) pixels of a record. Raises ImageError where they are damaged or cannot be read."""
        raw = self._read(PAGE + number * self._stride, math.prod(self.shape) * self.dtype.itemsize, f"record {number}")
        if not self._checked[number]:
            if (found := zlib.crc32(raw)) != self.crc32s[number]:
                raise ImageError(f"{self.path}: record {number} is damaged (CRC-32 {found:08x}, written as "
                                 f"{self.crc32s[number]:08x}); copy the file again, or {AGAIN}")
            self._checked[number] = True
        return raw.view(self.dtype).reshape(self.shape)

    def _read(self, start: int, length: int, what: str) -> np.ndarray:
        """(length,) uint8.  Read, not mapped: an error of the disk under a memory map kills the process without a word."""
        raw, done = np.empty(length, np.uint8), 0
        try:
            while done < length and (more := os.preadv(self._file, [raw[done:]], start + done)):
                done += more
            size = os.fstat(self._file).st_size
        except OSError as problem:
            raise ImageError(f"{self.path}: {what} cannot be read ({problem.strerror}); copy the file again, or {AGAIN}") \
                from None
        if done < length or size < self._size:
            raise ImageError(f"{self.path}: was cut short while it was in use, to {size:,} bytes of {self._size:,}; "
                             f"copy it again, or {AGAIN}")
        return raw


@functools.cache
def plate_file(path: str) -> PlateFile:
    """The plate file at a path, opened once in a process."""
    return PlateFile(Path(path))


def read_packed(folder: Path, control: str | None = None) -> SiteTable:
    """The site table of a packed folder; its rows have a `record`: plate file, number and CRC-32.

    control: must be that of the pack, if given.
    Raises DataError where there is no pack, where it is of another version, or where its index has changed.
    """
    description = describe(folder)
    if control and control.casefold() != description["control"].casefold():
        raise UsageError(f"{folder} was packed with untreated wells {description['control']!r}, got --control {control}; "
                         f"say --control {printable(description['control'])}")
    try:
        raw = (folder / INDEX).read_bytes()
    except OSError as problem:
        raise DataError(f"{folder / INDEX}: cannot be read ({problem.strerror}); {AGAIN}") from None
    if hashlib.sha256(raw).hexdigest() != description["index_sha256"]:
        raise DataError(f"{folder / INDEX}: is not the index that {DESCRIPTION} names (SHA-256 differs); {AGAIN}")
    index = pd.read_parquet(folder / INDEX)
    if foreign := sorted(name for name in set(index["file"]) if not re.fullmatch(PLATE_FILE, name)):
        raise DataError(f"{folder / INDEX}: names {foreign[0]!r}, which is no plate file of the folder; {AGAIN}")
    frame = index[list(METADATA)].copy()
    frame["files"] = [tuple(files) for files in index["files"]]
    frame["record"] = [(str(folder / file), int(number), int(crc32)) for file, number, crc32 in
                       zip(index["file"], index["record"], index["crc32"], strict=True)]
    return SiteTable(frame, tuple(description["channels"]), description["control"])


def describe(folder: Path) -> dict:
    """What pack.json says. Raises DataError where it is missing or of another format or version."""
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_text())
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "not JSON"
        raise DataError(f"{path}: cannot be read ({reason}); the folder is no pack, or packing has not ended: run the same "
                        "`python -m mscnn pack` once more") from None
    if (description.get("format"), description.get("version")) != (FORMAT, VERSION):
        raise DataError(f"{path}: {description.get('format')!r} version {description.get('version')!r}, this program reads "
                        f"{FORMAT!r} version {VERSION}; {AGAIN}")
    return description


def is_packed(table: SiteTable) -> bool:
    """Whether sites are records of plate files."""
    return "record" in table.frame


def inspect(table: SiteTable) -> tuple[Header | None, list[str]]:
    """What all plate files of the table have in common, and what is wrong with them, a line each.

    Looks at headers and tables of CRC-32s; pixels are checked when they are read.
    """
    headers, wrong = set(), []
    for path, rows in table.frame.groupby(table.frame["record"].str[0], sort=True):
        try:
            plate = plate_file(path)
        except DataError as problem:
            wrong.append(problem.what)
            continue
        headers.add(Header(*plate.shape, plate.dtype.newbyteorder("=").name))
        wrong += [f"{path}: record {number} is not the one of the index (CRC-32 {crc32:08x} there), "
                  f"{printable(f'plate {row.plate} well {row.well} site {row.site}')}; {AGAIN}"
                  for row, (_, number, crc32) in zip(rows.itertuples(), rows["record"], strict=True)
                  if number >= len(plate.crc32s) or plate.crc32s[number] != crc32][:1]
    if len(headers) > 1:
        wrong.append(f"plate files differ: {'; '.join(sorted(map(str, headers)))}; {AGAIN}")
    return (headers.pop() if len(headers) == 1 else None), wrong


def read_record(table: SiteTable, site: int) -> np.ndarray:
    """Return the pixels (C, H, W) of a site's record. Raises ImageError where they are damaged."""
    path, number, _ = table.record(site)
    return plate_file(path).record(number)


def verify(table: SiteTable, advance: Callable[[int], object] = lambda number: None) -> list[str]:
    """What is wrong with the records of a table, a line each; every record is read. advance: told how many are done."""
    _, wrong = inspect(table)
    for site in range(len(table)) if not wrong else ():
        try:
            read_record(table, site)
        except ImageError as problem:
            wrong.append(problem.what)
        advance(1)
    return wrong
