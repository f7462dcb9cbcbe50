"""One image file -> its header and its pixels: TIFF by tifffile, PNG by pillow, OME-Zarr arrays by zarr.

Errors are those of the decoders, of many kinds; `images.py` turns each into an ImageError.  Shapes: C channels, H W pixels.
"""

import math
import operator
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image

from mscnn.data.pixels.axes import channels_first, to_channels_first
from mscnn.data.pixels.file_kinds import is_tiff, require_contents, require_regular
from mscnn.data.pixels.ome_xml import describe_own_pages, pixel_size
from mscnn.data.pixels.tiff_colours import require_counts
from mscnn.data.pixels.zarr_plane import read_zarr_header, read_zarr_plane, require_zarr_plane

_one_file = partial(tifffile.TiffFile, is_mmstack=False, is_ndtiff=False)  # these formats are read with the whole folder
_NO_IMAGE = tifffile.FILETYPE.REDUCEDIMAGE | tifffile.FILETYPE.MASK
_JPEG = (tifffile.COMPRESSION.OJPEG, tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.ALT_JPEG)
_PNG_MODES = {"L": (1, "uint8"), "I;16": (1, "uint16"), "RGB": (3, "uint8"), "RGBA": (4, "uint8")}


class Header(NamedTuple):
    """Shape and sample type that a file promises."""

    channels: int
    height: int
    width: int
    dtype: str     # "uint8" or "uint16" of what can be read

    def __str__(self) -> str:
        return f"{self.channels} x {self.height}x{self.width} {self.dtype}"


def file_header(path: str) -> Header:
    """Return shape and type of all that a file holds, without decoding its pixels."""
    require_regular(path)
    return _tiff_header(path) if is_tiff(path) else _png_header(path)


def read_file(path: str) -> np.ndarray:
    """Return all pixels (C, H, W) of a file."""
    require_regular(path)
    if is_tiff(path):
        with _open_tiff(path) as tiff:
            return np.concatenate([to_channels_first(series.asarray(), series.axes) for series in _images(tiff.series)])
    with Image.open(path) as image:
        pixels = np.asarray(image)
    return to_channels_first(pixels, "YX" if pixels.ndim == 2 else "YXS")


def plane_headers(path: str, numbers: Sequence[int]) -> list[Header]:
    """Return the header of each of some planes of a file, or of an array of OME-Zarr."""
    if os.path.isdir(path):
        height, width, dtype, _ = read_zarr_header(path)
        for number in numbers:
            require_zarr_plane(path, number)
        return [Header(1, height, width, dtype)] * len(numbers)
    with _open_pages(path) as tiff:
        headers = []
        for number in numbers:
            page = _page(tiff, number)
            _require_whole(page)
            _require_counts(page)
            headers.append(Header(*channels_first(page.axes, page.shape), str(page.dtype)))
        return headers


def read_planes(path: str, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the pixels (H, W) of each of some planes of a file, or of an array of OME-Zarr."""
    if os.path.isdir(path):
        for number in numbers:
            yield read_zarr_plane(path, number)
        return
    with _open_pages(path) as tiff:
        for number in numbers:
            page = _page(tiff, number)
            yield to_channels_first(page.asarray(), page.axes)[0]


def file_pixel_size(path: str) -> float | None:
    """Return the width of a pixel in micrometres by the OME-XML of a file that can be read, None where there is none."""
    if os.path.isdir(path) or not is_tiff(path):
        return None
    with _one_file(path, is_ome=False) as tiff:
        first = tiff.pages.first
        return pixel_size(first.description) if first.is_ome else None


def num_pages(path: str) -> int:
    """Return the number of pages of a TIFF file, 1 of any other image file.

    Raises ValueError for pages that lie along several axes, as channels and focal planes: no number tells which is which.
    """
    require_regular(path)
    if not is_tiff(path):
        return 1
    with _open_tiff(path) as tiff:
        for series in _images(tiff.series):
            channels_first(series.axes, series.shape)
    with _open_pages(path) as tiff:
        _page(tiff, 0)
        return len(tiff.pages)


def stack_axis(path: str) -> str:
    """Return the axis of a file's planes where it is no axis of channels: Z (focal planes) or T (times); else ""."""
    if not is_tiff(path):
        return ""
    with _open_tiff(path) as tiff:
        first = _images(tiff.series)[0]
        sides = dict(zip(first.axes, first.shape, strict=True))
    return next((axis for axis in "ZT" if sides.get(axis, 1) > 1), "")


@contextmanager
def _open_pages(path: str) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF of which single pages are read. Raises ValueError for any other file."""
    require_regular(path)
    if not is_tiff(path):
        raise ValueError("no TIFF, and a plane of it is named; leave its Frame_ column empty")
    with _one_file(path, is_ome=False) as tiff:
        yield tiff


def _page(tiff: tifffile.TiffFile, number: int) -> tifffile.TiffPage:
    """Return a page by its number. Raises ValueError where there is none, or where pages are not written one by one."""
    first = _first_page(tiff)
    if len(tiff.pages) == 1 and len(tiff.series) == 1 and math.prod(tiff.series[0].shape) != math.prod(first.shape):
        raise ValueError(f"holds {tiff.series[0].shape} behind a single page header; save it with a header for each plane")
    _require_plane(number, len(tiff.pages))
    page = tiff.pages[number]
    return page if isinstance(page, tifffile.TiffPage) else page.aspage()


def _first_page(tiff: tifffile.TiffFile) -> tifffile.TiffPage:
    if not tiff.pages:
        raise ValueError("cut short: it holds no image")
    return tiff.pages.first


def _require_plane(number: int, num_planes: int) -> None:
    if not 0 <= number < num_planes:
        raise ValueError(f"plane {number} of it is named, counted from 0, and it holds {num_planes}")


def _tiff_header(path: str) -> Header:
    """Return the header of a TIFF. Pages written one by one are series of their own; those of one size are channels."""
    with _open_tiff(path) as tiff:
        images = _images(tiff.series)
        facts = {(*channels_first(series.axes, series.shape), str(series.dtype)) for series in images}
        if len(facts) != 1:
            raise ValueError(f"holds {len(images)} images of different sizes or types, not the channels of one; name "
                             "the page of each channel in a column Frame_<Channel>")
        for page in dict.fromkeys(chain(tiff.pages, *tiff.series)):
            _require_whole(page)
        for series in images:
            _require_counts(series.keyframe)
        channels, height, width, dtype = facts.pop()
        return Header(channels * len(images), height, width, dtype)


def _images(all_series: Sequence[tifffile.TiffPageSeries]) -> list[tifffile.TiffPageSeries]:
    """Return the series of a file without those that it calls smaller copies (thumbnails) or masks."""
    images = [series for series in all_series if not int(series.keyframe.subfiletype) & _NO_IMAGE]
    return images or list(all_series)


def _require_counts(page: tifffile.TiffPage) -> None:
    if "PhotometricInterpretation" in page.tags:  # else tifffile takes it for MinIsWhite
        require_counts(int(page.photometric), page.colormap, is_jpeg=page.compression in _JPEG)


@contextmanager
def _open_tiff(path: str) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF so that its series are pages of this very file, whatever other files its metadata describe.

    No other file is opened: OME-XML may name any path, and Micro-Manager's files are searched for in the folder.
    """
    with _one_file(path, is_ome=False) as tiff:
        first = _first_page(tiff)
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
    require_contents(path)
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
