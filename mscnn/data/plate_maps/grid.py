"""Grids in the shape of a plate, rows A.. and columns 1.., one for each variable -> a raw map."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import DataError, printable
from mscnn.core.words import examples
from mscnn.data.plate_maps.doses import looks_like_dose
from mscnn.data.plate_maps.plate_map import COLUMNS, RawMap
from mscnn.data.plate_maps.roles import SPELLINGS, metadata_name, role_of
from mscnn.data.plate_maps.sheet import Sheet, is_comment
from mscnn.data.plate_maps.units import common_unit, split_unit
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.wells import well_name, well_place

_PLATE = re.compile(r"(?:assay )?(?:plate|barcode)(?: name| id| barcode)?\s*(?:[:=]\s*|\s+)(\S.*)", re.IGNORECASE)
_BEYOND = "cells are beyond the plate or their grid; mend its labels A.. and 1.. (at most AF and 48)"
_DATE = "cells are dates, into which spreadsheets turn names; write them as text"


@dataclass(frozen=True)
class Grid:
    """One variable of a plate."""

    title: str                            # above it, or in its corner; else the name of its sheet
    plate: str                            # named above it; "" where none is
    cells: Mapping[str, tuple[int, str]]  # {well: row number in the file, text} of cells that hold something
    file: str
    row: int                              # of its header


def find_grids(sheet: Sheet) -> tuple[list[Grid], list[str], list[Problem]]:
    """Return the grids of a sheet, what was left out, and cells that are beyond a plate or dates."""
    grids: list[Grid] = []
    problems: list[Problem] = []
    title, plate, left_out, place = "", "", 0, 0
    while place < len(sheet.rows):
        number, cells = sheet.rows[place]
        found = grid_header(cells)
        if found and place + 1 < len(sheet.rows) and _row_index(_cell(sheet.rows[place + 1][1], found[0])) is not None:
            corner, columns = found
            end, contents = _contents(sheet, place + 1, corner, columns, problems)
            named = cells[corner] if corner >= 0 and role_of(cells[corner])[0] else title or _cell(cells, corner)
            grids.append(Grid(named or sheet.name, plate, contents, sheet.file, number))
            title, place = "", end
            continue
        texts = [cell for cell in cells if cell]
        if is_comment(cells):
            left_out += 1
        elif match := _PLATE.fullmatch(" ".join(texts)):
            plate, title = match[1], ""
        elif _row_index(texts[0]) is not None and len(texts) > 1:
            problems.append(Problem(number, sheet.file, f"row {texts[0]!r} belongs to no grid", _BEYOND))
        else:
            left_out += bool(title)
            title = texts[0]
        place += 1
    left_out += bool(title and grids)
    return grids, [f"left out: {left_out} rows of text around the grids"] if grids and left_out else [], problems


def read_grids(grids: list[Grid], given: dict[str, str], file: str) -> RawMap:
    """Return the map of grids of one variable each. Raises DataError where two hold the same, or none the compound."""
    roles, notes = _assign(grids, given, file)
    if not any(name == "concentration" for name, _ in roles):
        notes.append("no grid for the concentration: all doses of a compound count as one (--columns concentration=TITLE)")
    plates = dict.fromkeys(grid.plate for grid in grids)
    parts = []
    for plate in plates:
        chosen = [(grid, roles[number]) for number, grid in enumerate(grids) if grid.plate == plate]
        wells = sorted({well for grid, _ in chosen for well in grid.cells}, key=lambda well: well_place(well) or (0, 0))
        first = next((grid for grid, (name, _) in chosen if name == "compound"), chosen[0][0])
        index = [first.cells.get(well, (first.row, ""))[0] for well in wells]
        frame = pd.DataFrame("", index=index, columns=list(COLUMNS), dtype="str")
        frame["plate"], frame["well"] = plate, wells
        for grid, (name, unit) in chosen:
            texts = [grid.cells.get(well, (0, ""))[1] for well in wells]
            frame[name] = list(map(common_unit, frame["unit"], texts)) if name == "unit" else texts
            if name == "concentration" and unit:
                frame["unit"] = [common_unit(own, unit) if text else own
                                 for own, text in zip(frame["unit"], texts, strict=True)]
        parts.append(frame)
    return RawMap(pd.concat(parts).fillna("").astype("str"), "grids of a plate", tuple(notes), (), file)


def _assign(grids: list[Grid], given: dict[str, str], file: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the column and unit of each grid, by its title, else by what it holds, and notes on the latter."""
    if wrong := [f"{role}={title}" for role, title in given.items() if role not in SPELLINGS
                 or title not in {grid.title for grid in grids}]:
        titles = examples([grid.title for grid in grids], 12)
        raise DataError(f"{file}: has no grids with these titles; it has {titles}", wrong)
    by_title = {title: role for role, title in given.items()}
    found = [(by_title[grid.title], split_unit(grid.title)[1]) if grid.title in by_title else role_of(grid.title)
             for grid in grids]
    found = [(role if role not in by_title.values() or grid.title in by_title else "", unit)
             for grid, (role, unit) in zip(grids, found, strict=True)]
    notes = []
    for number, grid in enumerate(grids):
        if found[number][0]:
            continue
        peers = {found[other][0] for other, peer in enumerate(grids) if peer.plate == grid.plate}
        others = sum(not found[other][0] and peer.plate == grid.plate and _is_numbers(peer) == _is_numbers(grid)
                     for other, peer in enumerate(grids))
        role = "concentration" if _is_numbers(grid) else "compound"
        if role in peers or others > 1:
            found[number] = (metadata_name(grid.title), "") if role in peers else found[number]
            continue
        found[number] = role, role_of(grid.title)[1]
        notes.append(f"the grid at row {grid.row} ({grid.title}) is read as the {role}, by what it holds")
    _refuse_unclear(grids, found, file)
    return [(name or metadata_name(grid.title), unit) for grid, (name, unit) in zip(grids, found, strict=True)], notes


