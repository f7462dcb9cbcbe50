"""Columns of a site table that name its images -> image sources, one per channel or one for all.

FileName_<Channel>, PathName_<Channel> and Frame_<Channel> are those of CellProfiler's LoadData.  Where Metadata_Projection
is `max`, a cell holds several names or frames with `|` between them, and the channel is their maximum.
Metadata_ValueRange states the values that become 0 and 65535, of samples that are neither 8 nor 16 bit.
Exercised by `pytest tests/data/tables/test_image_columns.py`.
"""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from mscnn.core.errors import DataError
from mscnn.data.tables.image_paths import resolve_image_paths
from mscnn.data.tables.image_source import ImageSource, Plane, pack_source
from mscnn.data.tables.problems import Problem, rows_of
from mscnn.data.tables.text_csv import plain_name

SEPARATOR = "|"  # between the planes of a projection; no name on Windows, where microscopes write, may hold it
PROJECTION, VALUE_RANGE = "Metadata_Projection", "Metadata_ValueRange"
_FRAMES = "frames are not whole numbers from 0, one for each file; mend their columns, or leave them empty"


def image_sources(table: pd.DataFrame, file_column: str | None, channels: tuple[str, ...], path: Path, image_root: Path,
                  problems: list[Problem],
                  follow_links: Sequence[Path] = ()) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Return the image sources of each row, and the names of the channels that have a column each.

    table: all columns as text, its index counts rows as the file at path does; file_column: of files that hold all
    channels, None: FileName_ columns are read; channels: which channels and their order, or () for all; the names of those
    in each file; follow_links: folders that links may lead to.
    A name that cannot be used is "", and a problem.  Raises DataError where the columns are not there.
    """
    if file_column is not None:
        columns, names = [(file_column, "", "")], channels
    else:
        columns, names = _channel_columns(table, channels, path)
    kinds = {plain_name(name): name for name in table.columns}
    projections, ranges = kinds.get("projection"), kinds.get("valuerange")
    if not any(frame for _, _, frame in columns) and projections is None and ranges is None:  # as most tables are
        return resolve_image_paths([_part(table, file, folder) for file, folder, _ in columns], image_root, problems,
                                   follow_links), names
    is_maximum = _projected(table, projections, problems)
    limits = [None] * len(table) if ranges is None else list(_value_ranges(table[ranges], problems))
    sources = []
    for file, folder, frame in columns:
        planes = _planes(table, _part(table, file, folder), frame, is_maximum, image_root, problems, follow_links)
        sources.append([pack_source(ImageSource(tuple(row), limit)) if row else ""
                        for row, limit in zip(planes, limits, strict=True)])
    return list(zip(*sources, strict=True)), names


def _channel_columns(table: pd.DataFrame, channels: tuple[str, ...],
                     path: Path) -> tuple[list[tuple[str, str, str]], tuple[str, ...]]:
    """Return the columns of file, folder and frame of each channel, "" where there is none, and the channels' names.

    Several channels may be those of the files of a single column.
    """
    files, folders, frames = (
        {match[1]: column for column in table.columns if (match := re.fullmatch(rf"(?:Image_)?{kind}_(.+)", column))}
        for kind in ("FileName", "PathName", "Frame"))
    if not files:
        raise DataError(f"{path}: no image files: give FileName_<Channel> columns, or a column `filename` "
                        f"(--columns file=COLUMN); its columns are {', '.join(table.columns)}")
    if len(files) == 1 < len(channels) and not set(channels) & set(files):  # its files hold all these channels
        only = next(iter(files))
        return [(files[only], folders.get(only, ""), frames.get(only, ""))], channels
    if unknown := [channel for channel in channels if channel not in files]:
        raise DataError(f"{path}: no FileName_ column for channels {', '.join(unknown)}; it has {', '.join(files)}")
    chosen = channels or tuple(files)
    return [(files[name], folders.get(name, ""), frames.get(name, "")) for name in chosen], chosen


def _part(table: pd.DataFrame, file: str, folder: str) -> pd.DataFrame:
    return pd.DataFrame({"folder": table[folder] if folder else "", "name": table[file]}, index=table.index)


def _projected(table: pd.DataFrame, column: str | None, problems: list[Problem]) -> list[bool]:
    """Return of each row whether its channels are maximum projections."""
    if column is None:
        return [False] * len(table)
    given = table[column].str.strip().str.lower()
    problems += [Problem(row, text, f"{text!r} is no projection", "projections are unknown; write max, or leave them empty")
                 for row, text in rows_of(table[column][~given.isin(["", "max"])])]
    return (given == "max").tolist()


def _value_ranges(column: pd.Series, problems: list[Problem]) -> Iterator[tuple[float, float] | None]:
    """Yield the stated range of each row, None where none is stated."""
    for row, text in rows_of(column):
        if not text.strip():
            yield None
            continue
        try:
            low, high = map(float, text.split())
            if not (math.isfinite(high - low) and low < high):
                raise ValueError
            yield low, high
        except ValueError:
            problems.append(Problem(row, text, f"{text!r} is no range of values",
                                    "ranges are not two ascending numbers; write them like 0 1"))
            yield None


def _planes(table: pd.DataFrame, part: pd.DataFrame, frame: str, is_maximum: Sequence[bool], image_root: Path,
            problems: list[Problem], follow_links: Sequence[Path]) -> list[list[Plane]]:
    """Return the planes of one channel of each row, [] where one of them cannot be used."""
    texts = table[frame] if frame else pd.Series("", table.index)
    split = [name.split(SEPARATOR) if many else [name] for name, many in zip(part["name"], is_maximum, strict=True)]
    numbers = [_frames(text, names, many) for text, names, many in zip(texts, split, is_maximum, strict=True)]
    problems += [Problem(row, names[0], f"frame {text!r} of {len(names)} file(s)", _FRAMES)
                 for row, text, names, found in zip(table.index, texts, split, numbers, strict=True) if found is None]
    counts = [len(names) for names in split]
    rows = table.index.repeat(counts)
    long = pd.DataFrame({"folder": part["folder"].repeat(counts).to_numpy(),
                         "name": [name for names in split for name in names]}, index=rows)
    paths = iter(resolve_image_paths([long], image_root, problems, follow_links))
    planes = []
    for names, found in zip(split, numbers, strict=True):
        own = [next(paths)[0] for _ in names]
        if found is None or not all(own):
            planes.append([])
        else:
            planes.append([Plane(one, number) for one, number in zip(own * (len(found) // len(own)), found, strict=True)])
    return planes


def _frames(text: str, names: Sequence[str], is_maximum: bool) -> Sequence[int | None] | None:
    """Return the frame of each plane of a cell, None where they do not fit.  One file may have several frames."""
    if not text.strip(SEPARATOR + " "):
        return [None] * len(names)
    pieces = [piece.strip() for piece in (text.split(SEPARATOR) if is_maximum else [text])]
    if len(names) > 1 and len(pieces) != len(names):
        return None
    return [int(piece) for piece in pieces] if all(re.fullmatch(r"\d{1,9}", piece) for piece in pieces) else None
