"""A sheet with a row a well -> a raw map."""

import pandas as pd

from mscnn.core.errors import DataError
from mscnn.core.words import examples
from mscnn.data.plate_maps.grid import grid_header
from mscnn.data.plate_maps.plate_map import COLUMNS, RawMap
from mscnn.data.plate_maps.roles import Roles, find_roles, has_wells, resemble_doses, role_of
from mscnn.data.plate_maps.sheet import Row, Sheet, is_comment
from mscnn.data.plate_maps.units import common_unit
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.wells import place_at, well_name, well_place

_MOST_BEFORE = 60  # rows before the header: titles and comments
_RAGGED = "rows have more or fewer values than the header; mend them (a text with a separator needs quotes)"
_DATE = "cells are dates, into which spreadsheets turn names; write them as text"


def find_header(sheet: Sheet, given: dict[str, str]) -> int | None:
    """Return the place of the row that names a column of wells; None where there is none among the first rows."""
    return next((place for place, (_, cells) in enumerate(sheet.rows[:_MOST_BEFORE])
                 if sum(map(bool, cells)) > 1 and not is_comment(cells) and not grid_header(cells)
                 and has_wells(cells, given)), None)


def read_well_list(sheet: Sheet, start: int, given: dict[str, str]) -> RawMap:
    """Return the map of a sheet whose header is its row at `start`. Raises DataError for columns that cannot be used."""
    header = tuple(sheet.rows[start][1])
    while header and not header[-1]:
        header = header[:-1]
    roles = find_roles(header, given, sheet.file)
    if "compound" not in roles.place:
        raise DataError(f"{sheet.file}: no column for the compound; name it with --columns compound=COLUMN; its columns "
                        f"are {examples(header, 30)}")
    kept, notes, problems = _rows(sheet, start, header, roles)
    if not kept:
        raise DataError(f"{sheet.file}: holds no wells below its header; give a table with one row a well", [
            problem.reason for problem in problems])
    for name, place in [*roles.place.items(), *(("concentration", place) for place, _ in roles.doses)]:
        problems += [Problem(number, sheet.file, f"{name} {cells[place]!r} is a date", _DATE)
                     for number, cells in kept if (number, place) in sheet.dates]
    frame = _frame(kept, roles)
    if not roles.doses:
        near = resemble_doses([name for place, name in enumerate(header) if place not in roles.place.values()])
        hint = f"; not recognised: {examples(near)} (--columns concentration=COLUMN)" if near else ""
        notes.append(f"no column for the concentration: all doses of a compound count as one{hint}")
    unnamed = [place + 1 for place, name in enumerate(header) if not name and any(cells[place] for _, cells in kept)]
    notes += [f"column {place} has no name and is left out" for place in unnamed]
    if "row" in roles.place:
        problems += _contradictions(frame, kept, roles, sheet.file)
    return RawMap(frame, "well list", (*sheet.notes, *roles.notes, *notes), (*sheet.problems, *problems), sheet.file)


def _rows(sheet: Sheet, start: int, header: tuple[str, ...], roles: Roles) -> tuple[list[Row], list[str], list[Problem]]:
    """Return the rows of wells, all as wide as the header, what was left out, and rows that do not fit."""
    kept: list[Row] = []
    problems: list[Problem] = []
    comments = sum(is_comment(cells) for _, cells in sheet.rows[:start])
    titles, repeated = start - comments, 0
    for number, cells in sheet.rows[start + 1:]:
        values = cells[:len(header)]
        if is_comment(cells) and not (len(values) == len(header) and well_place(_well(values, roles))):
            comments += 1
        elif values == header:
            repeated += 1
        elif any(cells[len(header):]) or len(values) < len(header):
            reason = f"{len(cells)} values, where the header has {len(header)}"
            problems.append(Problem(number, sheet.file, reason, _RAGGED))
        elif any(values):
            kept.append((number, values))
    counts = ((titles, "rows above the header"), (comments, "comments that start with #"), (repeated, "repeated headers"))
    return kept, [f"left out: {count} {what}" for count, what in counts if count], problems


def _frame(rows: list[Row], roles: Roles) -> pd.DataFrame:
    """Return the columns COLUMNS and Metadata_* as text, with the rows' numbers as index."""
    index = [number for number, _ in rows]
    frame = pd.DataFrame("", index=index, columns=list(COLUMNS), dtype="str")
    for role in ("plate", "compound", "unit", "mechanism"):
        if role in roles.place:
            frame[role] = [cells[roles.place[role]] for _, cells in rows]
    frame["well"] = [_well(cells, roles) for _, cells in rows]
    for place, unit in reversed(roles.doses):  # a later column counts only where the first has nothing
        texts = pd.Series([cells[place] for _, cells in rows], index, dtype="str")
        frame["concentration"] = texts.where(texts != "", frame["concentration"])
        if unit and "unit" not in roles.place:
            frame["unit"] = frame["unit"].where(texts == "", unit)
        elif unit:
            frame["unit"] = frame["unit"].map({own: common_unit(own, unit) for own in frame["unit"].unique()})
    more = {name: [cells[place] for _, cells in rows] for name, place in roles.metadata.items()}
    return pd.concat([frame, pd.DataFrame(more, index=index, dtype="str")], axis=1)


def _well(cells: tuple[str, ...], roles: Roles) -> str:
    """Return the well of a row's cells, as A01 where it is a place; a blank where the row has none."""
    if "well" in roles.place:
        return cells[roles.place["well"]].strip(" \"'")
    return joined_well(cells[roles.place["row"]], cells[roles.place["column"]])


def joined_well(row: str, column: str) -> str:
    """Return the well of a row, as letters or a number from 1, and a column: (C, "03") -> C03, (3, 3.0) -> C03."""
    if place := place_at(row, column):
        return well_name(*place)
    return f"row {row} column {column}" if row or column else ""


def _contradictions(frame: pd.DataFrame, rows: list[Row], roles: Roles, file: str) -> list[Problem]:
    """Return the rows whose well is not in the row and column that the table names besides."""
    if not {"well", "row", "column"} <= roles.place.keys():
        return []
    places = [joined_well(cells[roles.place["row"]], cells[roles.place["column"]]) for _, cells in rows]
    return [Problem(number, file, f"well {well!r}, and its row and column are {place!r}",
                    "wells contradict their row and column; mend them, or remove the columns of rows and columns")
            for (number, _), well, place in zip(rows, frame["well"], places, strict=True)
            if well_place(place) and well_place(well) != well_place(place)]


def no_wells(sheets: list[Sheet]) -> DataError:
    """Return the error of a file without wells."""
    first = [examples([cell for cell in sheet.rows[0][1] if cell], 12)[:120] for sheet in sheets if sheet.rows]
    is_compounds = any(role_of(cell)[0] == "compound" for cell in sheets[0].rows[0][1])
    hint = "; a table of compounds is no plate map: name both" if is_compounds else ""
    return DataError(f"{sheets[0].file}: no column for the well (or for row and column), and no grid of a plate; name it "
                     f"with --columns well=COLUMN{hint}; it starts with {examples(first, 2)}")
