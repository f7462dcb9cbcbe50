"""The one door to pixels: camera counts of a site, whether its table names image files or packed records, or has them.

Shapes: C channels, H W pixels.
"""

import numpy as np

from mscnn.core import activity
from mscnn.data.pixels.images import read_site
from mscnn.data.pixels.in_memory import is_in_memory, read_array
from mscnn.data.pixels.packed import is_packed, read_record
from mscnn.data.tables.site_table import SiteTable


def read_pixels(table: SiteTable, site: int) -> np.ndarray:
    """Return the camera counts (C, H, W) of the site at a position, uint8 or uint16. Raises ImageError."""
    if is_in_memory(table):
        return read_array(table, site)
    with activity.during(f"reading {table.name(site)}"):
        return read_record(table, site) if is_packed(table) else read_site(table.files(site))
