"""The Broad Institute's maps: barcode_platemap.csv, and a table of wells for each map in the folder platemap beside it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import DataError
from mscnn.data.plate_maps.plate_map import PREFIX, PlateMap, RawMap, examples
from mscnn.data.plate_maps.sheet import Sheet
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.text_csv import plain_name

NAME = "barcode_platemap.csv"
_BARCODE, _MAP = "assayplatebarcode", "platemapname"
_SUFFIXES = (".txt", ".tsv", ".csv", ".txt.gz", ".csv.gz", ".xlsx")
_SAMPLE, _SOLVENT = "broadsample", "solvent"


def is_barcode_table(sheet: Sheet) -> bool:
    """Return whether a sheet says which plate has which map: it has barcodes and names of maps, and no wells."""
    names = set(map(plain_name, sheet.rows[0][1]))
    return {_BARCODE, _MAP} <= names and not any(name.startswith("well") for name in names)


def read_barcode_platemap(sheet: Sheet, path: Path, read_one: Callable[[Path], PlateMap]) -> PlateMap:
    """Return the map of all plates. read_one: reads the table of one map, whose wells are of every plate.

    Raises DataError listing maps that are not there.
    """
    plates, problems = _plates(sheet)
    folder = next((path.parent / name for name in ("platemap", "platemaps") if (path.parent / name).is_dir()), path.parent)
    beside = {entry.name.lower(): entry for entry in folder.iterdir()}
    needed = list(dict.fromkeys(plates.values()))
    found = {name: [beside[file] for suffix in _SUFFIXES if (file := name.lower() + suffix) in beside] for name in needed}
    there = {name: files[0] for name, files in found.items() if files}
    absent = [name for name in needed if name not in there]
    if not there:
        raise DataError(f"{path}: none of its maps is in {folder}; put there {examples(needed, 2)} (.txt or .csv)")
    maps = {name: read_one(file) for name, file in there.items()}
    problems += [problem for one in maps.values() for problem in one.problems]
    wells = pd.concat([maps[name].wells.assign(plate=plate) for plate, name in plates.items() if name in maps],
                      ignore_index=True)
    more = [str(column) for column in wells if str(column).startswith(PREFIX)]
    wells[more] = wells[more].fillna("")
    notes = list(dict.fromkeys(f"{name}: {note}" for name, one in maps.items() for note in one.notes))
    if absent:
        num_plates = sum(name in absent for name in plates.values())
        notes.append(f"{num_plates} plates have no map, as {len(absent)} maps are not in {folder}: {examples(absent)}")
    unused = sum(entry.is_file() and entry not in there.values() for entry in beside.values())
    if unused and folder != path.parent:
        notes.append(f"left out: {unused} files of {folder} that no plate uses")
    return PlateMap(wells.astype(dict.fromkeys(more, "str")), "Broad barcode_platemap", str(path), tuple(notes),
                    tuple(problems))


def name_untreated(raw: RawMap, control: str) -> RawMap:
    """Return the map with the control where broad_sample is empty, as the Broad Institute leaves out untreated wells.

    A well with another solvent than the control keeps no compound.
    """
    by_name = {plain_name(str(name)): str(name) for name in raw.frame}
    if _SAMPLE not in by_name or not raw.frame["compound"].equals(raw.frame[by_name[_SAMPLE]].rename("compound")):
        return raw
    compounds = raw.frame["compound"]
    empty = compounds.map({name: identity.is_not_known(name) for name in compounds.unique()}).astype(bool)
    solvent = raw.frame[by_name[_SOLVENT]] if _SOLVENT in by_name else pd.Series("", raw.frame.index)
    fits = solvent.map({text: identity.is_not_known(text) or identity.is_same(text, control) for text in solvent.unique()})
    untreated = empty & fits.astype(bool)
    notes = [f"{int(untreated.sum())} wells without broad_sample are {control}"] if untreated.any() else []
    if (raw.frame["unit"] == "mmoles_per_liter").any():
        notes.append("mmoles_per_liter is read as mM; where it is of the source plate, the doses in the wells are lower")
    compound = compounds.where(~untreated, control)
    return replace(raw, frame=raw.frame.assign(compound=compound), format="Broad plate map", notes=(*raw.notes, *notes))


def _plates(sheet: Sheet) -> tuple[dict[str, str], list[Problem]]:
    """Return {plate: name of its map}, and rows without either, or that name another map for the same plate."""
    header = list(map(plain_name, sheet.rows[0][1]))
    plates: dict[str, str] = {}
    problems = []
    for number, cells in sheet.rows[1:]:
        values = (*cells, *[""] * len(header))
        plate, name = values[header.index(_BARCODE)], values[header.index(_MAP)]
        if not plate or not name or any(part in name for part in "/\\"):
            problems.append(Problem(number, sheet.file, f"plate {plate!r} has map {name!r}",
                                    "rows lack a barcode or the name of a map; fill them in"))
        elif plates.setdefault(plate, name) != name:
            problems.append(Problem(number, sheet.file, f"plate {plate} has maps {plates[plate]} and {name}",
                                    "plates have two maps; keep one row of each plate"))
    if not plates:
        raise DataError(f"{sheet.file}: names no plates; give each plate a row with its barcode and the name of its map")
    return plates, problems
