"""The door to microscopes' folders: which format wrote a folder, and its planes by its index.

Exercised by `pytest tests/data/vendors/test_find_index.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import ModuleType

import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import DataError, UsageError
from mscnn.data.vendors import (
    cellvoyager,
    file_names,
    harmony,
    jdce,
    load_data,
    metaxpress,
    ome_companion,
    ome_zarr_plate,
    sample_sheet,
)
from mscnn.data.vendors.planes import Listing, PlaneIndex, ReadOptions, list_folder

# In the order in which they are asked.  An index of a microscope counts before a table, and a table before names of files.
READERS: dict[str, ModuleType] = {
    "harmony": harmony, "cellvoyager": cellvoyager, "metaxpress": metaxpress, "jdce": jdce, "ome-zarr": ome_zarr_plate,
    "ome-tiff": ome_companion, "load-data": load_data, "sample-sheet": sample_sheet, "file-names": file_names}
BY_NAMES = "file-names"
_TABLES = ("load-data", "sample-sheet")


def read_folder(place: Path, options: ReadOptions, *, format: str = "auto",
                plates_by_folder: bool = False, follow_links: Sequence[Path] = ()) -> tuple[Listing, list[PlaneIndex]]:
    """Read all indexes below a folder, or one index that is named itself.

    format: a name of READERS, or auto; plates_by_folder: name plates by their folders, not as their indexes do;
    follow_links: folders that links may lead to.
    Raises DataError where nothing is recognised, where several formats are, or where two indexes have a plate of one name.
    """
    listing = list_folder(place if place.is_dir() else place.parent, follow_links)
    chosen, indexes = _find(place, listing, options, format)
    found = _read_all(chosen, listing, indexes, options)
    labels = _folder_labels(indexes, listing)
    found = [_with_plates(index, label, plates_by_folder) for index, label in zip(found, labels, strict=True)]
    _refuse_twins(found, indexes)
    return listing, found


def _find(place: Path, listing: Listing, options: ReadOptions, format: str) -> tuple[ModuleType, list[str]]:
    """Return the reader of a folder and its index files."""
    if options.pattern:
        if format not in ("auto", BY_NAMES):
            raise UsageError(f"--pattern {options.pattern} reads names of files, and --format {format} does not; drop one")
        return file_names, [""]
    asked = {format: READERS[format]} if format != "auto" else READERS
    found = dict(_found(listing, asked)) if place.is_dir() else _of_file(place, listing, asked)
    if len(found) > 1:  # a folder of a microscope may hold a table that was made of it
        found = {name: indexes for name, indexes in found.items() if name not in _TABLES} or found
    if len(found) > 1:
        raise DataError(f"{place}: holds indexes of several formats; choose one with --format, or name one index file",
                        [f"{name}: {index}" for name, indexes in found.items() for index in indexes])
    if found:
        name, indexes = next(iter(found.items()))
        return READERS[name], indexes
    if BY_NAMES in asked and place.is_dir():
        return file_names, [""]
    known = ", ".join(reader.NAME for reader in asked.values())
    remedy = "name the folder that the microscope wrote, or give the names of its files by --pattern"
    beside = [] if place.is_dir() else [index for _, indexes in _found(listing, asked) for index in indexes if index]
    if beside:
        remedy = f"its folder holds {', '.join(beside[:3])}{', ...' if len(beside) > 3 else ''}; name one, or the folder"
    raise DataError(f"{place}: no index of {known} is recognised; {remedy}")


def _read_all(reader: ModuleType, listing: Listing, indexes: Sequence[str], options: ReadOptions) -> list[PlaneIndex]:
    """Return what each index holds. Raises DataError naming all that cannot be read."""
    found, failed = [], []
    for index in indexes:
        try:
            found.append(reader.read(listing, index, options))
        except DataError as problem:
            failed.append(problem)
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise DataError(f"{listing.root}: {len(failed)} of {len(indexes)} indexes cannot be read; mend or replace them",
                        [line for problem in failed for line in (problem.what, *problem.details)])
    return found


def _found(listing: Listing, asked: Mapping[str, ModuleType]) -> list[tuple[str, list[str]]]:
    """Return (name, index files) of each reader that finds any, but not by names of files."""
    return [(name, indexes) for name, reader in asked.items() if name != BY_NAMES and (indexes := reader.find(listing))]


def _of_file(place: Path, listing: Listing, asked: Mapping[str, ModuleType]) -> dict[str, list[str]]:
    """Return {name: [index]} of the readers of a file that a user names.

    A file of metadata of Zarr stands for its folder, and a table of any name may be one of LoadData.
    """
    names = (place.name, "") if place.name in ome_zarr_plate.METADATA else (place.name,)
    found = {name: [index for index in indexes if index in names] for name, indexes in _found(listing, asked)}
    found = {name: indexes for name, indexes in found.items() if indexes}
    return found or ({"load-data": [place.name]} if "load-data" in asked and load_data.is_table(place) else {})


def _folder_labels(indexes: Sequence[str], listing: Listing) -> list[str]:
    """Return a name for each index by the folders above it, or by itself if it is one: what they share is left out."""
    folders = [PurePosixPath(index).parent.parts if index in listing.known else PurePosixPath(index).parts
               for index in indexes]
    root = listing.root.resolve().name
    if len(folders) == 1:
        return [root]
    differs = [len({parts[level:level + 1] for parts in folders}) > 1 for level in range(max(map(len, folders)))]
    labels = ["_".join(part for part, is_told in zip(parts, differs, strict=False) if is_told) for parts in folders]
    return [label or root for label in labels]


def _with_plates(index: PlaneIndex, label: str, by_folder: bool) -> PlaneIndex:
    """Return an index whose plates have names: the folder's where it gives none, or where asked."""
    plates = index.planes["plate"]
    if not by_folder and not (plates == "").any():
        return index
    if by_folder:
        named = label + "_" + plates if plates.nunique() > 1 else pd.Series(label, plates.index)
    else:
        named = plates.where(plates != "", label)
    return replace(index, planes=index.planes.assign(plate=named.astype("str")))


def _refuse_twins(found: Sequence[PlaneIndex], indexes: Sequence[str]) -> None:
    """Raise DataError where two indexes have a plate of one name: their wells would be mixed."""
    plates: dict[str, list[str]] = {}
    for index, name in zip(found, indexes, strict=True):
        for plate in index.planes["plate"].unique():
            plates.setdefault(identity.normal_form(plate), []).append(f"{plate} of {name or 'names of files'}")
    if twins := [", ".join(names) for names in plates.values() if len(names) > 1]:
        raise DataError(f"{len(twins)} names of plates are those of several indexes; name plates by their folders with "
                        "--plates folder, or read the folders one by one", twins)
