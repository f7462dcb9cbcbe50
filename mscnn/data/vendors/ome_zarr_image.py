"""The metadata of one OME-Zarr image: axes, levels, channels, and the size of a pixel.

Exercised by `pytest tests/data/vendors/test_ome_zarr_plate.py`.
"""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from mscnn.core.files import read_bytes
from mscnn.data.tables.lengths import micrometres
from mscnn.data.vendors.names_below import pieces_of
from mscnn.data.vendors.ome_channels import channel_names

LARGEST = 2**26     # bytes of a file of metadata
MOST_PLANES = 2**20  # of one image
_WIDEST = 1e9  # of a pixel, in any unit
_OLD_AXES = "tczyx"  # of versions before 0.3


class AbsentError(ValueError):
    """An error for a group whose folder is not there."""


class _Level(NamedTuple):
    """One level of an image."""

    path: str                # of its array, below the image
    dataset: dict[str, Any]  # its metadata
    shape: list[int]         # of its array


@dataclass(frozen=True)
class Image:
    """One image at one of its levels."""

    level: str               # path of its array, below the image
    lengths: dict[str, int]  # of the axes before Y and X, in their order
    channels: list[str]      # names
    pixel_size: float        # micrometres, NaN where not known
    doubled: bool            # channels had one name, and got their number
    is_smaller: bool         # than was asked for

    def planes(self) -> Iterator[dict[str, Any]]:
        """Yield frame, channel, order, z and time of each plane."""
        for frame, numbers in enumerate(product(*map(range, self.lengths.values()))):
            at = dict(zip(self.lengths, numbers, strict=True))
            channel = at.get("c", 0)
            yield {"frame": frame, "channel": self.channels[channel], "order": channel, "z": at.get("z", 0),
                   "time": at.get("t", 0)}


def read_attributes(folder: str) -> dict[str, Any]:
    """Return the OME metadata of a group of Zarr 2 or 3. Raises ValueError with the reason where there are none."""
    if (facts := _json(folder, "zarr.json")) is not None:
        attributes = facts.get("attributes", {})
        found = attributes.get("ome", attributes) if isinstance(attributes, dict) else None
    else:
        found = _json(folder, ".zattrs")
        if found is None and os.path.isdir(folder):
            raise ValueError("its metadata, .zattrs or zarr.json, are not there")
    if found is None and not os.path.isdir(folder):
        raise AbsentError("the folder is not there")
    if not isinstance(found, dict):
        raise ValueError("its attributes are no record")
    return found


def read_image(folder: str, level_size: tuple[int, int] | None) -> Image:
    """Return the image of a folder at its smallest level of at least level_size (height, width); None: at full size.

    Raises ValueError with the reason for what is no image of planes.
    """
    attributes = read_attributes(folder)
    scales = records(attributes, "multiscales")
    if not scales:
        raise ValueError("lists no multiscales")
    axes = _axes(scales[0])
    datasets = records(scales[0], "datasets")
    if not datasets:
        raise ValueError("lists no levels")
    (level, dataset, shape), is_smaller = _choose(folder, datasets, level_size)
    if len(shape) != len(axes):
        raise ValueError(f"level {level} has {len(shape)} axes, the metadata list {len(axes)}")
    lengths = {axis: length for (axis, _), length in zip(axes[:-2], shape[:-2], strict=True)}
    if extra := [axis for axis, length in lengths.items() if axis not in "tcz" and length > 1]:
        raise ValueError(f"axis {extra[0][:20]!r} is none of time, channel and space")
    if math.prod(lengths.values()) > MOST_PLANES:
        raise ValueError(f"promises {math.prod(lengths.values()):,} planes")
    channels, doubled = channel_names(_labels(attributes.get("omero")), lengths.get("c", 1))
    size = micrometres(_scale(dataset, len(axes)) * _scale(scales[0], len(axes)), axes[-1][1].lower())
    return Image(level, lengths, channels, size, doubled, is_smaller)


def records(facts: Any, key: str) -> list[dict[str, Any]]:
    """Return a list of records; empty where there is none. Raises ValueError for anything else."""
    found = facts.get(key, []) if isinstance(facts, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise ValueError(f"its metadata have no list of {key}")
    return found


def _json(folder: str, name: str) -> dict[str, Any] | None:
    """Return the record of a JSON file, None where there is no file."""
    try:
        found = json.loads(read_bytes(Path(folder, name), largest=LARGEST))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as problem:
        raise ValueError(f"{name} is cut short or no JSON: {' '.join(str(problem).split())[:100]}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no record")
    return found


def _axes(scale: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (name, unit) of each axis; the last two are Y and X. Versions before 0.4 write names, or nothing."""
    listed = scale.get("axes", list(_OLD_AXES))
    if not isinstance(listed, list):
        raise ValueError("its axes are no list")
    axes = [(str(axis.get("name", "")).lower(), str(axis.get("unit") or "")) if isinstance(axis, dict)
            else (str(axis).lower(), "") for axis in listed]
    names = [name for name, _ in axes]
    if names[-2:] != ["y", "x"] or len(set(names)) < len(names):
        raise ValueError(f"has axes {' '.join(names)[:60]}, which do not end with y x; write its planes one by one")
    return axes


def _choose(folder: str, datasets: list[dict[str, Any]], least: tuple[int, int] | None) -> tuple[_Level, bool]:
    """Return the level to read, and whether it is smaller than asked for."""
    levels = [_level(folder, dataset) for dataset in (datasets if least else datasets[:1])]
    fitting = [level for level in levels if least and level.shape[-2] >= least[0] and level.shape[-1] >= least[1]]
    if fitting:
        return min(fitting, key=lambda level: math.prod(level.shape[-2:])), False
    return max(levels, key=lambda level: math.prod(level.shape[-2:])), least is not None


def _level(folder: str, dataset: dict[str, Any]) -> _Level:
    path = str(dataset.get("path", ""))
    pieces = pieces_of(path)
    if pieces is None:
        raise ValueError(f"the path {path!r} of a level leaves the image")
    array = os.path.join(folder, *pieces)
    facts = _json(array, "zarr.json") or _json(array, ".zarray")
    if facts is None:
        raise ValueError(f"the array of level {path} is not there")
    shape = facts.get("shape")
    if not isinstance(shape, list) or len(shape) < 2 or not all(type(side) is int and side > 0 for side in shape):
        raise ValueError(f"the array of level {path} has shape {str(shape)[:40]}, which is no image")
    return _Level("/".join(pieces), dataset, shape)


def _scale(facts: dict[str, Any], num_axes: int) -> float:
    """Return the factor of X in the transformations of one level or of all, 1 where there are none, NaN for nonsense."""
    factor = 1.0
    for change in records(facts, "coordinateTransformations"):
        if change.get("type") == "scale":
            scale = change.get("scale")
            width = scale[-1] if isinstance(scale, list) and len(scale) == num_axes else None
            factor *= width if isinstance(width, int | float) and 0 < width < _WIDEST else math.nan
    return factor


def _labels(omero: Any) -> list[str]:
    """Return the labels of channels, "" where there is none."""
    listed = omero.get("channels") if isinstance(omero, dict) else None
    return [str(channel.get("label") or "") if isinstance(channel, dict) else ""
            for channel in (listed if isinstance(listed, list) else [])]
