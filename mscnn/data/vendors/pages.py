"""Files that hold several planes each: what their pages are, as the user says.

Exercised by `pytest tests/data/vendors/test_pages.py`.
"""

import numpy as np
import pandas as pd

from mscnn.core.errors import DataError, UsageError
from mscnn.data.pixels.images import plane_count
from mscnn.data.vendors.planes import Listing

AXES = ("channel", "z", "time")


def expand_pages(planes: pd.DataFrame, listing: Listing, axis: str) -> pd.DataFrame:
    """Return a row for each page of each file, in place of a row for each file. Files that are not there keep their row.

    axis: channel, z or time, along which the pages of every file lie; they are counted from 1, as channels Channel1, ...
    Raises UsageError where an index tells the pages or that axis itself, and DataError listing files that cannot be read.
    """
    if (planes["frame"] >= 0).any():
        raise UsageError(f"--pages {axis}: the index tells what each page is; leave the option out")
    several = planes[axis].nunique() > 1 if axis != "channel" else not planes["channel"].isin(["", "1"]).all()
    if several:
        raise UsageError(f"--pages {axis}: index or names tell the {axis} of each file already; leave the option out")
    counts, wrong = [], []
    for path in planes["path"]:
        try:
            counts.append(plane_count(str(listing.path(path))) if path in listing.known else 1)
        except DataError as problem:
            wrong.append(problem.what)
    if wrong:
        raise DataError(f"{len(wrong)} files cannot be read; replace them, or take them out", wrong)
    rows = planes.loc[planes.index.repeat(counts)].reset_index(drop=True)
    numbers = np.concatenate([np.arange(count) for count in counts]) if counts else np.arange(0)
    rows["frame"] = numbers
    if axis == "channel":
        return rows.assign(channel=[f"Channel{number + 1}" for number in numbers], order=numbers + 1)
    return rows.assign(**{axis: numbers + 1})
