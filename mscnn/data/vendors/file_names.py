"""Folders without an index: wells, sites and channels are read from the names of image files.

The names are those of a microscope in `name_patterns.py`, or fit a template that a user gives.  Asked last of all readers.
Exercised by `pytest tests/data/vendors/test_file_names.py`.
"""

import re
from collections.abc import Sequence

from mscnn.core.errors import DataError
from mscnn.data.vendors.image_files import DERIVED, cellomics_files, image_files
from mscnn.data.vendors.name_patterns import GUID_AT_END, IMAGES, NamePattern, fitting_patterns
from mscnn.data.vendors.name_template import EXAMPLE, compile_template
from mscnn.data.vendors.named_images import NamedImage, add_pixel_sizes, named_rows
from mscnn.data.vendors.planes import Listing, PlaneIndex, ReadOptions, planes_of

NAME = "names of files"
SHOWN = 3  # names in a message


def find(listing: Listing) -> list[str]:
    """Return [""], for all of the folder, where one microscope named its files, or names are known that cannot be read."""
    images, _ = image_files(listing, is_template=False)
    is_known = len(fitting_patterns(_names(images))) == 1
    return [""] if is_known or len(cellomics_files(listing)) > len(images) else []


def read(listing: Listing, index: str, options: ReadOptions) -> PlaneIndex:
    """Return the planes that the names of files tell.

    Raises UsageError for a template that is none, DataError where no name fits, or where several microscopes name files so.
    """
    template = compile_template(options.pattern) if options.pattern else None
    images, left_out = image_files(listing, is_template=template is not None)
    _refuse_unreadable(listing, images)
    if template is not None:
        named, label = _by_template(listing, images, template, options.pattern), f"{NAME}, by {options.pattern}"
    else:
        pattern = _choose(listing, images)
        named, label = _by_pattern(images, pattern.regex), f"{NAME}, as of {pattern.name}"
    others = sorted({*images} - {image.path for image in named})
    taken = _taken(named)
    left_out[DERIVED] += len(named) - len(taken)
    are_plates_told = template is not None and "plate" in template.groupindex
    rows, problems = named_rows(listing, taken, are_plates_told=are_plates_told)
    add_pixel_sizes(listing, rows)
    notes = [f"{number} {kind} were left out" for kind, number in left_out.items() if number]
    if others:
        notes.append(f"{len(others)} of {len(images)} image files have other names and were left out: {_some(others)}")
    flat = sum(row["is_flat"] for row in rows) if any(row["z"] for row in rows) else 0
    if flat:
        notes.append(f"{flat} images lie beside folders of focal planes; they are projections and read as z 0")
    return PlaneIndex(planes_of(rows), label, tuple(notes), tuple(problems), z0_projected=flat > 0)


def _names(images: Sequence[str]) -> list[str]:
    return [image.rpartition("/")[2] for image in images]


def _refuse_unreadable(listing: Listing, images: list[str]) -> None:
    """Raise DataError where there are no images, or more of a format that is not read."""
    if len(files := cellomics_files(listing)) > len(images):
        raise DataError(f"{listing.root}: holds {len(files)} images of Cellomics as {_some(files)}, which mscnn does not "
                        "read; export them as TIFF from HCS Studio, or convert them with Bio-Formats")
    if not images and listing.zarr_groups:
        raise DataError(f"{listing.root}: holds Zarr, such as {listing.zarr_groups[0]}, that is no OME-Zarr plate; copy "
                        "the plate with the metadata in its own folder, which list wells")
    if not images:
        raise DataError(f"{listing.root}: holds no image files ({', '.join(IMAGES)}); name the folder of the images")


def _choose(listing: Listing, images: list[str]) -> NamePattern:
    """Return the one pattern that nearly all names have. Raises DataError."""
    found = fitting_patterns(_names(images))
    if len(found) != 1:
        known = "no microscope that mscnn knows" if not found else " and ".join(pattern.name for pattern in found)
        raise DataError(f"{listing.root}: {known} names files as {_some(images)}; tell where names hold the well, site and "
                        f"channel, for example {EXAMPLE}", images)
    if found[0].template:
        raise DataError(f"{listing.root}: names as {_some(images[:1])} hold numbers of wells; give the number of wells of "
                        f"the plate, for 96: --pattern '{found[0].template.format(wells=96)}'")
    return found[0]


def _some(files: Sequence[str]) -> str:
    return ", ".join(files[:SHOWN]) + (", ..." if len(files) > SHOWN else "")


def _by_template(listing: Listing, images: list[str], regex: re.Pattern[str], template: str) -> list[NamedImage]:
    """Return the images whose paths, or names, fit; a random part at the end of a name does not count.

    Raises DataError where none does.
    """
    is_path = "/" in template.replace("\\", "/").removeprefix("./")
    found = []
    for image in images:
        text = image if is_path else image.rpartition("/")[2]
        if match := regex.fullmatch(GUID_AT_END.sub("", text)) or regex.fullmatch(text):
            found.append(NamedImage(image, _fields(match)))
    if not found:
        raise DataError(f"{listing.root}: none of {len(images)} image files fits --pattern {template}; give one that does, "
                        f"for example {EXAMPLE}", images)
    return found


def _by_pattern(images: list[str], regex: re.Pattern[str]) -> list[NamedImage]:
    matches = [(image, regex.fullmatch(image.rpartition("/")[2])) for image in images]
    return [NamedImage(image, _fields(match)) for image, match in matches if match]


def _fields(match: re.Match[str]) -> dict[str, str]:
    return {name: value for name, value in match.groupdict().items() if value is not None}


def _taken(named: list[NamedImage]) -> list[NamedImage]:
    """Return the images that Gen5 took, without those that it made of them (negative steps); all if none is left."""
    return [image for image in named if not image.fields.get("step", "").startswith("-")] or named
