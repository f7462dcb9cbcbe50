"""What one channel of a site is read from: an image file, one plane of a file, or the maximum over several planes.

A site table holds an image source as a text: a path where that is all, else the text of `pack_source`, whose zero bytes no
path can hold.  Exercised by `pytest tests/data/tables/test_image_source.py`.
"""

from pathlib import PurePath
from typing import NamedTuple

_PLANE, _NEXT, _RANGE = "\0", "\0\0", "\0\0\0"  # before a plane's number, the next plane, and a range of values


class Plane(NamedTuple):
    """One plane of a file, or all of a file."""

    path: str              # of an image file, or of an array of OME-Zarr (a folder)
    number: int | None     # from 0, over pages, or over the axes before Y and X in C order; None: all that the file holds


class ImageSource(NamedTuple):
    """What one channel is read from; several planes become their maximum."""

    planes: tuple[Plane, ...]
    value_range: tuple[float, float] | None = None  # of samples of another type: the values that become 0 and 65535


def pack_source(source: ImageSource) -> str:
    """Return an image source as the text that `files` of a site table holds: the bare path of a whole file."""
    planes = _NEXT.join(path if number is None else f"{path}{_PLANE}{number}" for path, number in source.planes)
    if source.value_range is None:
        return planes
    low, high = source.value_range
    return f"{planes}{_RANGE}{low!r}{_PLANE}{high!r}"


def unpack_source(text: str) -> ImageSource:
    """Return the image source that a text of `pack_source` stands for."""
    planes, _, limits = text.partition(_RANGE)
    pairs = [plane.partition(_PLANE) for plane in planes.split(_NEXT)]
    low, _, high = limits.partition(_PLANE)
    return ImageSource(tuple(Plane(path, int(number) if number else None) for path, _, number in pairs),
                       (float(low), float(high)) if limits else None)


def source_paths(text: str) -> list[str]:
    """Return the paths that an image source reads, each once."""
    return [text] if "\0" not in text else list(dict.fromkeys(plane.path for plane in unpack_source(text).planes))


def show_source(text: str) -> str:
    """Return an image source for people: `a.tif`, `a.ome.tif plane 2`, `maximum of 3 planes from a_z1.tif`."""
    source = unpack_source(text)
    first = source.planes[0]
    shown = first.path if first.number is None else f"{first.path} plane {first.number}"
    return shown if len(source.planes) == 1 else f"maximum of {len(source.planes)} planes from {shown}"


def without_folders(text: str) -> str:
    """Return an image source with names in place of paths, so that it is the same on machines with other folders."""
    if "\0" not in text:
        return PurePath(text).name
    source = unpack_source(text)
    return pack_source(source._replace(planes=tuple(plane._replace(path=_name(plane.path)) for plane in source.planes)))


def _name(path: str) -> str:
    """Return the name of a file; of an array of OME-Zarr, its place below the plate's folder."""
    parts = PurePath(path).parts
    plates = [place for place, part in enumerate(parts) if part.endswith(".zarr")]
    return "/".join(parts[plates[0]:]) if plates else parts[-1]
