"""Columns of a table of images that tell plate, well, site, focal plane and time of each row.

Exercised by `pytest tests/data/vendors/test_load_data.py tests/data/vendors/test_sample_sheet.py`.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from mscnn.data.tables.pixel_size import pixel_sizes
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.text_csv import plain_name
from mscnn.data.vendors.well_columns import (
    harmony_name_conflict,
    other_name_conflict,
    row_column_conflict,
    well_names,
    wells_at,
)

NO_WELL = "wells of the table are no places on a plate; write them like B03"
CONTRADICTION = "tables contradict themselves about wells; mend the table, or take out the columns that are wrong"
WELLS = "Metadata_Well, or two Metadata_Row and Metadata_Col"
ROLES = {  # names of columns without prefix and case, the best first
    "plate": ("plate", "platename", "plateid", "platebarcode", "assayplatebarcode", "barcode"),
    "well": ("well", "wellposition", "wellname", "wellid", "assaywellposition", "cpdwellposition"),
    "site": ("site", "siteid", "field", "fieldid", "fov", "fieldofview", "fovname"),
    "z": ("planeid", "zplane", "zslice", "z", "plane", "startz"),
    "time": ("timepoint", "timepointid", "time", "t", "startt"),
    "row": ("row", "wellrow"), "column": ("col", "column", "wellcol", "wellcolumn")}
PIXEL_SIZE = "Metadata_PixelSize"
_OF_SITES = ("Metadata_Plate", "Metadata_Well", "Metadata_Site")


def find_roles(columns: list[str]) -> dict[str, str]:
    """Return {role: column} for the roles that a table has a column for."""
    plain: dict[str, str] = {}
    for column in columns:
        plain.setdefault(plain_name(column), column)
    found = {role: next((plain[name] for name in names if name in plain), "") for role, names in ROLES.items()}
    return {role: column for role, column in found.items() if column}


def site_rows(table: pd.DataFrame, roles: dict[str, str], index: str, problems: list[Problem],
              notes: list[str]) -> list[dict[str, Any]]:
    """Return plate, well, site, z, time and pixel size of each row of a table of text.

    What is wrong with wells is added to problems, what is not used to notes.
    """
    texts = {role: table[column].str.strip().tolist() for role, column in roles.items()}
    none = [""] * len(table)
    wells, wrong = well_names(texts.get("well", none))
    problems += [Problem(None, index, f"{index}: {text[:60]!r} is no well", NO_WELL) for text in wrong]
    if "row" in texts and "column" in texts:
        if "well" not in texts:
            wells = wells_at(texts["row"], texts["column"])
            lost = sorted({spot for spot, well in zip(zip(texts["row"], texts["column"], strict=True), wells, strict=True)
                           if not well})
            problems += [Problem(None, index, f"{index}: row {row[:20]!r} column {column[:20]!r} is no well", NO_WELL)
                         for row, column in lost]
        elif conflict := row_column_conflict(wells, texts["row"], texts["column"]):
            problems.append(Problem(None, index, f"{index}: {conflict}", CONTRADICTION))
    elif "well" not in texts:
        notes.append(f"no column tells wells; name one {WELLS}")
    plates, sites = texts.get("plate", none), texts.get("site", none)
    groups = list(zip(plates, wells, sites, strict=True))
    numbers = {role: _numbers(texts.get(role), groups) for role in ("z", "time")}
    notes += [f"column {roles[role]} holds texts and is not used as {role}" for role in numbers if numbers[role] is None]
    z, time = (numbers[role] or [0] * len(table) for role in ("z", "time"))
    sizes = pixel_sizes(table)
    widths = [math.nan] * len(table) if sizes is None else sizes.tolist()
    names = ("plate", "well", "site", "z", "time", "pixel_size")
    return [dict(zip(names, values, strict=True)) for values in zip(plates, wells, sites, z, time, widths, strict=True)]


def tell_names(wells: list[str], paths: list[str], index: str, problems: list[Problem], notes: list[str]) -> None:
    """Tell where names of files have other wells than the table: as a problem by Harmony's names, as a note by others."""
    names = [re.split(r"[/\\]", path)[-1] for path in paths]
    if conflict := harmony_name_conflict(wells, names):
        problems.append(Problem(None, index, f"{index}: {conflict}", CONTRADICTION))
    elif conflict := other_name_conflict(wells, names):
        notes.append(f"{index}: {conflict}")


def passed_on(table: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Return columns of a table as what else is known of its rows, each under a name of its own.

    names: {column: Metadata_*}.  One that a site has by itself, or that is taken, gets `_other` at its end; the size of a
    pixel is left out, as `site_rows` reads it.
    """
    kept: dict[str, str] = {}
    for column, name in names.items():
        if name == PIXEL_SIZE:
            continue
        while name in kept or name in _OF_SITES:
            name += "_other"
        kept[name] = column
    return table[list(kept.values())].set_axis(list(kept), axis=1).astype("str")


def whole(text: str) -> int | None:
    """Return a whole number written like 3 or 3.0, None for another text."""
    match = re.fullmatch(r"(-?[0-9]{1,15})(\.0*)?", text)
    return int(match[1]) if match else None


def _numbers(texts: list[str] | None, groups: list[tuple[str, str, str]]) -> list[int] | None:
    """Return whole numbers; of other numbers, their places in the order of their site; None for other texts."""
    if texts is None:
        return [0] * len(groups)
    known = {text: whole(text) for text in dict.fromkeys(texts)}
    if all(value is not None for value in known.values()):
        return [known[text] or 0 for text in texts]
    try:
        positions = [float(text) for text in texts]
    except ValueError:
        return None
    of_site: dict[tuple[str, str, str], set[float]] = {}
    for group, position in zip(groups, positions, strict=True):
        of_site.setdefault(group, set()).add(position)
    places = {group: {position: place for place, position in enumerate(sorted(found))} for group, found in of_site.items()}
    return [places[group][position] for group, position in zip(groups, positions, strict=True)]
