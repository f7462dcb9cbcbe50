"""Sheets with a row an image: of nf-core/cellpainting, and lists of tiles with rows, columns and fields of view.

Exercised by `pytest tests/data/vendors/test_sample_sheet.py`.
"""

import re
from typing import Any

import pandas as pd

from mscnn.core.errors import DataError
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.text_csv import header_names, plain_name, read_csv
from mscnn.data.vendors.names_below import LEAVES, Finder, pieces_of_place
from mscnn.data.vendors.planes import Listing, PlaneIndex, ReadOptions, planes_of
from mscnn.data.vendors.site_columns import find_roles, passed_on, site_rows, tell_names, whole

NAME = "sample sheet"
SEVERAL = "files hold several planes each; give a file a plane"
NO_PATH = "rows name no file or no channel; fill them in, or take the rows out"
_SHEETS = ({"channel", "path", "well", "site"}, {"filepath", "row", "column", "fovname"})  # columns that tell a sheet
_PATHS, _CHANNELS, _LENGTHS = ("path", "filepath"), ("channel", "channelname", "startc"), ("lengthz", "lengthc", "lengtht")
_USED = {"startx", "starty", "lengthx", "lengthy", *_LENGTHS}  # what is no metadata of a site


def find(listing: Listing) -> list[str]:
    """Return the sheets, by the columns in their headers."""
    headers = {file: {*map(plain_name, header_names(listing.path(file)))}
               for file in listing.named("*.csv", "*.tsv", "*.csv.gz", "*.txt")}
    return [file for file, header in headers.items() if any(sheet <= header for sheet in _SHEETS)]


def read(listing: Listing, index: str, options: ReadOptions) -> PlaneIndex:
    """Return the planes of a sheet, a row each; other columns are passed on as Metadata_*.

    A path is that of the machine or the cloud that wrote the sheet; its longest tail below the folder counts.
    """
    path = listing.path(index)
    table = read_csv(path)
    columns = [str(name) for name in table]
    plain = {plain_name(name): name for name in reversed(columns)}  # of columns of one name the first counts
    column, channel = (next((plain[name] for name in names if name in plain), "") for names in (_PATHS, _CHANNELS))
    if not column or not channel:
        raise DataError(f"{path}: is no sheet with a row an image; give columns path, channel, plate, well and site")
    problems: list[Problem] = []
    notes: list[str] = []
    roles = find_roles([name for name in columns if name not in (column, channel)])
    sites = site_rows(table, roles, index, problems, notes)
    tell_names([site["well"] for site in sites], table[column].tolist(), index, problems, notes)
    lengths = [table[plain[name]].str.strip() for name in _LENGTHS if name in plain]
    if any((length.map(whole) > 1).any() for length in lengths):
        problems.append(Problem(None, index, f"{index}: columns {', '.join(_LENGTHS)} are greater than 1", SEVERAL))
    rows, numbers = _rows(listing, index, table[column], table[channel], sites, problems)
    dropped = {column, channel, *roles.values(), *(plain[name] for name in _USED if name in plain)}
    passed = passed_on(table, {name: _metadata_name(name) for name in columns if name not in dropped})
    planes = pd.concat([planes_of(rows), passed.iloc[numbers].reset_index(drop=True)], axis=1)
    return PlaneIndex(planes, NAME, tuple(notes), tuple(problems))


def _rows(listing: Listing, index: str, paths: pd.Series, channels: pd.Series, sites: list[dict[str, Any]],
          problems: list[Problem]) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the planes, and the number of the row of each."""
    finder, home = Finder(listing), index.rpartition("/")[0]
    orders = {name: order for order, name in enumerate(_in_order(channels.str.strip().unique().tolist()))}
    rows, numbers = [], []
    for number, (line, text, channel) in enumerate(zip(paths.index, paths.str.strip(), channels.str.strip(), strict=True)):
        pieces = pieces_of_place(text)
        if not text or not channel:
            problems.append(Problem(int(line), index, f"{index}: file {text!r}, channel {channel!r}", NO_PATH))
        elif not pieces:
            problems.append(Problem(int(line), index, f"{index}: {text!r} leaves the folder", LEAVES))
        else:
            rows.append({**sites[number], "channel": channel, "order": orders[channel], "path": finder.tail(home, pieces)})
            numbers.append(number)
    return rows, numbers


def _in_order(channels: list[str]) -> list[str]:
    """Return names of channels as they come, numbers by size."""
    numbers = [whole(name) for name in channels]
    return channels if None in numbers else [name for _, name in sorted(zip(numbers, channels, strict=True))]


def _metadata_name(name: str) -> str:
    """Return batch as Metadata_Batch, drug_name as Metadata_Drug_name."""
    bare = re.sub(r"\W+", "_", name.strip().removeprefix("Metadata_")).strip("_") or "Column"
    return f"Metadata_{bare[0].upper()}{bare[1:]}"
