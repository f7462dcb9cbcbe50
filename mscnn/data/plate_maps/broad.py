"""The Broad Institute's maps: barcode_platemap.csv, and a table of wells for each map in the folder platemap beside it.

Other laboratories name the columns of such tables in other ways.
Exercised by `pytest tests/data/plate_maps/test_broad.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import DataError
from mscnn.core.words import examples
from mscnn.data.plate_maps.plate_map import PREFIX, PlateMap, RawMap
from mscnn.data.plate_maps.sheet import Sheet
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.text_csv import plain_name

NAME = "barcode_platemap.csv"
_PLATES = ("assayplatebarcode", "platebarcode", "barcode", "plate", "plateid", "platename", "assayplate")  # the best first
_MAPS = ("platemapname", "platemapfile", "platemapfilename", "platemap", "platemapid")
_SUFFIXES = (".txt", ".tsv", ".csv", ".txt.gz", ".csv.gz", ".xlsx")
_SAMPLE, _SOLVENT = "broadsample", "solvent"
_GENES = ("genename", "gene", "genesymbol", "targetsequence")


def is_barcode_table(sheet: Sheet) -> bool:
    """Return whether a sheet says which plate has which map: it has barcodes and names of maps, and no wells."""
    header = list(map(plain_name, sheet.rows[0][1]))
    return all(_place(header, names) >= 0 for names in (_PLATES, _MAPS)) and not any("well" in name for name in header)


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

    A well keeps no compound where it has a gene, another solvent than the control, or none where others have one.
    """
    by_name = {plain_name(str(name)): str(name) for name in raw.frame}
    if _SAMPLE not in by_name or not raw.frame["compound"].equals(raw.frame[by_name[_SAMPLE]].rename("compound")):
        return raw
    compounds = raw.frame["compound"]
    empty = compounds.map({name: identity.is_not_known(name) for name in compounds.unique()}).astype(bool)
    solvent = raw.frame[by_name[_SOLVENT]] if _SOLVENT in by_name else pd.Series("", raw.frame.index)
    told = ~solvent.map({text: identity.is_not_known(text) for text in solvent.unique()}).astype(bool)
    fits = identity.is_name(solvent, control) if told.any() else ~told
    for gene in (raw.frame[by_name[name]] for name in _GENES if name in by_name):
        fits &= gene.map({text: identity.is_not_known(text) for text in gene.unique()}).astype(bool)
    untreated = empty & fits
    notes = [f"{int(untreated.sum())} wells without broad_sample are {control}"] if untreated.any() else []
    if (raw.frame["unit"] == "mmoles_per_liter").any():
        notes.append("mmoles_per_liter is read as mM; where it is of the source plate, the doses in the wells are lower")
    compound = compounds.where(~empty, "").where(~untreated, control)
    return replace(raw, frame=raw.frame.assign(compound=compound), format="Broad plate map", notes=(*raw.notes, *notes))


def _plates(sheet: Sheet) -> tuple[dict[str, str], list[Problem]]:
    """Return {plate: name of its map}, and rows without either, or that name another map for the same plate."""
    header = list(map(plain_name, sheet.rows[0][1]))
    plate_at, map_at = _place(header, _PLATES), _place(header, _MAPS)
    plates: dict[str, str] = {}
    problems = []
    for number, cells in sheet.rows[1:]:
        values = (*cells, *[""] * len(header))
        plate, name = values[plate_at], _stem(values[map_at])
        if not plate or not name or any(part in name for part in "/\\"):
            problems.append(Problem(number, sheet.file, f"plate {plate!r} has map {name!r}",
                                    "rows lack a barcode or the name of a map; fill them in"))
        elif plates.setdefault(plate, name) != name:
            problems.append(Problem(number, sheet.file, f"plate {plate} has maps {plates[plate]} and {name}",
                                    "plates have two maps; keep one row of each plate"))
    if not plates:
        raise DataError(f"{sheet.file}: names no plates; give each plate a row with its barcode and the name of its map")
    return plates, problems


def _place(header: list[str], names: Sequence[str]) -> int:
    """Return the place of the column with the best of these names, -1 where there is none."""
    return next((header.index(name) for name in names if name in header), -1)


def _stem(name: str) -> str:
    """Return the name of a map without the suffix that some tables give it."""
    return next((name[:-len(suffix)] for suffix in _SUFFIXES if name.lower().endswith(suffix)), name)
