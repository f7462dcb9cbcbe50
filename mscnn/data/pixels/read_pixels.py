"""The one door to pixels: camera counts of a site, whether its table names image files or packed records, or has them.

Shapes: C channels, H W pixels.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mscnn.core import activity
from mscnn.data.pixels.images import read_pixel_size, read_site
from mscnn.data.pixels.in_memory import is_in_memory, read_array
from mscnn.data.pixels.packed import is_packed, read_record
from mscnn.data.tables.pixel_size import PIXEL_SIZE
from mscnn.data.tables.site_table import SiteTable


def read_pixels(table: SiteTable, site: int) -> np.ndarray:
    """Return the camera counts (C, H, W) of the site at a position, uint8 or uint16. Raises ImageError."""
    if is_in_memory(table):
        return read_array(table, site)
    with activity.during(f"reading {table.name(site)}"):
        return read_record(table, site) if is_packed(table) else read_site(table.files(site))


def pixel_sizes(table: SiteTable, sites: Sequence[int]) -> pd.Series:
    """Return the size of a pixel of each site in micrometres, NaN where not known.

    It is that of all sites where the table has a column for it, else that of these sites by the OME-XML of their files,
    which can be read.
    """
    if PIXEL_SIZE in table.frame:
        return table.frame[PIXEL_SIZE]
    if is_in_memory(table) or is_packed(table):
        return pd.Series(dtype=float)
    return pd.Series([read_pixel_size(table.files(site)[0]) for site in sites], dtype=float)
