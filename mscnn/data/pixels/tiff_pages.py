"""What a page of a TIFF is: whether its numbers are counts, and whether it is an image or a smaller copy of one.

Exercised by `pytest tests/data/pixels/test_tiff_pages.py`.
"""

from collections.abc import Sequence

import numpy as np
import tifffile
from tifffile import COMPRESSION, FILETYPE, PHOTOMETRIC

_NO_IMAGE = FILETYPE.REDUCEDIMAGE | FILETYPE.MASK
_JPEG = (COMPRESSION.OJPEG, COMPRESSION.JPEG, COMPRESSION.ALT_JPEG)  # whose decoder returns red, green and blue


def require_counts(page: tifffile.TiffPage | tifffile.TiffFrame) -> None:
    """Raise ValueError where the numbers of a page do not grow with the light: tifffile returns them as they are."""
    first = page.keyframe
    if "PhotometricInterpretation" not in first.tags:
        return
    kind = first.photometric
    if kind == PHOTOMETRIC.MINISWHITE:
        raise ValueError("0 is white in it (MinIsWhite), so that bright is dark; save it with 0 as black")
    if kind == PHOTOMETRIC.PALETTE and first.colormap is not None and not _is_ramp(first.colormap):
        raise ValueError("its pixels are numbers of colours in a palette, and no counts; save it as grey values")
    if kind in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.PALETTE, PHOTOMETRIC.RGB):
        return
    if not (kind == PHOTOMETRIC.YCBCR and first.compression in _JPEG):
        name = PHOTOMETRIC(kind).name if kind in set(PHOTOMETRIC) else kind
        raise ValueError(f"its colours are {name}, and only grey values and red, green, blue are read; save it so")


def images_of(all_series: Sequence[tifffile.TiffPageSeries]) -> list[tifffile.TiffPageSeries]:
    """Return the series of a file without those that it calls smaller copies (thumbnails) or masks."""
    images = [series for series in all_series if not int(series.keyframe.subfiletype) & _NO_IMAGE]
    return images or list(all_series)


def _is_ramp(colours_3N: np.ndarray) -> bool:
    """Return whether a palette shows one hue that grows brighter, as of a false colour, so that its numbers are counts."""
    steps = np.diff(colours_3N.astype(np.int64), axis=1)
    return bool((steps >= 0).all() and steps.any())
