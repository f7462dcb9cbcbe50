"""Folders without an index: wells, sites and channels are read from the names of image files.

The names are those of a microscope in `name_patterns.py`, or fit a template that a user gives.  Asked last of all readers.
Exercised by `pytest tests/data/vendors/test_file_names.py`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from mscnn.core.errors import DataError
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.wells import well_name, well_place
from mscnn.data.vendors.metaseries import pixel_size
from mscnn.data.vendors.name_patterns import GUID_AT_END, IMAGES, METAXPRESS, NamePattern, fitting_patterns
from mscnn.data.vendors.name_template import EXAMPLE, PLATES, compile_template, place_of_number
from mscnn.data.vendors.planes import Listing, PlaneIndex, ReadOptions, planes_of
from mscnn.data.vendors.plate_names import unique_names
from mscnn.data.vendors.tree_places import tree_place

NAME = "names of files"
SHOWN = 3  # names in a message
LARGEST_NUMBER = 2**31
_CELLOMICS = (".c01", ".dib")
_HIDDEN, _THUMBNAIL, _DERIVED = "hidden files", "thumbnails", "projections, stitched images and images of corrections"
_THUMB = re.compile(r"(?:^|[/_ .-])thumb", re.IGNORECASE)
_DERIVED_FOLDER = re.compile(r"(?:^|/)(?:projections?|montages?|(?:[^/]*_)?stitched)/", re.IGNORECASE)
_DERIVED_NAME = re.compile(r"(?:DC_|SC_BP).*|.*_(?:Stitched|ZProj|Z Proj)\S*\[.*", re.IGNORECASE)  # of CellVoyager; of Gen5


class _Named(NamedTuple):
    """An image file and what its name tells."""

    path: str
    fields: dict[str, str]


def find(listing: Listing) -> list[str]:
    """Return [""], for all of the folder, where one microscope named its files, or names are known that cannot be read."""
    images, _ = _images(listing, is_template=False)
    is_known = len(fitting_patterns(_names(images))) == 1
    return [""] if is_known or (not images and _cellomics_files(listing)) else []


def read(listing: Listing, index: str, options: ReadOptions) -> PlaneIndex:
    """Return the planes that the names of files tell.

    Raises UsageError for a template that is none, DataError where no name fits, or where several microscopes name files so.
    """
    regex = compile_template(options.pattern) if options.pattern else None
    images, left_out = _images(listing, is_template=regex is not None)
    if regex is not None:
        named, label = _by_template(images, regex, options.pattern), f"{NAME}, by {options.pattern}"
        if not named:
            raise DataError(f"{listing.root}: none of {len(images)} image files fits --pattern {options.pattern}; give one "
                            f"that does, for example {EXAMPLE}", images)
    else:
        pattern = _choose(listing, images)
        named, label = _by_pattern(images, pattern.regex), f"{NAME}, as of {pattern.name}"
    named, processed = _without_processed(named)
    left_out[_DERIVED] += processed
    rows, problems = _rows(listing, named)
    if label.endswith(METAXPRESS.name):
        _add_pixel_sizes(listing, rows)
    notes = [f"{number} {kind} were left out" for kind, number in left_out.items() if number]
    if others := sorted({*images} - {image.path for image in named}) if not processed else []:
        notes.append(f"{len(others)} of {len(images)} image files have other names and were left out: {_some(others)}")
    if any(row["z"] for row in rows) and (flat := sum(row.pop("is_flat") for row in rows)):
        notes.append(f"{flat} images lie beside folders of focal planes; they are projections and read as z 0")
    return PlaneIndex(planes_of([{name: value for name, value in row.items() if name != "is_flat"} for row in rows]), label,
                      tuple(notes), tuple(problems))


def _images(listing: Listing, *, is_template: bool) -> tuple[list[str], Counter[str]]:
    """Return the image files to read, and how many of which kind were left out.

    is_template: whether a user tells which files: then projections are kept.
    """
    images: list[str] = []
    left_out: Counter[str] = Counter()
    for file in listing.files:
        if not file.lower().endswith(IMAGES):
            continue
        name = file.rpartition("/")[2]
        if "/." in f"/{file}":
            left_out[_HIDDEN] += 1
        elif _THUMB.search(file):
            left_out[_THUMBNAIL] += 1
        elif not is_template and (_DERIVED_FOLDER.search(file) or _DERIVED_NAME.fullmatch(name)):
            left_out[_DERIVED] += 1
        else:
            images.append(file)
    return images, left_out


def _names(images: Sequence[str]) -> list[str]:
    return [image.rpartition("/")[2] for image in images]


def _cellomics_files(listing: Listing) -> list[str]:
    return [file for file in listing.files if file.lower().endswith(_CELLOMICS)]


def _choose(listing: Listing, images: list[str]) -> NamePattern:
    """Return the one pattern that nearly all names have. Raises DataError."""
    if not images and (files := _cellomics_files(listing)):
        raise DataError(f"{listing.root}: holds {len(files)} images of Cellomics as {_some(files)}, which mscnn does not "
                        "read; export them as TIFF from HCS Studio, or convert them with Bio-Formats")
    if not images:
        raise DataError(f"{listing.root}: holds no image files ({', '.join(IMAGES)}); name the folder of the images")
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


def _by_template(images: list[str], regex: re.Pattern[str], template: str) -> list[_Named]:
    """Return the images whose paths, or names, fit; a random part at the end of a name does not count."""
    is_path = "/" in template.replace("\\", "/").removeprefix("./")
    found = []
    for image in images:
        text = image if is_path else image.rpartition("/")[2]
        if match := regex.fullmatch(GUID_AT_END.sub("", text)) or regex.fullmatch(text):
            found.append(_Named(image, {name: value for name, value in match.groupdict().items() if value is not None}))
    return found


def _by_pattern(images: list[str], regex: re.Pattern[str]) -> list[_Named]:
    matches = [(image, regex.fullmatch(image.rpartition("/")[2])) for image in images]
    return [_Named(image, {name: value for name, value in match.groupdict().items() if value is not None})
            for image, match in matches if match]


def _without_processed(named: list[_Named]) -> tuple[list[_Named], int]:
    """Return the images that Gen5 took, without those that it made of them (negative steps), and the number of these."""
    taken = [image for image in named if not image.fields.get("step", "").startswith("-")]
    return (taken, len(named) - len(taken)) if taken else (named, 0)


def _rows(listing: Listing, named: list[_Named]) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Return a row for each image, and those whose names tell no well of a plate."""
    root = listing.root.resolve().as_posix()
    places = {folder: tree_place(f"{root}/{folder}".rstrip("/")) for folder in {_folder(image.path) for image in named}}
    keys = [(places[_folder(image.path)].plate, image.fields.get("plate", "")) for image in named]
    plates = unique_names(keys)
    steps = _steps(named)
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for (path, fields), key in zip(named, keys, strict=True):
        place, folder = _well(fields), places[_folder(path)]
        if place is None or max(map(_number, (fields.get("z", ""), fields.get("time", "")))) >= LARGEST_NUMBER:
            problems.append(Problem(None, path, f"{path}: {_shown_well(fields)} is no well of a plate of up to 1,536",
                                    "names of files tell no well; rename them, or give another --pattern"))
            continue
        z, time = fields.get("z"), fields.get("time")
        rows.append({"plate": plates[key], "well": well_name(*place), "site": _site(fields), "path": path,
                     "channel": _channel(fields, steps), "order": _channel_key(fields),
                     "z": folder.z or 0 if z is None else int(z), "time": folder.time or 0 if time is None else int(time),
                     "is_flat": z is None and not folder.z})
    _rank_channels(rows)
    return rows, problems


