"""Check that arrays and files hold what a run expects: its channels, its size, and raw camera counts.

Each refusal is one ValueError: what was expected, what was found, and the remedy.
Shapes: N fields, C channels, H W pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mscnn.core.errors import DataError
from mscnn.data.pixels.images import DTYPES, Header

MOST_8_BIT, MOST = 2**8 - 1, 2**16 - 1
COUNTS = "give the camera counts, uint8 or uint16, as the image files hold them (tifffile.imread): the run scales them"


@dataclass(frozen=True)
class Expected:
    """Fields that a run can predict."""

    channels: tuple[str, ...]  # names in the network's order
    height: int                # pixels of the network's input
    width: int
    is_fitted: bool            # fields of other sizes are cropped or padded: the run's setting image-size is no "native"
    dtype: str = "uint16"      # of the training's counts


def as_counts(fields: Any, expected: Expected) -> np.ndarray:
    """Return an array of fields as (N, C, H, W) uint8 or uint16. Raises DataError for all but counts of this shape.

    Whole numbers from 0 to 65535 in any integer or floating type are counts.  They become uint16 without loss, or uint8 as
    the training's where they fit.
    """
    wanted = f"(N, C, H, W) with channels {', '.join(expected.channels)}"
    if not isinstance(fields, np.ndarray):
        raise DataError(f"fields must be a numpy array {wanted}, a list of paths, or a table of mscnn.read_screen, got "
                        f"{type(fields).__name__}; convert it, for example with numpy.asarray or numpy.stack")
    if fields.ndim != 4:
        remedy = "add the first axis with fields[None]" if fields.ndim == 3 else "put the images together with numpy.stack"
        raise DataError(f"fields must be an array {wanted}, got {fields.ndim} axes {fields.shape}; {remedy}")
    if not len(fields) or not fields.size:
        raise DataError(f"fields must be at least one, got an array of shape {fields.shape}")
    if fields.shape[1] != len(expected.channels) and fields.shape[3] == len(expected.channels):
        raise DataError(f"fields must be {wanted}, got {fields.shape} with the channels last; move "
                        "them with numpy.moveaxis(fields, -1, -3)")
    channels, height, width = fields.shape[1:]
    require_header(Header(channels, height, width, fields.dtype.name), expected)
    return _whole_counts(fields, expected.dtype)


def require_header(header: Header, expected: Expected) -> None:
    """Raise DataError for fields of other channels than the run's, or of a size that it cannot use."""
    names = ", ".join(expected.channels)
    if header.channels != len(expected.channels):
        raise DataError(f"the run was trained on {len(expected.channels)} channels ({names}), a field here has "
                        f"{header.channels}; give all of them, in this order: the second axis of an array, a tuple of "
                        "files a field, or files that hold them all")
    if not expected.is_fitted and header[1:3] != (expected.height, expected.width):
        raise DataError(f"the run was trained on fields of {expected.height}x{expected.width} pixels (height x width) "
                        f"and does not crop or pad, a field here has {header.height}x{header.width}; give fields of that "
                        f"size, or train with --image-size {expected.height}x{expected.width}, which crops or pads any")


def _whole_counts(fields_NCHW: np.ndarray, trained: str) -> np.ndarray:
    """Return counts as uint8 or uint16; trained: the type of the training. Raises DataError where values are no counts."""
    kind, name = fields_NCHW.dtype.kind, fields_NCHW.dtype.name
    if kind not in "uif":
        raise DataError(f"counts must be whole numbers from 0 to {MOST}, got an array of {name}; {COUNTS}")
    if kind == "f" and (wrong := fields_NCHW.size - int(np.isfinite(fields_NCHW).sum())):
        raise DataError(f"{wrong:,} of {fields_NCHW.size:,} values are NaN or infinite; {COUNTS}")
    low, high = fields_NCHW.min(), fields_NCHW.max()
    found = f"from {low:g} to {high:g} in {name}"
    if high == low == 0:
        raise DataError(f"all values are 0, as of no image; {COUNTS}")
    if high <= 1 or (kind == "f" and low < 0):
        raise DataError(f"values look normalised: they are {found}; {COUNTS}")
    if low < 0 or high > MOST:
        raise DataError(f"counts must be whole numbers from 0 to {MOST}, values here are {found}; {COUNTS}")
    if kind == "f" and (wrong := int((fields_NCHW != np.floor(fields_NCHW)).sum())):
        raise DataError(f"counts must be whole numbers, {wrong:,} of {fields_NCHW.size:,} values are not ({found}); "
                        f"{COUNTS}")
    if name in DTYPES:
        return fields_NCHW
    return fields_NCHW.astype(np.uint8 if trained == "uint8" and high <= MOST_8_BIT else np.uint16)
