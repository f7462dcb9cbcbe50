"""Folders of MetaXpress Acquire (ImageXpress HCS.ai): a .jdce file in JSON, and a CSV with a row an image.

An acquisition has a folder `experiment/`.  One of a stack has its planes in `experiment_z_stack/`, and their projections
in `experiment/`; `experiment_montage/` holds stitched images.  Planes are preferred to projections, and both to montages.
Exercised by `pytest tests/data/vendors/test_jdce.py`.
"""

import json
from collections.abc import Hashable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from mscnn.core.errors import DataError
from mscnn.data.tables.lengths import micrometres
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.text_csv import read_csv
from mscnn.data.tables.wells import LAST_COLUMN, LAST_ROW, well_name, well_place
from mscnn.data.vendors.planes import Listing, PlaneIndex, ReadOptions, planes_of

NAME = "HCS.ai (.jdce)"
LARGEST = 2**26  # bytes of a .jdce
PREFERRED = ("experiment_z_stack", "experiment", "experiment_montage")
_NUMBERS = ("Row", "Column", "Field", "Wavelength", "Timepoint", "ZIndex")
_COLUMNS = (*_NUMBERS, "ImageFileName")
_AGAIN = "copy the folder again from the microscope"


def find(listing: Listing) -> list[str]:
    """Return the .jdce file of each acquisition: of its planes where it has projections or montages too."""
    found = _all(listing)
    return [file for file in found if not any(_rank(other) < _rank(file) for other in _beside(found, file))]


def read(listing: Listing, index: str, options: ReadOptions) -> PlaneIndex:
    """Return the planes of one .jdce file. Raises DataError for a file that is none, or whose CSV is not there."""
    path = listing.path(index)
    stack = _stack(path)
    channels = _channels(stack)
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    folder = index.rpartition("/")[0]
    for name in _csv_names(path, stack):
        table = _read_table(listing, folder, name)
        found, wrong = _rows(table, f"{folder}/{name}".lstrip("/"), folder, _plate_size(stack), listing)
        rows += found
        problems += wrong
    _name_channels(rows, channels)
    plate, size = _plate(stack), _pixel_size(stack)
    rows = [{**row, "plate": plate, "pixel_size": size} for row in rows]
    others = [other for other in _beside(_all(listing), index) if _rank(other) > _rank(index)]
    notes = tuple(f"{other.rpartition('/')[0]} holds projections or montages of the same acquisition and was left out; "
                  "name its .jdce file to read it instead" for other in others)
    return PlaneIndex(planes_of(rows), NAME, notes, tuple(problems))


@lru_cache(maxsize=1)
def _all(listing: Listing) -> tuple[str, ...]:
    """Return all .jdce files but hidden ones."""
    return tuple(file for file in listing.named("*.jdce") if not file.rpartition("/")[2].startswith("."))


def _beside(files: Sequence[str], file: str) -> list[str]:
    """Return those of these files that lie in other folders of the same acquisition."""
    folder = file.rpartition("/")[0]
    parent, _, name = folder.rpartition("/")
    if name.lower() not in PREFERRED:
        return []
    beside = [(other, other.rpartition("/")[0]) for other in files]
    return [other for other, place in beside if place != folder and place.rpartition("/")[0] == parent
            and place.rpartition("/")[2].lower() in PREFERRED]


def _rank(file: str) -> int:
    name = file.rpartition("/")[0].rpartition("/")[2].lower()
    return PREFERRED.index(name) if name in PREFERRED else 0


def _stack(path: Path) -> dict[str, Any]:
    """Return the object ImageStack. Raises DataError."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise ValueError(f"more than {LARGEST:,} bytes")
        whole = json.loads(raw.decode("utf-8-sig"))
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}); {_AGAIN}") from None
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{path}: is no whole JSON ({str(problem)[:100]}); {_AGAIN}") from None
    stack = _get(whole, "ImageStack")
    if not isinstance(stack, dict):
        raise DataError(f"{path}: holds no ImageStack, as a .jdce file of MetaXpress Acquire does; {_AGAIN}")
    kind = stack.get("ImageFormat", "TIFF")
    if str(kind).upper() not in ("TIFF", "TIF"):
        raise DataError(f"{path}: its images are {str(kind)[:40]}, and only TIFF is read; export them as TIFF")
    return stack


def _get(value: Any, *keys: str) -> Any:
    """Return what nested objects hold below these keys, None where one is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _channels(stack: dict[str, Any]) -> dict[int, str]:
    """Return {number of a wavelength: name of its emission filter}."""
    waves = _get(stack, "AutoLeadAcquisitionProtocol", "Wavelengths")
    found: dict[int, str] = {}
    for place, wave in enumerate(waves if isinstance(waves, list) else []):
        number, name = _get(wave, "Index"), _get(wave, "EmissionFilter", "Name")
        found[number if isinstance(number, int) else place] = str(name or "").strip()
    return found


