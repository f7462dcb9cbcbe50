"""CellProfiler's LoadData tables: a row a site, a column FileName_X or URL_X a channel; CSV or parquet.

Exercised by `pytest tests/data/vendors/test_load_data.py`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from mscnn.core import foreign_table
from mscnn.core.errors import DataError
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.text_csv import header_names, read_csv
from mscnn.data.vendors.names_below import LEAVES, Finder, pieces_of_place
from mscnn.data.vendors.planes import Listing, PlaneIndex, ReadOptions, planes_of
from mscnn.data.vendors.site_columns import find_roles, passed_on, site_rows, tell_names, whole

NAME = "LoadData of CellProfiler"
SAME = "files of several folders are one file here; name the folder that holds all those folders"
NO_NUMBER = "frames or series cannot be used; give whole numbers from 0, and files of one series"
REMEDY = "give the table with which CellProfiler loaded the images"
_ENDINGS = (".csv", ".csv.gz", ".tsv", ".txt", ".parquet")
_SIZE = re.compile(r"(?:Image_)?Height_(.+)", re.IGNORECASE)
_IMAGE = re.compile(r"(?:Image_)?(FileName|PathName|URL|Frame|Series)_(.+)", re.IGNORECASE)


@dataclass
class _Channel:
    """The columns of one channel."""

    key: str   # as in its columns, OrigDNA
    name: str  # for people, DNA
    columns: dict[str, str] = field(default_factory=dict)  # {"filename": "FileName_OrigDNA", ...}


def find(listing: Listing) -> list[str]:
    """Return the tables of LoadData; of those of one folder that differ by `_with_illum` or by their ending, one."""
    best: dict[str, str] = {}
    for file in listing.named("load_data*", "loaddata*"):
        stem = re.sub(r"(_with_illum)?\.(csv|csv\.gz|parquet)$", "", file.lower())
        if stem == file.lower() or not is_table(listing.path(file)):
            continue
        best[stem] = min(best.get(stem, file), file, key=lambda name: ("_with_illum" in name.lower(), name.lower()))
    return sorted(best.values())


def read(listing: Listing, index: str, options: ReadOptions) -> PlaneIndex:
    """Return the planes of a LoadData table: a row a channel and site, with the table's columns Metadata_*.

    PathName_X and URL_X are those of the machine that wrote the table; their longest tail below the folder counts.
    """
    path = listing.path(index)
    table = _read_table(path)
    columns = [str(name) for name in table]
    channels, left_out = _channels(columns)
    channels, saved = _loaded(channels, columns)
    if not channels:
        raise DataError(f"{path}: has no column FileName_X or URL_X that names images; {REMEDY}")
    problems: list[Problem] = []
    notes: list[str] = []
    roles = find_roles([name for name in columns if not _IMAGE.fullmatch(name)])
    sites = site_rows(table, roles, index, problems, notes)
    rows, numbers = [], []
    files = _Files(listing, index, table, problems)
    for order, channel in enumerate(channels):
        for row, file, frame in files.of(channel):
            rows.append({**sites[row], "channel": channel.name, "order": order, "path": file, "frame": frame})
            numbers.append(row)
    names = channels[0].columns.get("filename") or channels[0].columns["url"]
    tell_names([site["well"] for site in sites], table[names].tolist(), index, problems, notes)
    if left_out:
        notes.append(f"{len(left_out)} columns of illumination functions were left out ({', '.join(left_out)[:80]})")
    if saved:
        notes.append(f"{len(saved)} images that CellProfiler saved were left out ({', '.join(saved)[:80]})")
    if files.empty:
        notes.append(f"{files.empty} images have no file name in the table")
    passed = _passed_on(table, columns, [roles.get(role) for role in ("plate", "well", "site")])
    planes = pd.concat([planes_of(rows), passed.iloc[numbers].reset_index(drop=True)], axis=1)
    return PlaneIndex(planes, NAME, tuple(notes), tuple(problems))


def is_table(path: Path) -> bool:
    """Return whether a file is a table, by its ending, whose header has a column with names of images."""
    if not path.name.lower().endswith(_ENDINGS):
        return False
    try:
        names = parquet.read_schema(path).names if path.suffix.lower() == ".parquet" else header_names(path)
    except (OSError, pa.ArrowException):
        return False
    return any(re.match(r"(Image_)?(FileName|URL)_", name, re.IGNORECASE) for name in names)


def _read_table(path: Path) -> pd.DataFrame:
    """Return a CSV or parquet file as text, its rows counted from 2."""
    if path.suffix.lower() != ".parquet":
        return read_csv(path)
    table = foreign_table.read_parquet(path, REMEDY)
    frame = pd.DataFrame({name: table.text(name) for name in table.columns if table.kind(name) != foreign_table.OTHER})
    if frame.empty:
        raise DataError(f"{path}: holds no rows; {REMEDY}")
    return frame.set_axis(range(2, len(frame) + 2))


def _channels(columns: Sequence[str]) -> tuple[list[_Channel], list[str]]:
    """Return the channels in the order of the columns, and the images that are illumination functions.

    Orig before a name is CellProfiler's word for an image as the microscope took it.
    """
    found: dict[str, _Channel] = {}
    left_out: dict[str, None] = {}
    for column in columns:
        if not (match := _IMAGE.fullmatch(column)):
            continue
        if "illum" in match[2].lower():
            left_out[match[2]] = None
        else:
            found.setdefault(match[2], _Channel(match[2], match[2])).columns[match[1].lower()] = column
    channels = [channel for channel in found.values() if {"filename", "url"} & set(channel.columns)]
    for channel in channels:
        bare = re.sub(r"^Orig(?=.)", "", channel.name)
        channel.name = bare if bare not in found else channel.name
    return channels, list(left_out)


def _loaded(channels: list[_Channel], columns: Sequence[str]) -> tuple[list[_Channel], list[str]]:
    """Return the channels without images that CellProfiler saved, and the names of these.

    Its own table of images, Image.csv, tells the size of those that it loaded, and of no other.
    """
    sized = {match[1] for column in columns if (match := _SIZE.fullmatch(column))}
    if not sized:
        return channels, []
    saved = [channel.key for channel in channels if channel.key not in sized]
    return [channel for channel in channels if channel.key in sized], saved


def _passed_on(table: pd.DataFrame, columns: list[str], used: list[str | None]) -> pd.DataFrame:
    """Return the columns Metadata_* that a site keeps."""
    return passed_on(table, {name: name.removeprefix("Image_") for name in columns
                             if re.match("(Image_)?Metadata_", name) and name not in used})


class _Files:
    """The files of one table below the folder, and what is wrong with them."""

    def __init__(self, listing: Listing, index: str, table: pd.DataFrame, problems: list[Problem]):
        self.finder, self.home, self.index = Finder(listing), index.rpartition("/")[0], index
        self.table, self.problems, self.empty = table, problems, 0
        self._folders: dict[str, list[str] | None] = {}
        self._sources: dict[str, tuple[str, ...]] = {}  # of each file, its name in the table

    def of(self, channel: _Channel) -> Iterator[tuple[int, str, int]]:
        """Yield number of the row, path and frame of each image of a channel."""
        texts = {key: self.table[column].str.strip().tolist() for key, column in channel.columns.items()}
        none = [""] * len(self.table)
        columns = [texts.get(key, none) for key in ("filename", "pathname", "url", "frame", "series")]
        for row, (name, folder, url, frame, series) in enumerate(zip(*columns, strict=True)):
            if not name and not url:
                self.empty += 1
                continue
            pieces = self._pieces(folder, name) if name else pieces_of_place(url)
            number = whole(frame) if frame else -1
            if not pieces:
                self._add(row, f"{folder or url!r} {name!r} leaves the folder", LEAVES)
            elif number is None or (frame and number < 0) or whole(series or "0") != 0:
                self._add(row, f"frame {frame!r} of series {series!r}", NO_NUMBER)
            else:
                path = self.finder.tail(self.home, pieces)
                if (source := self._sources.setdefault(path, tuple(pieces))) != tuple(pieces):
                    self._add(row, f"{'/'.join(source)} and {'/'.join(pieces)} are both {path}", SAME)
                yield row, path, number

    def _pieces(self, folder: str, name: str) -> list[str] | None:
        if folder not in self._folders:
            self._folders[folder] = pieces_of_place(folder)
        before, after = self._folders[folder], pieces_of_place(name)
        return None if before is None or not after else [*before, *after]

    def _add(self, row: int, reason: str, kind: str) -> None:
        self.problems.append(Problem(int(self.table.index[row]), self.index, f"{self.index}: {reason}", kind))
