"""A table of compounds: the mechanism of each, by its name or identifier, and by its dose where the table has doses."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import DataError
from mscnn.core.words import examples
from mscnn.data.plate_maps.doses import read_doses
from mscnn.data.plate_maps.plate_map import PREFIX
from mscnn.data.plate_maps.read_map import read_sheets
from mscnn.data.plate_maps.roles import IDS, Roles, find_roles, names_of
from mscnn.data.plate_maps.sheet import Sheet, is_comment
from mscnn.data.plate_maps.units import common_unit
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.text_csv import plain_name

_REMEDY = "give a table with a row a compound: its name or identifier, and its mechanism"


@dataclass(frozen=True)
class Compounds:
    """What is known of each compound.

    table: text columns compound ("" where only an identifier is given), mechanism ("" where not known), unit and
    Metadata_*, and concentration (NaN: at every dose); the index counts the rows of the file.
    """

    table: pd.DataFrame
    ids: tuple[str, ...]                # the columns Metadata_* that identify a compound
    source: str
    unclear: frozenset[tuple[str, str]] = frozenset()  # column of ids, normal form: those of more than one compound
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()  # a table with problems must not be joined


def read_compounds(path: Path, *, columns: dict[str, str] | None = None) -> Compounds:
    """Read a table of compounds from CSV, TSV or .xlsx: compound or pert_iname, broad_sample or InChIKey, moa, ...

    columns: {role: column} where a column is not recognised; roles are compound, mechanism, concentration and unit.
    Raises DataError for a file without compounds, or with columns that could be the same role.
    """
    given = columns or {}
    sheet, start = _find_table(read_sheets(path), given, path)
    header = sheet.rows[start][1]
    roles = find_roles(header, given, sheet.file, "choose with --compound-columns ROLE=COLUMN")
    rows = [(number, cells) for number, cells in sheet.rows[start + 1:] if not is_comment(cells) and cells != header]
    ragged = [f"row {number}: {len(cells)} values" for number, cells in rows if len(cells) != len(header)]
    if ragged:
        raise DataError(f"{path}: the header has {len(header)} columns that these do not fit; mend the table", ragged)
    frame = _frame(rows, roles)
    doses = read_doses(frame["concentration"], frame["unit"], sheet.file)
    frame["concentration"], frame["unit"] = doses.values, doses.units
    ids = [name for name in roles.metadata if plain_name(name) in IDS]
    if roles.is_id:
        frame["compound"] = ""
    is_named = (frame[["compound", *ids]] != "").any(axis=1)
    if not is_named.any():
        raise DataError(f"{path}: names no compound; {_REMEDY}")
    notes = [*sheet.notes, *roles.notes]
    if count := int((~is_named).sum()):
        notes.append(f"{count} rows without a compound are left out")
    frame = frame[is_named]
    if "mechanism" not in roles.place:
        notes.append("no column for the mechanism; name one with --compound-columns mechanism=COLUMN")
    unclear = _several_names(frame, ids)
    notes += [f"{column.removeprefix(PREFIX)} {key} is of {names}: not joined by it"
              for (column, key), names in unclear.items()]
    problems = [*sheet.problems, *doses.problems, *_contradictions(frame, ids, unclear, sheet.file)]
    return Compounds(frame, tuple(ids), str(path), frozenset(unclear), tuple(notes), tuple(problems))


def _find_table(sheets: list[Sheet], given: dict[str, str], path: Path) -> tuple[Sheet, int]:
    """Return the sheet with compounds, and the place of its header. Raises DataError where none, or several, have them."""
    wanted = names_of("compound") | {plain_name(given["compound"])} if "compound" in given else names_of("compound")
    found = []
    for sheet in sheets:
        for place, (_, cells) in enumerate(sheet.rows[:60]):
            if not is_comment(cells) and sum(map(bool, cells)) > 1 and any(plain_name(cell) in wanted for cell in cells):
                found.append((sheet, place))
                break
    if len(found) != 1:
        first = [cell for cell in sheets[0].rows[0][1] if cell]
        names = examples([sheet.name for sheet, _ in found] or first, 12)[:200]
        what = "several sheets hold compounds" if found else "no column for the compound; it starts with"
        raise DataError(f"{path}: {what} ({names}); {_REMEDY}, or name the column with --compound-columns compound=COLUMN")
    return found[0]


def _frame(rows: list[tuple[int, tuple[str, ...]]], roles: Roles) -> pd.DataFrame:
    """Return the columns of Compounds.table as text."""
    index = [number for number, _ in rows]
    columns = {role: [cells[roles.place[role]] for _, cells in rows] if role in roles.place else [""] * len(rows)
               for role in ("compound", "mechanism", "unit")}
    columns["concentration"] = [""] * len(rows)
    for place, unit in roles.doses[:1]:
        columns["concentration"] = [cells[place] for _, cells in rows]
        columns["unit"] = [common_unit(own, unit) for own in columns["unit"]]
    more = {name: [cells[place] for _, cells in rows] for name, place in roles.metadata.items()}
    frame = pd.DataFrame({**columns, **more}, index, dtype="str")
    for name in map(str, frame):
        is_none = identity.is_not_known if name == "mechanism" or plain_name(name) in IDS else identity.is_missing
        frame[name] = frame[name].map({text: "" if is_none(text) else text for text in frame[name].unique()})
    return frame


def _several_names(frame: pd.DataFrame, ids: list[str]) -> dict[tuple[str, str], str]:
    """Return {(column, normal form): names} of the identifiers with more than one name, as an InChIKey of stereoisomers."""
    found = {}
    names = identity.normal_forms(frame["compound"])
    for column in ids:
        told = (frame[column] != "") & (frame["compound"] != "")
        keys = identity.normal_forms(frame[column])[told]
        several = names[told].groupby(keys).nunique()
        for key in several.index[several > 1]:
            found[column, str(key)] = examples(list(frame["compound"][told][keys == key].unique()))
    return found


def _contradictions(frame: pd.DataFrame, ids: list[str], unclear: Collection[tuple[str, str]], file: str) -> list[Problem]:
    """Return a problem for each name, and each clear identifier, that has two mechanisms at a dose."""
    problems = []
    known = frame[frame["mechanism"] != ""]
    forms = identity.normal_forms(known["mechanism"])
    for column in ["compound", *ids]:
        keys = identity.normal_forms(known[column])
        for (key, _, _), rows in known.groupby([keys, known["concentration"].fillna(-1.0), known["unit"]]):
            if key and (column, key) not in unclear and forms[rows.index].nunique() > 1:
                told = ", ".join(f"{text!r} (row {row})" for row, text in rows["mechanism"].drop_duplicates().items())
                problems.append(Problem(int(rows.index[0]), file, f"compound {key!r} has mechanisms {told}",
                                        "compounds have more than one mechanism; keep one row of each"))
    return problems
