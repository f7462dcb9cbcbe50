"""Fields that are in memory: a site table whose rows hold their pixels, in a column `counts`.

The library gives arrays to the network this way; exercised by `pytest tests/library`.
Shapes: N fields, C channels, H W pixels.
"""

from typing import cast

import numpy as np
import pandas as pd

from mscnn.data.pixels.images import DTYPES, Header
from mscnn.data.tables.site_table import METADATA, SiteTable

COUNTS = "counts"


def array_table(counts_NCHW: np.ndarray, metadata: pd.DataFrame, channels: tuple[str, ...], control: str) -> SiteTable:
    """Return the site table of fields in memory; its rows are views of the array.

    counts_NCHW: uint8 or uint16 camera counts; metadata: a row a field, with the columns METADATA.
    """
    assert (counts_NCHW.ndim, counts_NCHW.dtype.name in DTYPES) == (4, True), (counts_NCHW.shape, counts_NCHW.dtype)
    frame = metadata[list(METADATA)].reset_index(drop=True)
    frame["files"] = pd.Series([()] * len(frame), dtype=object)
    frame[COUNTS] = pd.Series(list(counts_NCHW), dtype=object)
    return SiteTable(frame, channels, control)


def is_in_memory(table: SiteTable) -> bool:
    """Return whether the table's rows hold their pixels."""
    return COUNTS in table.frame


def array_header(table: SiteTable) -> Header:
    """Return the header that all fields share, as they are parts of one array."""
    first_CHW = read_array(table, 0)
    channels, height, width = first_CHW.shape
    return Header(channels, height, width, first_CHW.dtype.name)


def read_array(table: SiteTable, site: int) -> np.ndarray:
    """Return the counts (C, H, W) of the site at a position."""
    return cast(np.ndarray, table.frame[COUNTS].iat[site])
