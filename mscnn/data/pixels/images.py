"""Image files -> arrays: TIFF by tifffile, PNG by pillow, and the check of every header before training starts.

Shapes: C channels, H W pixels.
"""

import math
import operator
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image

from mscnn.core import activity
from mscnn.core.errors import DataError, ImageError
from mscnn.data.pixels.ome_xml import describe_own_pages, pixel_size

DTYPES = ("uint8", "uint16")
MAX_SAMPLES = 2**28  # a file that promises more is refused unread: 512 MiB, 200 times a field of 1024x1280 in one channel
_one_file = partial(tifffile.TiffFile, is_mmstack=False, is_ndtiff=False)  # these formats are read with the whole folder
_PNG_MODES = {"L": (1, "uint8"), "I;16": (1, "uint16"), "RGB": (3, "uint8"), "RGBA": (4, "uint8")}


class Header(NamedTuple):
    """Shape and sample type that a file promises."""

    channels: int
    height: int
    width: int
    dtype: str     # "uint8" or "uint16"

    def __str__(self) -> str:
        return f"{self.channels} x {self.height}x{self.width} {self.dtype}"


def read_header(path: str) -> Header:
    """Return shape and type of one file, without decoding its pixels. Raises ImageError naming file and reason."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
            raise ValueError("not a regular file")
        header = _tiff_header(path) if _is_tiff(path) else _png_header(path)
    except Exception as problem:  # decoders raise many kinds; each means that this file cannot be used
        raise ImageError(f"{path}: {_reason(problem)}") from None
    if header.dtype not in DTYPES:
        raise ImageError(f"{path}: {header.dtype} samples; only {' and '.join(DTYPES)} are read")
    if (samples := math.prod(header[:3])) > MAX_SAMPLES:
        raise ImageError(f"{path}: promises {samples:,} samples ({header}), at most {MAX_SAMPLES:,} are read; cut it up")
    return header


def read_site(files: Sequence[str]) -> np.ndarray:
    """Read all channels of a site, (C, H, W) uint8 or uint16, from one file per channel or one for all.

    Raises ImageError.  Other rooms call read_pixels, which reads packed fields too.
    """
    planes = [_read_file(path) for path in files]
    if len(planes) == 1:
        return planes[0]
    if len({(plane.shape, plane.dtype) for plane in planes}) > 1:
        raise ImageError("the channels of a site differ in shape or type; give files of one size",
                         [f"{path}: {plane.shape} {plane.dtype}" for path, plane in zip(files, planes, strict=True)])
    return np.concatenate(planes)


def read_pixel_size(path: str) -> float | None:
    """Return the width of a pixel in micrometres by the OME-XML of a file that can be read, None where there is none."""
    if not _is_tiff(path):
        return None
    with _one_file(path, is_ome=False) as tiff:
        first = tiff.pages.first
        return pixel_size(first.description) if first.is_ome else None


def inspect(sites: Iterable[Sequence[str]]) -> list[list]:
    """Read the headers of many sites: [path, channels, height, width, dtype], or [path, reason] if it cannot be used.

    Plain lists, so that each rank can read a share and exchange its results with the others.
    """
    headers = []
    for path in dict.fromkeys(path for files in sites for path in files):
        try:
            with activity.during(f"reading the header of {path}"):
                headers.append([path, *read_header(path)])
        except ImageError as problem:
            headers.append([path, problem.what.removeprefix(f"{path}: ")])
    return headers


def agree(inspected: list[list], *, files_per_site: int, channels: Sequence[str]) -> Header:
    """Return the one header that all sites share: that of the whole site, its channels together.

    inspected: by `inspect`, of all sites; channels: the names that were given, or none.
    Raises DataError listing every file that is missing, unreadable, or unlike the others.
    """
    headers = {path: Header(*facts) for path, *facts in inspected if len(facts) == 4}
    wrong = [f"{path}: {facts[0]}" for path, *facts in inspected if len(facts) == 1]
    common = Counter(headers.values()).most_common(1)[0][0] if headers else None
    wrong += [f"{path}: {header}, most are {common}" for path, header in headers.items() if header != common]
    if wrong or common is None:
        remedy = "name the folder they are in with --image-root" if any(text.endswith(": missing") for text in wrong) \
            else "mend or replace them"
        raise DataError(f"{len(wrong)} of {len(inspected)} image files cannot be used; {remedy}, or take their rows out "
                        "of the table", sorted(wrong))
    if files_per_site > 1 and common.channels != 1:
        raise DataError(f"each of {files_per_site} files a site holds {common.channels} channels; give single-channel "
                        "files per channel, or one file with all")
    site = common._replace(channels=files_per_site * common.channels)
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


def _read_file(path: str) -> np.ndarray:
    """Read the pixels (C, H, W) of one file. Raises ImageError."""
    header = read_header(path)
    try:
        if _is_tiff(path):
            with _open_tiff(path) as tiff:
                site = np.concatenate([_to_channels_first(series.asarray(), series.axes) for series in tiff.series])
        else:
            with Image.open(path) as image:
                pixels = np.asarray(image)
            site = _to_channels_first(pixels, "YX" if pixels.ndim == 2 else "YXS")
    except Exception as problem:  # as above: a damaged file, whatever the decoder calls it
        raise ImageError(f"{path}: {_reason(problem)}") from None
    assert (*site.shape, site.dtype) == header, (path, site.shape, header)
    return site


def _tiff_header(path: str) -> Header:
    """Return the header of a TIFF. Pages written one by one are series of their own; those of one size are channels."""
    with _open_tiff(path) as tiff:
        facts = {(*_channels_first(series.axes, series.shape), str(series.dtype)) for series in tiff.series}
        if len(facts) != 1:
            raise ValueError(f"holds {len(tiff.series)} images of different sizes or types, not the channels of one")
        for page in dict.fromkeys(chain(tiff.pages, *tiff.series)):
            _require_whole(page)
        channels, height, width, dtype = facts.pop()
        return Header(channels * len(tiff.series), height, width, dtype)


@contextmanager
def _open_tiff(path: str) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF so that its series are pages of this very file, whatever other files its metadata describe.

    No other file is opened: OME-XML may name any path, and Micro-Manager's files are searched for in the folder.
    """
    with _one_file(path, is_ome=False) as tiff:
        first = tiff.pages.first
        xml = ""
        if first.is_ome:
            sizes = [dict(zip(page.axes, page.shape, strict=True)) for page in tiff.pages]
            xml = describe_own_pages(first.description, [(sides["Y"], sides["X"]) for sides in sizes])
        if not xml:
            yield tiff
            return
    with _one_file(path, omexml=xml) as tiff:
        pages = [page.offset for series in tiff.series for page in series if page is not None]
        if len(pages) == len(set(pages)):
            yield tiff
            return
    with _one_file(path, is_ome=False) as tiff:  # the XML takes a page for several planes
        yield tiff