def _plate(stack: dict[str, Any]) -> str:
    """Return the barcode, else the name that MetaXpress Acquire shows."""
    return str(_get(stack, "SpecimenHolder", "Barcode") or "").strip() or str(_get(stack, "PlateId") or "").strip()


def _plate_size(stack: dict[str, Any]) -> tuple[int, int]:
    plate = _get(stack, "AutoLeadAcquisitionProtocol", "Plate")
    rows, columns = _get(plate, "Rows"), _get(plate, "Columns")
    return (rows if isinstance(rows, int) else LAST_ROW), (columns if isinstance(columns, int) else LAST_COLUMN)


def _pixel_size(stack: dict[str, Any]) -> float:
    """Return micrometres, NaN where the width or its unit is not known."""
    optics = _get(stack, "AutoLeadAcquisitionProtocol", "ObjectiveCalibration")
    return micrometres(str(_get(optics, "PixelWidth")), str(_get(optics, "Unit")).lower())


def _csv_names(path: Path, stack: dict[str, Any]) -> list[str]:
    """Return the names of the CSV files. Raises DataError where there are none, or one is in another folder."""
    names = _get(stack, "ImageMetadataFiles")
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: names no ImageMetadataFiles, the lists of its images; {_AGAIN}")
    wrong = [str(name)[:100] for name in names if not isinstance(name, str) or not _is_below(name) or "/" in name]
    if wrong:
        raise DataError(f"{path}: ImageMetadataFiles must be names of files in its folder; {_AGAIN}", wrong)
    return names


def _is_below(path: str) -> bool:
    """Return whether a path with forward slashes stays below its folder."""
    return not (path.startswith("/") or ":" in path or "\0" in path or ".." in path.split("/"))


def _read_table(listing: Listing, folder: str, name: str) -> pd.DataFrame:
    """Return a list of images. Raises DataError."""
    path = listing.path(listing.spelled(f"{folder}/{name}".lstrip("/")))
    table = read_csv(path)
    if missing := [column for column in _COLUMNS if column not in table]:
        raise DataError(f"{path}: has no column {', '.join(missing)}; {_AGAIN}")
    return table


def _rows(table: pd.DataFrame, csv: str, folder: str, plate: tuple[int, int],
          listing: Listing) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Return a row for each image, and the rows of the CSV that cannot be used."""
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    filters = table["ExcitationEmissionFilter"].tolist() if "ExcitationEmissionFilter" in table else [""] * len(table)
    wells = table["Well"].tolist() if "Well" in table else [""] * len(table)
    folders = table["ImageSubFolderPath"].tolist() if "ImageSubFolderPath" in table else [""] * len(table)
    values = zip(table.index, *(table[name].tolist() for name in _COLUMNS), filters, wells, folders, strict=True)
    for line, *numbers, file, shown, well, below in values:
        name = "/".join(part for part in (below.strip().replace("\\", "/").strip("/"), file.strip()) if part)
        if reason := _fault(numbers, well, file, name, below, plate):
            problems.append(_problem(line, csv, reason))
            continue
        row, column, site, wave, time, z = map(int, numbers)
        path = f"{folder}/{name}".lstrip("/")
        rows.append({"well": well_name(row - 1, column - 1), "site": str(site), "channel": shown.strip(), "order": wave,
                     "time": time, "z": z, "path": listing.spelled(path)})
    return rows, problems


def _fault(numbers: list[str], well: str, file: str, name: str, below: str, plate: tuple[int, int]) -> str:
    """Return why a row cannot be used, "" where it can."""
    if wrong := [f"{column} is {text[:40]!r}" for column, text in zip(_NUMBERS, numbers, strict=True)
                 if not (text.isdecimal() and text.isascii() and len(text) < 10)]:
        return f"{', '.join(wrong)}, not a whole number"
    row, column = int(numbers[0]), int(numbers[1])
    if not (1 <= row <= plate[0] <= LAST_ROW and 1 <= column <= plate[1] <= LAST_COLUMN):
        return f"row {row} column {column} is not on the plate of {plate[0]} x {plate[1]} wells"
    if well.strip() and well_place(well) != (row - 1, column - 1):
        return f"well {well!r} is not row {row} column {column}"
    if not file.strip() or "/" in file or not _is_below(name) or below.strip().startswith(("/", "\\")):
        return f"{name!r} is not a file below the folder of the .jdce"
    return ""


def _problem(line: Hashable, csv: str, reason: str) -> Problem:
    return Problem(int(str(line)), csv, reason, "rows of a list of images cannot be used; copy the folder again")


def _name_channels(rows: list[dict[str, Any]], channels: dict[int, str]) -> None:
    """Name channels by their emission filters, else by the CSV, else by their numbers; two of one name get both."""
    names = dict(channels)
    for row in rows:
        names[row["order"]] = names.get(row["order"]) or row["channel"] or str(row["order"])
    shown = list(names.values())
    for row in rows:
        name = names[row["order"]]
        row["channel"] = name if shown.count(name) == 1 else f"{name} (w{row['order']})"