def _add_pixel_sizes(listing: Listing, rows: list[dict[str, Any]]) -> None:
    """Add the size of a pixel, read from one image of each plate and channel."""
    sizes: dict[tuple[str, str], float] = {}
    for row in rows:
        key = row["plate"], row["channel"]
        if key not in sizes:
            sizes[key] = pixel_size(listing.path(row["path"]))
        row["pixel_size"] = sizes[key]


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _well(fields: dict[str, str]) -> tuple[int, int] | None:
    """Return row and column from 0."""
    for wells in PLATES:
        if number := fields.get(f"well{wells}"):
            return place_of_number(int(number[:9]), wells)
    if "well" in fields:
        return well_place(fields["well"])
    row = fields["row"]
    return well_place(f"R{row}C{fields['column']}" if row.isdecimal() else f"{row}{fields['column']}")


def _site(fields: dict[str, str]) -> str:
    """Return the site, with the region of interest where Gen5 imaged one."""
    site = _plain(fields.get("site", "1"))
    return f"{fields['region']}_{site}" if "region" in fields else site


def _channel(fields: dict[str, str], steps: dict[str, set[str]]) -> str:
    """Return the channel, with the step of Gen5 where several steps image it."""
    channel = fields.get("channel", "1")
    return f"{channel} step {int(fields['step'])}" if len(steps.get(channel, ())) > 1 else _plain(channel)


def _channel_key(fields: dict[str, str]) -> tuple[int, int, int, str]:
    """Return what orders the channels of a plate."""
    channel = fields.get("channel", "1")
    return _number(fields.get("step", "")), _number(fields.get("order", "")), _number(channel), channel


def _shown_well(fields: dict[str, str]) -> str:
    return " ".join(value for name, value in fields.items() if name.startswith("well") or name in ("row", "column"))


def _plain(text: str) -> str:
    """Return a number without zeros in front, other text as it is."""
    return str(int(text)) if text.isdecimal() and text.isascii() else text


def _number(text: str) -> int:
    """Return a number, 0 for other text."""
    return int(text) if text.lstrip("-").isdecimal() else 0


def _steps(named: list[_Named]) -> dict[str, set[str]]:
    """Return {channel: the steps that image it}, of Gen5, where several steps may image one channel."""
    found: dict[str, set[str]] = {}
    for image in named:
        if "step" in image.fields:
            found.setdefault(image.fields["channel"], set()).add(image.fields["step"])
    return found


def _rank_channels(rows: list[dict[str, Any]]) -> None:
    """Replace what orders the channels by the place of each among those of its plate."""
    keys: dict[str, dict[str, Any]] = {}
    for row in rows:
        channels = keys.setdefault(row["plate"], {})
        channels[row["channel"]] = min(channels.get(row["channel"], row["order"]), row["order"])
    ranks = {plate: {channel: rank for rank, channel in enumerate(sorted(channels, key=lambda name: channels[name]))}
             for plate, channels in keys.items()}
    for row in rows:
        row["order"] = ranks[row["plate"]][row["channel"]]
