"""OME-Zarr plates, 0.4 and 0.5 (Zarr 2 and 3), and what bioformats2raw makes of a plate, read without zarr.

Exercised by `pytest tests/data/vendors/test_ome_zarr_plate.py`.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mscnn.core.errors import DataError
from mscnn.core.files import read_bytes
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.wells import well_name, well_place
from mscnn.data.vendors.names_below import LEAVES, pieces_of
from mscnn.data.vendors.ome_zarr_image import LARGEST, AbsentError, Image, read_attributes, read_image, records
from mscnn.data.vendors.planes import ABSENT, Listing, PlaneIndex, ReadOptions, planes_of

NAME = "OME-Zarr plate"
METADATA = (".zattrs", "zarr.json", ".zgroup")  # a user may name one of these for its folder
UNREADABLE = "wells or images of the plate cannot be used; copy the plate again"
ELSEWHERE = "wells do not fit the rows and columns of the plate; mend the metadata of the plate"


class _Entry(NamedTuple):
    """One image of a plate, or one fault."""

    well: str
    place: list[str]       # names of its folders, below the plate
    site: str = ""
    acquisition: str = ""
    fault: str = ""
    kind: str = UNREADABLE  # of the fault


def find(listing: Listing) -> list[str]:
    """Return the groups that hold a plate; of a folder with nothing but other groups of Zarr, the first, to be refused."""
    plates = [group for group in listing.zarr_groups if _is_plate(listing.path(group))]
    return plates or list(listing.zarr_groups[:1] if not listing.files else ())


def read(listing: Listing, index: str, options: ReadOptions) -> PlaneIndex:
    """Return the planes of a plate: every channel, focal plane and time point of one level of each image.

    Of several acquisitions all images are there, told apart by Metadata_Acquisition.
    """
    group = index.rpartition("/")[0] if index.rpartition("/")[2] in METADATA else index
    folder = str(listing.path(group))
    try:
        attributes = read_attributes(folder)
    except ValueError as problem:
        raise DataError(f"{folder}: no readable OME-Zarr ({problem}); copy the plate again") from None
    plate = attributes.get("plate")
    if not isinstance(plate, dict):
        what = "an image without a plate" if "multiscales" in attributes else "no plate"
        raise DataError(f"{folder}: this Zarr holds {what}; name the folder of an OME-Zarr plate, whose metadata list "
                        "wells")
    name = str(plate.get("name") or "").strip() or _bare(group or listing.root.resolve().name)
    problems: list[Problem] = []
    rows: list[dict[str, Any]] = []
    images: list[Image] = []
    for entry in _entries(folder, plate):
        below = "/".join([group, *entry.place] if group else entry.place)
        try:
            if entry.fault:
                raise ValueError(entry.fault)
            image = read_image(os.path.join(folder, *entry.place), options.level_size)
        except ValueError as problem:
            problems.append(Problem(None, below, f"{below}: {problem}", _kind(problem, entry.kind)))
            continue
        images.append(image)
        shared = {"plate": name, "well": entry.well, "site": entry.site, "path": f"{below}/{image.level}",
                  "pixel_size": image.pixel_size, "Metadata_Acquisition": entry.acquisition}
        rows += [{**shared, **plane} for plane in image.planes()]
    if not rows and not problems:
        raise DataError(f"{folder}: the plate lists no images; copy the plate again")
    planes = planes_of(rows)
    if rows and planes["Metadata_Acquisition"].nunique() == 1:
        planes = planes.drop(columns="Metadata_Acquisition")
    version = attributes.get("version") or plate.get("version") or ""
    return PlaneIndex(planes, f"OME-Zarr plate {version}".strip(), _notes(rows, images, options), tuple(problems))


def _entries(folder: str, plate: dict[str, Any]) -> Iterator[_Entry]:
    """Yield the images of a plate, and a fault of each well that cannot be read."""
    try:
        rows, columns = ([str(entry.get("name", "")) for entry in records(plate, key)] for key in ("rows", "columns"))
        wells = records(plate, "wells")
    except ValueError as problem:
        yield _Entry("", [], fault=str(problem))
        return
    for record in wells:
        place = pieces_of(str(record.get("path", "")))
        if place is None:
            yield _Entry("", [], fault=f"the path {record.get('path')!r} of a well leaves the plate", kind=LEAVES)
        elif fault := _well_fault(place, record, rows, columns):
            yield _Entry("", place, fault=fault, kind=ELSEWHERE)
        else:
            yield from _images(folder, place)


def _images(folder: str, place: list[str]) -> Iterator[_Entry]:
    """Yield the images of the well in this place of the plate, or a fault."""
    spot = well_place("".join(place))
    well = well_name(*spot) if spot else ""
    try:
        images = records(read_attributes(os.path.join(folder, *place)).get("well"), "images")
    except ValueError as problem:
        yield _Entry(well, place, fault=str(problem), kind=_kind(problem, UNREADABLE))
        return
    for image in images:
        acquisition = image.get("acquisition")
        pieces = pieces_of(str(image.get("path", "")))
        if pieces is None:
            yield _Entry(well, place, fault=f"the path {image.get('path')!r} of an image leaves the well", kind=LEAVES)
        else:
            yield _Entry(well, [*place, *pieces], "/".join(pieces), "" if acquisition is None else str(acquisition))


def _well_fault(place: list[str], record: dict[str, Any], rows: list[str], columns: list[str]) -> str:
    """Return what is wrong with a well, "" if nothing is: its path is the name of its row, a slash, that of its column."""
    path = "/".join(place)
    for key, name, names in zip(("rowIndex", "columnIndex"), place, (rows, columns), strict=False):
        names = [listed.lstrip("0") for listed in names]
        if len(place) != 2 or (names and name.lstrip("0") not in names):
            return f"well {path!r} is outside of the plate of {len(rows)} rows and {len(columns)} columns"
        number = record.get(key)
        if number is not None and names and number != names.index(name.lstrip("0")):
            return f"well {path!r} has {key} {str(number)[:20]}, and {name!r} is number {names.index(name.lstrip('0'))}"
    if well_place("".join(place)) is None:
        return f"well {path!r} is no place on a plate, such as B/03"
    return ""


def _kind(problem: ValueError, other: str) -> str:
    """Return the kind of a problem: ABSENT where its folder is not there, else the other one."""
    return ABSENT if isinstance(problem, AbsentError) else other


def _notes(rows: list[dict[str, Any]], images: list[Image], options: ReadOptions) -> tuple[str, ...]:
    """Return what a user should know of a plate, a line each."""
    notes = []
    acquisitions = sorted({row["Metadata_Acquisition"] for row in rows})
    if len(acquisitions) > 1:
        notes.append(f"{len(acquisitions)} acquisitions are in one plate ({', '.join(acquisitions)[:80]}), as sites of "
                     "their own; choose by Metadata_Acquisition")
    if doubled := sum(image.doubled for image in images):
        notes.append(f"{doubled} images have channels of one name; their numbers are added")
    if options.level_size and (small := sum(image.is_smaller for image in images)):
        least = "x".join(map(str, options.level_size))
        notes.append(f"{small} images are smaller than {least}; their full size is used")
    levels = Counter(image.level for image in images)
    if len(levels) > 1:
        shown = ", ".join(f"{level} ({number} images)" for level, number in levels.most_common(5))
        notes.append(f"images are read at different levels: {shown}")
    return tuple(notes)


def _is_plate(folder: Path) -> bool:
    """Return whether metadata name a plate; those that are cut short may."""
    for name in METADATA[:2]:
        try:
            content = read_bytes(folder / name, largest=LARGEST)
            if b'"plate"' in content or not content.strip():
                break
        except OSError:
            continue
    else:
        return False
    try:
        return "plate" in read_attributes(str(folder))
    except ValueError:
        return True


def _bare(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".zarr").removesuffix(".ome")
