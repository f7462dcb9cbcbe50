"""The door of plate maps: recognises what a file or folder is, and reads it.

Exercised by `pytest tests/data/plate_maps`.
"""

from pathlib import Path

import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import DataError, UsageError
from mscnn.core.words import examples
from mscnn.data.plate_maps import broad, idr
from mscnn.data.plate_maps.assay_layout import read_assay_layout
from mscnn.data.plate_maps.finish import finish_map
from mscnn.data.plate_maps.grid import find_grids, read_grids
from mscnn.data.plate_maps.plate_map import PlateMap, RawMap
from mscnn.data.plate_maps.roles import SPELLINGS
from mscnn.data.plate_maps.sheet import Sheet
from mscnn.data.plate_maps.text_table import read_content, read_text
from mscnn.data.plate_maps.well_list import find_header, no_wells, read_well_list
from mscnn.data.plate_maps.workbook import read_workbook

_TABLES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
_OTHER = {b"\xd0\xcf\x11\xe0": "an old .xls workbook", b"%PDF": "a PDF", b"\x89PNG": "an image", b"PAR1": "parquet",
          b"II*\0": "a TIFF image", b"MM\0*": "a TIFF image", b"\xff\xd8\xff": "an image", b"{\\rtf": "a text document"}


def read_plate_map(path: Path, *, columns: dict[str, str] | None = None, control: str = "DMSO") -> PlateMap:
    """Read a plate map: a table of wells, grids of a plate, a layout of Harmony, or the Broad Institute's maps.

    path: CSV, TSV or text (also .gz), .xlsx, .xml; or a folder with barcode_platemap.csv, or with one grid a file;
    columns: {role: column} where a column, title of a grid, or layer is not recognised; control: the compound of
    untreated wells.  Raises DataError for a file that is no map; what rows cannot be used is in PlateMap.problems.
    """
    given = columns or {}
    if unknown := [f"{role}={column}" for role, column in given.items() if role not in SPELLINGS]:
        raise UsageError(f"--columns {', '.join(unknown)}: no such roles; roles are {', '.join(SPELLINGS)}")
    try:
        if path.is_dir():
            return _read_folder(path, given, control)
        raw = read_content(path)
        if raw.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<":
            return _finish(read_assay_layout(raw, path, given), path, control)
        sheets = _sheets(raw, path)
        if broad.is_barcode_table(sheets[0]):
            return broad.read_barcode_platemap(sheets[0], path, lambda one: _read_one(one, given, control))
        if sheets[0].rows and idr.is_idr_header(sheets[0].rows[0][1]):
            return _finish(_of_idr(idr.read_idr_annotations(path), path, control), path, control)
        return _finish(_read_sheets(sheets, given, path), path, control)
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}); name a plate map") from None


def _of_idr(annotations: pd.DataFrame, path: Path, control: str) -> RawMap:
    """Return annotations of IDR as a map whose doses are not parsed yet.

    A well that is called a negative control, and has no compound, is one of the control.
    """
    roles = {"Metadata_Compound": "compound", "Metadata_Concentration": "concentration", "Metadata_Unit": "unit",
             "Metadata_MoA": "mechanism"}
    frame = annotations.rename(columns=roles)
    kinds = frame.get("Metadata_Control_Type", pd.Series("", frame.index))
    untreated = (frame["compound"] == "") & identity.is_name(kinds, "negative control")
    frame["compound"] = frame["compound"].where(~untreated, control)
    notes = (f"{int(untreated.sum())} negative controls without a compound are {control}",) if untreated.any() else ()
    return RawMap(frame, "annotations of IDR", notes, file=str(path))


def read_sheets(path: Path) -> list[Sheet]:
    """Return the sheets of a text file or workbook. Raises DataError for other files."""
    return _sheets(read_content(path), path)


def _sheets(raw: bytes, path: Path) -> list[Sheet]:
    if raw[:4] == b"PK\x03\x04":
        return read_workbook(raw, path)
    for start, kind in _OTHER.items():
        if raw.startswith(start):
            raise DataError(f"{path}: is {kind}, and no table of wells; save it as .xlsx or CSV")
    return [read_text(raw, path)]


def _read_sheets(sheets: list[Sheet], given: dict[str, str], path: Path) -> RawMap:
    """Return the map of a file's sheets: of the one with a list of wells, or of all that hold grids."""
    headers = [find_header(sheet, given) for sheet in sheets]
    lists = [number for number, header in enumerate(headers) if header is not None]
    found = [find_grids(sheet) for number, sheet in enumerate(sheets) if headers[number] is None]
    grids = [grid for some, _, _ in found for grid in some]
    if len(lists) > 1 or (lists and grids):
        used = {grid.file for grid in grids}
        names = [sheet.name for number, sheet in enumerate(sheets) if number in lists or sheet.file in used]
        raise DataError(f"{path}: several sheets hold wells ({examples(names)}); keep one, or save it as CSV")
    idle = [sheet.name for number, sheet in enumerate(sheets)
            if number not in lists and sheet.file not in {grid.file for grid in grids}]
    notes = (f"sheets without wells are left out: {examples(idle)}",) if idle else ()
    if lists:
        header = headers[lists[0]]
        assert header is not None
        raw = read_well_list(sheets[lists[0]], header, given)
        return RawMap(raw.frame, raw.format, (*raw.notes, *notes), raw.problems, raw.file)
    if not grids:
        raise no_wells(sheets)
    raw = read_grids(grids, given, str(path))
    used = {grid.file for grid in grids}
    problems = [problem for _, _, some in found for problem in some]
    problems += [problem for sheet in sheets if sheet.file in used for problem in sheet.problems]
    more = [note for sheet in sheets for note in sheet.notes] + [note for _, some, _ in found for note in some]
    return RawMap(raw.frame, raw.format, (*more, *raw.notes, *notes), tuple(problems), raw.file)


def _read_folder(path: Path, given: dict[str, str], control: str) -> PlateMap:
    """Return the map of a folder with barcode_platemap.csv, or with a grid a file."""
    entries = sorted(entry for entry in path.iterdir() if entry.is_file())
    if barcodes := next((entry for entry in entries if entry.name.lower() == broad.NAME), None):
        return read_plate_map(barcodes, columns=given, control=control)
    tables = [entry for entry in entries if entry.name.lower().endswith(_TABLES)]
    if not tables:
        raise DataError(f"{path}: holds no {broad.NAME} and no tables; name the file of the plate map")
    sheets = [sheet for entry in tables for sheet in read_sheets(entry)]
    return _finish(_read_sheets(sheets, given, path), path, control)


def _read_one(path: Path, given: dict[str, str], control: str) -> PlateMap:
    """Return the map of one file, for every plate."""
    return _finish(_read_sheets(read_sheets(path), given, path), path, control)


def _finish(raw: RawMap, path: Path, control: str) -> PlateMap:
    return finish_map(broad.name_untreated(raw, control), str(path), control)
