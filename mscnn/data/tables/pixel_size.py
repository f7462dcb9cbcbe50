"""The size of a pixel, where a table has a column for it.

Exercised by `pytest tests/data/tables/test_pixel_size.py`.
"""

import re

import numpy as np
import pandas as pd

from mscnn.data.tables.lengths import MICROMETRES

SAME = 1.02  # ratio of two sizes that are one, written with other digits
PIXEL_SIZE = "pixel_size"  # column of a site table's frame: micrometres, NaN where not known
# Names without case, prefix and punctuation, each with its unit: PixelSize_um, PhysicalSizeX, MPP, um_per_px.
_NAMES = (r"(?:pixel|px)(?:size|width)(?:xy?)?(?:in)?([a-z]*)", r"(?:physicalsize|imageresolution)x([a-z]*)", r"mpp()",
          r"([a-z]+)per(?:pixel|px)")
_LEAST = 1e-4  # smaller numbers are metres, as Harmony writes them


def pixel_sizes(table: pd.DataFrame) -> pd.Series | None:
    """Return the size of a pixel of each row in micrometres, NaN where it is not known; None without such a column.

    table: all columns as text.  Where there are several, the first counts.
    """
    for column in table.columns:
        unit = _column_unit(column)
        if unit is not None:
            return pd.Series([_size(text, unit) for text in table[column].tolist()], table.index, dtype=float)
    return None


def mixed_pixel_sizes(sizes: pd.Series | None) -> str:
    """Return a warning where the sites of a table have pixels of several sizes, "" where they have not.

    sizes: micrometres of each site, NaN where not known; None: none is known.
    """
    sizes = pd.Series(dtype=float) if sizes is None else sizes.dropna()
    if sizes.empty or sizes.max() <= SAME * sizes.min():
        return ""
    counts = sizes.sort_values().map(lambda size: f"{size:.3g}").value_counts(sort=False)
    shown = ", ".join(f"{size} µm ({number} sites)" for size, number in counts.items())
    return f"pixels have more than one size: {shown}; bring images to one magnification and binning, or take rows out"


def _column_unit(column: str) -> float | None:
    """Return micrometres of the unit that a column of pixel sizes has, None for any other column."""
    name = re.sub(r"^(image_)?(metadata_)?", "", column.strip().replace("µ", "u").replace("μ", "u").lower())
    plain = re.sub(r"[^a-z]", "", name)
    for pattern in _NAMES:
        if match := re.fullmatch(pattern, plain):
            return MICROMETRES.get(match[1] or "um")
    return None


def _size(text: str, unit: float) -> float:
    """Return micrometres of a value, which may have a unit of its own; NaN where it is no size."""
    plain = text.strip().replace("µ", "u").replace("μ", "u").lower()
    match = re.fullmatch(r"([0-9.,]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)", plain)
    try:
        number = float(match[1].replace(",", ".")) if match else np.nan
    except ValueError:
        return np.nan
    if match and match[2]:
        unit = MICROMETRES.get(match[2], np.nan)
    elif number < _LEAST:
        unit = 1e6
    size = number * unit
    return size if np.isfinite(size) and size > 0 else np.nan