def _require_whole(page: tifffile.TiffPage | tifffile.TiffFrame | None) -> None:
    """Raise ValueError unless a page's strips or tiles are all in the file: tifffile would read zeros, or what lies behind.

    page: None where metadata (OME) promises a page that is not there.
    """
    if page is None:
        raise ValueError("damaged: one of its images is not there")
    offsets, counts, needed = page.dataoffsets, page.databytecounts, math.prod(page.chunked)
    if (listed := min(len(offsets), len(counts))) < needed:
        raise ValueError(f"damaged: lists {listed} strips or tiles of {needed}")
    if 0 in offsets or 0 in counts:
        raise ValueError("damaged or sparse: strips or tiles are not there")
    size, end = page.parent.filehandle.size, max(map(operator.add, offsets, counts))
    if end > size:
        raise ValueError(f"cut short: {size} bytes of {end}")
    if sum(counts) < page.nbytes and page.is_contiguous:
        raise ValueError(f"damaged: its strips or tiles hold {sum(counts)} bytes, its pixels take {page.nbytes}")


def _png_header(path: str) -> Header:
    """Return the header of a PNG. Raises ValueError for what pillow cannot read as it is."""
    with Image.open(path) as image:
        if image.format != "PNG":
            raise ValueError(f"{image.format}; only TIFF and PNG are read")
        if image.mode not in _PNG_MODES:
            raise ValueError(f"pixel mode {image.mode}, not one of {', '.join(_PNG_MODES)}")
        channels, dtype = _PNG_MODES[image.mode]
        height, width = image.height, image.width
    with open(path, "rb") as file:
        depth = file.read(25)[24]  # bits a sample; pillow would cut 16-bit colour down to 8 without a word
    if depth != 8 * np.dtype(dtype).itemsize:
        raise ValueError(f"{depth}-bit samples in {channels} channels; give 16-bit colour as TIFF")
    return Header(channels, height, width, dtype)


def _channels_first(axes: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """Return (channels, height, width) for axes like YX, CYX, YXS, ZYX. Axes of length 1 do not count."""
    sides = dict(zip(axes, shape, strict=True))
    others = {axis: length for axis, length in sides.items() if axis not in "YX" and length > 1}
    if len(others) > 1 or "Y" not in sides or "X" not in sides:
        raise ValueError(f"axes {axes} of shape {tuple(shape)}: not one image of one or more channels")
    return next(iter(others.values()), 1), sides["Y"], sides["X"]


def _to_channels_first(pixels: np.ndarray, axes: str) -> np.ndarray:
    """Return pixels with these axes as (C, H, W)."""
    channels, height, width = _channels_first(axes, pixels.shape)
    order = sorted(range(len(axes)), key=lambda axis: (axes[axis] in "YX", axes[axis] == "X"))
    return np.ascontiguousarray(pixels.transpose(order).reshape(channels, height, width))


def _is_tiff(path: str) -> bool:
    """Return whether the first bytes are those of a TIFF or BigTIFF in either byte order, whatever the name."""
    with open(path, "rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _reason(problem: Exception) -> str:
    """Return on one line why a file cannot be used."""
    if isinstance(problem, FileNotFoundError):
        return "missing"
    return " ".join(f"unreadable ({type(problem).__name__}: {problem})".split())
