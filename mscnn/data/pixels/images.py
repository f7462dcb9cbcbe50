"""Image sources -> arrays, and the check of every header before training starts.

Shapes: C channels, H W pixels.
"""

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

import numpy as np

from mscnn.core import activity
from mscnn.core.errors import DataError, ImageError, UsageError
from mscnn.data.pixels import image_files
from mscnn.data.pixels.image_files import Header
from mscnn.data.tables.image_source import ImageSource, Plane, show_source, source_paths, unpack_source

Result = TypeVar("Result")
DTYPES = ("uint8", "uint16")
MAX_SAMPLES = 2**28  # a file that promises more is refused unread: 512 MiB, 200 times a field of 1024x1280 in one channel
_OTHER = ("{dtype} samples; only " + " and ".join(DTYPES) + " are read as they are; state the values that become 0 and "
          "65535 in a column Metadata_ValueRange, as `0 1`, or by `mscnn table --value-range`")

_STACKS = {"Z": "focal planes", "T": "time points"}  # by the axis of a file


def read_header(source: str) -> Header:
    """Return shape and type of an image source, its pixels not decoded. Raises ImageError naming file and reason."""
    if "\0" not in source:
        return _checked(source, _of_file(source, lambda: image_files.file_header(source)), None)
    channel = unpack_source(source)
    headers: dict[Plane, Header] = {}
    for path, planes in _by_path(channel):
        for plane, header in zip(planes, _plane_headers(path, planes), strict=True):
            headers[plane] = _checked(path, header, channel.value_range)
    first, *others = channel.planes
    for plane in others:
        if headers[plane] != headers[first]:
            raise ImageError(f"{plane.path}: {headers[plane]}, and {headers[first]} in {first.path}; a channel of a site "
                             "is made of planes of one size and type")
    if len(channel.planes) > 1 and headers[first].channels > 1:
        raise ImageError(f"{first.path}: {headers[first].channels} channels in a plane; give planes of one channel")
    return headers[first]


def read_source(source: str) -> np.ndarray:
    """Read the pixels (C, H, W) of an image source, uint8 or uint16. Raises ImageError."""
    header = read_header(source)
    if "\0" not in source:
        pixels_CHW = _of_file(source, lambda: image_files.read_file(source))
        assert (*pixels_CHW.shape, pixels_CHW.dtype) == header, (source, pixels_CHW.shape, header)
        return pixels_CHW
    channel = unpack_source(source)
    pixels_CHW = functools.reduce(np.maximum, (_maximum(path, planes) for path, planes in _by_path(channel)))
    if channel.value_range is not None:
        pixels_CHW = _to_counts(show_source(source), pixels_CHW, channel.value_range)
    assert (*pixels_CHW.shape, pixels_CHW.dtype) == header, (show_source(source), pixels_CHW.shape, header)
    return pixels_CHW


def read_site(files: Sequence[str]) -> np.ndarray:
    """Read all channels of a site, (C, H, W) uint8 or uint16, from an image source per channel or one for all.

    Raises ImageError.  Other rooms call read_pixels, which reads packed fields too.
    """
    planes = [read_source(source) for source in files]
    if len(planes) == 1:
        return planes[0]
    if len({(plane.shape, plane.dtype) for plane in planes}) > 1:
        raise ImageError("the channels of a site differ in shape or type; give files of one size",
                         [f"{show_source(source)}: {plane.shape} {plane.dtype}"
                          for source, plane in zip(files, planes, strict=True)])
    return np.concatenate(planes)


def read_pixel_size(source: str) -> float | None:
    """Return the width of a pixel in micrometres by the OME-XML of a file that can be read, None where there is none."""
    return image_files.file_pixel_size(source_paths(source)[0])


def plane_count(path: str) -> int:
    """Return the number of pages of a TIFF file, 1 of any other image file. Raises ImageError."""
    return _of_file(path, lambda: image_files.num_pages(path))


def inspect(sites: Iterable[Sequence[str]]) -> list[list]:
    """Read the headers of many sites: [source, channels, height, width, dtype], or [source, reason] if it cannot be used.

    Plain lists, so that each rank can read a share and exchange its results with the others.
    """
    headers = []
    for source in dict.fromkeys(source for files in sites for source in files):
        try:
            with activity.during(f"reading the header of {show_source(source)}"):
                headers.append([source, *read_header(source)])
        except ImageError as problem:
            headers.append([source, problem.what.removeprefix(f"{source}: ")])
    return headers


