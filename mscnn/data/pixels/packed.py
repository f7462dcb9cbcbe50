"""A folder of packed fields, as `mscnn pack` writes it: a file a plate, and an index of sites and records.

    pack.json            PackDescription
    index.parquet        a row a site: its metadata, source files, plate file, record in it, CRC-32 of the record's pixels
    plate-0001.fields    records of raw pixels (plate_file.py)

pack.json is written last: without it there is no pack.  Shapes: C channels, H W pixels.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import DataError, ImageError, UsageError, printable
from mscnn.data.pixels.images import Header
from mscnn.data.pixels.plate_file import AGAIN, VERSION, open_plate_file
from mscnn.data.tables.pixel_size import PIXEL_SIZE
from mscnn.data.tables.problems import refuse
from mscnn.data.tables.row_faults import find_faults
from mscnn.data.tables.site_table import METADATA, SiteTable, without_missing

FORMAT = "mscnn packed fields"
PLATE_FILE = r"plate-\d{4,}\.fields"
INDEX, DESCRIPTION = "index.parquet", "pack.json"
_ADDED = ("unit", "notes")  # entries that packs of earlier releases lack


@dataclass(frozen=True, kw_only=True)
class PackDescription:
    """Content of pack.json, in its order."""

    format: str = FORMAT
    version: int = VERSION
    control: str             # compound of the untreated wells
    channels: list[str]      # names in the order of the records
    screen: str              # "bbbc021" or "sites": the reader of the table that was packed
    shape: list[int]         # channels, height, width of a record
    dtype: str               # "uint8" or "uint16"
    downscale: int | str     # side of the blocks of pixels that were averaged to one, or their height x width, as 4x5
    sites: int               # number of records
    plates: dict[str, str]   # by plate file, its plate
    index_sha256: str        # of index.parquet
    unit: str = ""           # of the concentrations; "": the table did not tell
    notes: list[str] = field(default_factory=list)  # what a reader of scores must know: sites that were left out

    def to_json(self) -> dict[str, Any]:
        """Return what pack.json holds."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "PackDescription":
        """Return the record of what pack.json holds. Raises KeyError for what it lacks."""
        return cls(**{name: content[name] for name in (entry.name for entry in fields(cls))
                      if name in content or name not in _ADDED})


def read_packed(folder: Path, control: str | None = None) -> SiteTable:
    """Return the site table of a packed folder; its rows have a `record`: plate file, number and CRC-32.

    control: must be that of the pack, if given.
    Raises DataError where there is no pack, where it is of another version, or where its index has changed.
    """
    description = describe(folder)
    if control and not identity.is_same(control, description.control):
        raise UsageError(f"{folder} was packed with untreated wells {description.control!r}, got --control {control}; "
                         f"say --control {printable(description.control)}")
    try:
        raw = (folder / INDEX).read_bytes()
    except OSError as problem:
        raise DataError(f"{folder / INDEX}: cannot be read ({problem.strerror}); {AGAIN}") from None
    if hashlib.sha256(raw).hexdigest() != description.index_sha256:
        raise DataError(f"{folder / INDEX}: is not the index that {DESCRIPTION} names (SHA-256 differs); {AGAIN}")
    index = pd.read_parquet(folder / INDEX)
    if foreign := sorted(name for name in set(index["file"]) if not re.fullmatch(PLATE_FILE, name)):
        raise DataError(f"{folder / INDEX}: names {foreign[0]!r}, which is no plate file of the folder; {AGAIN}")
    frame = without_missing(index[list(METADATA)], description.control)
    frame["concentration"] = frame["concentration"].map(identity.dose)
    if PIXEL_SIZE in index:
        frame[PIXEL_SIZE] = pd.to_numeric(index[PIXEL_SIZE], errors="coerce")
    frame["files"] = [tuple(files) for files in index["files"]]
    frame["record"] = [(str(folder / file), int(number), int(crc32)) for file, number, crc32 in
                       zip(index["file"], index["record"], index["crc32"], strict=True)]
    refuse(find_faults(frame, str(folder / INDEX), description.channels), folder / INDEX)
    return SiteTable(frame, tuple(description.channels), description.control, unit=description.unit,
                     notes=tuple(description.notes))


def describe(folder: Path) -> PackDescription:
    """Return the content of pack.json. Raises DataError where it is missing, or of another format or version."""
    path = folder / DESCRIPTION
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; name one that `mscnn pack` wrote")
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "not JSON"
        raise DataError(f"{path}: cannot be read ({reason}); the folder is no pack, or packing has not ended: run the same "
                        "`mscnn pack` once more") from None
    written = [content.get(name) for name in ("format", "version")] if isinstance(content, dict) else [None, None]
    if written != [FORMAT, VERSION]:
        raise DataError(f"{path}: {written[0]!r} version {written[1]!r}, this program reads {FORMAT!r} version {VERSION}; "
                        f"{AGAIN}")
    try:
        return PackDescription.from_json(content)
    except KeyError as name:
        raise DataError(f"{path}: lacks {name}; {AGAIN}") from None


def is_packed(table: SiteTable) -> bool:
    """Return whether sites are records of plate files."""
    return "record" in table.frame


def inspect(table: SiteTable) -> tuple[Header | None, list[str]]:
    """Return the header that all plate files of the table share, None if they differ, and a line for each problem.

    Reads headers and tables of CRC-32s; pixels are checked when they are read.
    """
    headers, wrong = set(), []
    for path, rows in table.frame.groupby(table.frame["record"].str[0], sort=True):
        try:
            plate = open_plate_file(path)
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
    return open_plate_file(path).record(number)


def verify(table: SiteTable, advance: Callable[[int], object] = lambda number: None) -> list[str]:
    """Read every record of a table; return a line for each that is damaged. advance: called with the number done."""
    _, wrong = inspect(table)
    for site in range(len(table)) if not wrong else ():
        try:
            read_record(table, site)
        except ImageError as problem:
            wrong.append(problem.what)
        advance(1)
    return wrong
