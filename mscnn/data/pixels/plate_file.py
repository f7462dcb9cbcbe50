"""A plate file: the packed fields of one plate, with a CRC-32 for each.

    HEADER, padded to a page; records of raw (C, H, W) little-endian pixels, each padded to whole pages; last the records'
    CRC-32s, 4 bytes each

A record is checked against its CRC-32 when it is first read.  Shapes: C channels, H W pixels.
"""

import errno
import functools
import math
import os
import weakref
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mscnn.core.errors import DataError, ImageError

VERSION, MAGIC = 1, b"MSCNNPCK"
PAGE = 4096  # bytes to which headers and records are padded
AGAIN = "pack that folder again with `mscnn pack`"
HEADER = np.dtype([("magic", "S8"), ("version", "<u4"), ("records", "<u4"), ("dtype", "S8"), ("channels", "<u4"),
                   ("height", "<u4"), ("width", "<u4"), ("page", "<u4"),
                   ("source", "S64"),       # SHA-256 of what was packed: names, sizes and times of files, metadata, options
                   ("crc32s", "<u4"),       # CRC-32 of the table of CRC-32s at the end
                   ("header", "<u4")])      # CRC-32 of the fields above


def stride(channels: int, height: int, width: int, dtype: str | np.dtype) -> int:
    """Return the number of bytes from one record to the next."""
    return -(-channels * height * width * np.dtype(dtype).itemsize // PAGE) * PAGE


def header_bytes(records: int, shape: tuple[int, int, int], dtype: str, source: str, crc32s: np.ndarray) -> bytes:
    """Return the first page of a plate file."""
    header = np.zeros((), HEADER)
    header["magic"], header["version"], header["records"], header["page"] = MAGIC, VERSION, records, PAGE
    header["dtype"], header["source"] = np.dtype(dtype).newbyteorder("<").str.encode(), source.encode()
    header["channels"], header["height"], header["width"] = shape
    header["crc32s"] = zlib.crc32(crc32s.astype("<u4").tobytes())
    header["header"] = zlib.crc32(header.tobytes()[:-4])
    return header.tobytes().ljust(PAGE, b"\0")


@dataclass(eq=False)
class PlateFile:
    """A plate file, open as long as the object lives; threads and forked processes may read it at the same time.

    Raises DataError where the file is not what its header promises.
    """

    path: Path
    shape: tuple[int, int, int] = field(init=False)  # channels, height, width of a record
    dtype: np.dtype = field(init=False)
    source: str = field(init=False)                  # SHA-256 of what was packed
    crc32s: np.ndarray = field(init=False)           # (records,) uint32

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
        self.shape = int(header["channels"]), int(header["height"]), int(header["width"])
        self.source = header["source"].decode()
        self._stride = stride(*self.shape, self.dtype)
        table, promised = PAGE + records * self._stride, PAGE + records * (self._stride + 4)
        if self._size != promised:
            cut = f"; record {max(0, self._size - PAGE) // self._stride} of {records} is the first that is not whole" \
                if self._size < table else ""
            raise DataError(f"{self.path}: {self._size:,} bytes, its header promises {promised:,}{cut}; copy it again, or "
                            f"{AGAIN}")
        self.crc32s = self._read(table, 4 * records, "its table of CRC-32s").view("<u4")
        if zlib.crc32(self.crc32s.data) != header["crc32s"]:
            raise DataError(f"{self.path}: its table of CRC-32s is damaged; copy it again, or {AGAIN}")
        self._checked = np.zeros(records, bool)

    def record(self, number: int) -> np.ndarray:
        """Return the pixels (C, H, W) of a record. Raises ImageError where they are damaged or cannot be read."""
        raw = self._read(PAGE + number * self._stride, math.prod(self.shape) * self.dtype.itemsize, f"record {number}")
        if not self._checked[number]:
            if (crc32 := zlib.crc32(raw.data)) != self.crc32s[number]:
                raise ImageError(f"{self.path}: record {number} is damaged (CRC-32 {crc32:08x}, written as "
                                 f"{self.crc32s[number]:08x}); copy the file again, or {AGAIN}")
            self._checked[number] = True
        return raw.view(self.dtype).reshape(self.shape)

    def _read(self, start: int, length: int, what: str) -> np.ndarray:
        """Return (length,) uint8. A memory map would be killed by an error of the disk, without a message."""
        raw, done = np.empty(length, np.uint8), 0
        try:
            while done < length and (more := os.preadv(self._file, [raw[done:].data], start + done)):
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
def open_plate_file(path: str) -> PlateFile:
    """Return the plate file at a path, opened once in a process. Raises DataError."""
    return PlateFile(Path(path))