def agree(inspected: list[list], *, files_per_site: int, channels: Sequence[str]) -> Header:
    """Return the one header that all sites share: that of the whole site, its channels together.

    inspected: by `inspect`, of all sites; channels: the names that were given, or none.
    Raises DataError listing every file that is missing, unreadable, or unlike the others.
    """
    headers = {source: Header(*facts) for source, *facts in inspected if len(facts) == 4}
    wrong = [f"{show_source(source)}: {facts[0]}" for source, *facts in inspected if len(facts) == 1]
    common = Counter(headers.values()).most_common(1)[0][0] if headers else None
    wrong += [f"{show_source(source)}: {header}, most are {common}"
              for source, header in headers.items() if header != common]
    if wrong or common is None:
        is_missing = any(text.endswith(": missing") for text in wrong)
        remedy = "mend or replace them" if not is_missing else \
            "name the folder they are in with --image-root, go on with the rest by --available true"
        raise DataError(f"{len(wrong)} of {len(inspected)} image files cannot be used; {remedy}, or take their rows out "
                        "of the table", sorted(wrong))
    if files_per_site > 1 and common.channels != 1:
        raise DataError(f"each of {files_per_site} files a site holds {common.channels} channels; give single-channel "
                        "files per channel, or one file with all")
    site = common._replace(channels=files_per_site * common.channels)
    first = next(source for source, header in headers.items() if header == common)
    if not channels and common.channels > 1 and (axis := _of_file(first, lambda: image_files.stack_axis(first))):
        raise DataError(f"{first}: holds {common.channels} {_STACKS[axis]}, not channels; choose among them with `mscnn "
                        "table --pages z --z max` or the like; if they are channels, name each with --channels")
    if channels and len(channels) != site.channels:
        raise DataError(f"a site holds {site.channels} channels, but {len(channels)} are named "
                        f"({', '.join(channels)}); name each with --channels")
    return site


def fit(site_CHW: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Crop at the centre, or pad by mirroring, to (height, width); None leaves the site as it is."""
    if size is None or site_CHW.shape[1:] == size:
        return site_CHW
    excess = [have - want for have, want in zip(site_CHW.shape[1:], size, strict=True)]
    top, left = (max(extra, 0) // 2 for extra in excess)
    cropped = site_CHW[:, top:top + min(size[0], site_CHW.shape[1]), left:left + min(size[1], site_CHW.shape[2])]
    padding = [(max(-extra, 0) // 2, max(-extra, 0) - max(-extra, 0) // 2) for extra in excess]
    return np.pad(cropped, [(0, 0), *padding], mode="symmetric")


def _by_path(channel: ImageSource) -> Iterator[tuple[str, list[Plane]]]:
    """Yield each file of a channel with its planes, so that it is opened once."""
    for path, planes in groupby(channel.planes, key=lambda plane: plane.path):
        yield path, list(planes)


def _plane_headers(path: str, planes: Sequence[Plane]) -> list[Header]:
    """Return the header of each plane of one file. Raises ImageError."""
    if any(plane.number is None for plane in planes):
        return [_of_file(path, lambda: image_files.file_header(path))] * len(planes)
    numbers = [plane.number for plane in planes if plane.number is not None]
    return _of_file(path, lambda: image_files.plane_headers(path, numbers))


def _maximum(path: str, planes: Sequence[Plane]) -> np.ndarray:
    """Return the maximum (C, H, W) over planes of one file. Raises ImageError."""
    if any(plane.number is None for plane in planes):
        return _of_file(path, lambda: image_files.read_file(path))
    numbers = [plane.number for plane in planes if plane.number is not None]
    return _of_file(path, lambda: functools.reduce(np.maximum, image_files.read_planes(path, numbers))[None])


def _of_file(path: str, read: Callable[[], Result]) -> Result:
    """Return what a reader of one file returns. Raises ImageError naming file and reason."""
    try:
        return read()
    except (UsageError, ImageError):
        raise
    except Exception as problem:  # decoders raise many kinds; each means that this file cannot be used
        raise ImageError(f"{path}: {_reason(problem)}") from None


def _checked(path: str, header: Header, value_range: tuple[float, float] | None) -> Header:
    """Return a header as pixels are returned. Raises ImageError for samples of another type, or too many."""
    if value_range is not None and header.dtype in DTYPES:
        raise ImageError(f"{path}: {header.dtype} samples, which need no range of values; take Metadata_ValueRange out of "
                         "its row")
    if (samples := math.prod(header[:3])) > MAX_SAMPLES:
        raise ImageError(f"{path}: promises {samples:,} samples ({header}), at most {MAX_SAMPLES:,} are read; cut it up")
    if header.dtype in DTYPES:
        return header
    if np.dtype(header.dtype).kind not in "iuf":
        raise ImageError(f"{path}: {header.dtype} samples, which are no counts; give images of {' or '.join(DTYPES)}")
    if value_range is None:
        raise ImageError(f"{path}: {_OTHER.format(dtype=header.dtype)}")
    return header._replace(dtype="uint16")


def _to_counts(shown: str, pixels_CHW: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """Return pixels as uint16: the ends of the range become 0 and 65535, what lies between the nearest whole number.

    Raises ImageError for pixels that are not finite or outside of the range: they would be cut off unseen.
    """
    low, high = value_range
    found = float(pixels_CHW.min()), float(pixels_CHW.max())  # NaN where one is NaN
    if not (low <= found[0] and found[1] <= high):
        raise ImageError(f"{shown}: values from {found[0]:g} to {found[1]:g}, outside of the stated {low:g} to {high:g}; "
                         "state a range that holds all of them")
    return np.rint((pixels_CHW.astype(np.float64) - low) * (65535 / (high - low))).astype(np.uint16)


def _reason(problem: Exception) -> str:
    """Return on one line why a file cannot be used."""
    if isinstance(problem, FileNotFoundError):
        return "missing"
    return " ".join(f"unreadable ({type(problem).__name__}: {problem})".split())
