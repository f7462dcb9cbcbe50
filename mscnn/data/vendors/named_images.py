"""What the names of image files tell -> a row a plane.  Exercised by `pytest tests/data/vendors/test_file_names.py`."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mscnn.data.tables.problems import Problem
from mscnn.data.tables.wells import place_at, well_name, well_place
from mscnn.data.vendors.metaseries import pixel_size
from mscnn.data.vendors.name_template import PLATES, place_of_number
from mscnn.data.vendors.planes import Listing
from mscnn.data.vendors.plate_names import unique_names
from mscnn.data.vendors.tree_places import tree_place

LARGEST_NUMBER = 2**31  # of a focal plane or time point


class NamedImage(NamedTuple):
    """An image file and what its name tells."""

    path: str
    fields: dict[str, str]


def named_rows(listing: Listing, named: Sequence[NamedImage], *,
               are_plates_told: bool) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Return a row for each image, and those whose names tell no well of a plate.

    are_plates_told: whether names tell plates as they are, and not the same name for plates in several folders.
    """
    root = listing.root.resolve().as_posix()
    places = {folder: tree_place(f"{root}/{folder}".rstrip("/")) for folder in {_folder(image.path) for image in named}}
    wells = [_well(image.fields) for image in named]
    above = _above_wells([(places[_folder(image.path)].plate, well) for image, well in zip(named, wells, strict=True)])
    keys = [(above[places[_folder(image.path)].plate], image.fields.get("plate", "")) for image in named]
    plates = {key: key[1] for key in keys} if are_plates_told else unique_names(keys)
    steps = _steps(named)
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for (path, fields), key, place in zip(named, keys, wells, strict=True):
        folder = places[_folder(path)]
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


def add_pixel_sizes(listing: Listing, rows: list[dict[str, Any]]) -> None:
    """Add the size of a pixel, read from one image of each plate and channel."""
    sizes: dict[tuple[str, str], float] = {}
    for row in rows:
        key = row["plate"], row["channel"]
        if key not in sizes:
            sizes[key] = pixel_size(listing.path(row["path"]))
        row["pixel_size"] = sizes[key]


def _above_wells(found: Iterable[tuple[str, tuple[int, int] | None]]) -> dict[str, str]:
    """Return {folder: folder of its plate}: the one above where a folder has the name of the only well of its images."""
    wells: dict[str, set[tuple[int, int] | None]] = {}
    for folder, well in found:
        wells.setdefault(folder, set()).add(well)
    return {folder: folder.rpartition("/")[0] if None not in own and own == {well_place(folder.rpartition("/")[2])}
            else folder for folder, own in wells.items()}


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _well(fields: dict[str, str]) -> tuple[int, int] | None:
    """Return row and column from 0."""
    for wells in PLATES:
        if number := fields.get(f"well{wells}"):
            return place_of_number(int(number[:9]), wells)
    if "well" in fields:
        return well_place(fields["well"])
    return place_at(fields["row"], fields["column"])


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
    return int(text) if re.fullmatch("-?[0-9]+", text) else 0


def _steps(named: Sequence[NamedImage]) -> dict[str, set[str]]:
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
