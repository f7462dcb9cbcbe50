"""Axes of an image file -> channels, height, width.

Exercised by `pytest tests/data/pixels/test_images.py`.  Shapes: C channels, H W pixels.
"""

from collections.abc import Sequence

import numpy as np


def channels_first(axes: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """Return (channels, height, width) for axes like YX, CYX, YXS, ZYX. Axes of length 1 do not count."""
    sides = dict(zip(axes, shape, strict=True))
    others = {axis: length for axis, length in sides.items() if axis not in "YX" and length > 1}
    if len(others) > 1 or "Y" not in sides or "X" not in sides:
        raise ValueError(f"axes {axes} of shape {tuple(shape)}: not one image of one or more channels; name "
                         "the page of each channel in a column Frame_<Channel>")
    return next(iter(others.values()), 1), sides["Y"], sides["X"]


def to_channels_first(pixels: np.ndarray, axes: str) -> np.ndarray:
    """Return pixels with these axes as (C, H, W)."""
    channels, height, width = channels_first(axes, pixels.shape)
    order = sorted(range(len(axes)), key=lambda axis: (axes[axis] in "YX", axes[axis] == "X"))
    return np.ascontiguousarray(pixels.transpose(order).reshape(channels, height, width))