def _refuse_unclear(grids: list[Grid], found: list[tuple[str, str]], file: str) -> None:
    """Raise DataError for plates of which no grid, or more than one, is the compound, or any other variable twice."""
    shown = [f"row {grid.row}: {printable(grid.title)}{f' of plate {grid.plate}' if grid.plate else ''}" for grid in grids]
    for plate in dict.fromkeys(grid.plate for grid in grids):
        names = [name for grid, (name, _) in zip(grids, found, strict=True) if grid.plate == plate]
        if twice := sorted({name for name in names if name and names.count(name) > 1}):
            raise DataError(f"{file}: more than one grid is the {examples(twice)}; write a title above each grid, and "
                            "`Plate: NAME` above those of a plate", shown)
        if "compound" not in names:
            raise DataError(f"{file}: no grid is the compound for sure; write Compound above it, or name its title with "
                            "--columns compound=TITLE", shown)
        if set(names) & {"well", "row", "column", "plate"}:
            raise DataError(f"{file}: a grid cannot be the well or the plate; write another title above it", shown)


def grid_header(cells: tuple[str, ...]) -> tuple[int, dict[int, int]] | None:
    """Return the place of the row labels and {place of a cell: column from 1} of a row 1, 2, 3, ...; None for others."""
    filled = [place for place, cell in enumerate(cells) if cell]
    numbers = [place for place in filled if re.fullmatch(r"0*[1-9]\d?(\.0*)?", cells[place])]
    if len(numbers) < 2 or numbers[0] == 0 or len(filled) - len(numbers) > 1:
        return None
    values = [int(float(cells[place])) for place in numbers]
    is_run = values == list(range(values[0], values[0] + len(values))) and numbers[-1] - numbers[0] == len(numbers) - 1
    if not is_run or (len(filled) > len(numbers) and filled[0] >= numbers[0]):
        return None
    return numbers[0] - 1, dict(zip(numbers, values, strict=True))


def _contents(sheet: Sheet, place: int, corner: int, columns: dict[int, int],
              problems: list[Problem]) -> tuple[int, dict[str, tuple[int, str]]]:
    """Return the place after a grid's last row, and its cells; add cells that cannot be used to problems."""
    found: dict[str, tuple[int, str]] = {}
    before = None
    while place < len(sheet.rows):
        number, cells = sheet.rows[place]
        row = _row_index(_cell(cells, corner))
        if row is None or (before is not None and row != before + 1):
            break
        for at, text in enumerate(cells):
            if not text or at == corner:
                continue
            if row > 31 or columns.get(at, 99) > 48:
                reason = f"cell {at + 1}, {text!r}, is beyond the plate or the grid"
                problems.append(Problem(number, sheet.file, reason, _BEYOND))
                continue
            if (number, at) in sheet.dates:
                problems.append(Problem(number, sheet.file, f"cell {at + 1}, {text!r}, is a date", _DATE))
            found[well_name(row, columns[at] - 1)] = number, text
        before, place = row, place + 1
    return place, found


def _row_index(label: str) -> int | None:
    """Return the row from 0 of a label A, ..., AF; 32 and more for AG, ..., AZ; None for others."""
    match = re.fullmatch(r"(A?)([A-Z])", label.upper())
    return None if not match else 26 * len(match[1]) + ord(match[2]) - ord("A")


def _is_numbers(grid: Grid) -> bool:
    texts = [text for _, text in grid.cells.values() if not identity.is_not_known(text)]
    return bool(texts) and all(map(looks_like_dose, texts))


def _cell(cells: tuple[str, ...], place: int) -> str:
    return cells[place] if 0 <= place < len(cells) else ""

