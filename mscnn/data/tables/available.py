"""The sites of a table whose image files are all there, for --available.

Exercised by `pytest tests/data/tables/test_available.py`.  Shapes: S sites.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mscnn.core.errors import DataError
from mscnn.core.logs import log
from mscnn.core.words import counted
from mscnn.data.tables.image_source import show_source, source_paths
from mscnn.data.tables.site_table import SiteTable

CHANGED = ("images have come or gone since the training, which took those that were there (--available); put them back, "
           "train again with a new --run-dir")


def select_available(table: SiteTable, source: Path, *, keeps_rows: bool = False) -> SiteTable:
    """Return the table of the sites whose image files are all there, with a note on the others; log it.

    A file that is there and cannot be read does not count as missing.  source: of the table, for errors; keeps_rows: the
    frame's index still counts rows as the file does.  Raises DataError where no site is left.
    """
    is_there_S = is_available(table.frame["files"])
    if is_there_S.all():
        return table
    if not is_there_S.any():
        raise DataError(f"{source}: no site has all its image files, as --available needs; name the folder they are in "
                        "with --image-root", [show_source(table.files(0)[0])])
    note = left_out(table.frame, is_there_S)
    log.warning("%s", note)
    frame = table.frame[is_there_S]
    return replace(table, frame=frame if keeps_rows else frame.reset_index(drop=True), notes=(*table.notes, note))


def is_available(files: Iterable[tuple[str, ...]]) -> np.ndarray:
    """Return (S,) bool, true for sites whose image files are all there.  files: the image sources of each site."""
    return np.array([not any(_is_missing(path) for source in of_site if source for path in source_paths(source))
                     for of_site in files], dtype=bool)


def left_out(frame: pd.DataFrame, is_there_S: np.ndarray) -> str:
    """Return how many sites, wells and plates are left out, as a sentence."""
    is_there = pd.Series(is_there_S, frame.index)
    plates, wells = (is_there.groupby([frame[name] for name in names]).agg(["any", "all"])
                     for names in (["plate"], ["plate", "well"]))
    partial = int((wells["any"] & ~wells["all"]).sum())
    return (f"{int((~is_there_S).sum()):,} of {counted(len(frame), 'site')} are left out, as their image files are not all "
            f"there (--available): {int((~plates['any']).sum()):,} of {counted(len(plates), 'plate')} and "
            f"{int((~wells['any']).sum()):,} of {counted(len(wells), 'well')} whole"
            + (f", and some sites of {counted(partial, 'more well')}" if partial else ""))


def _is_missing(path: str) -> bool:
    """Return whether there is no such file; one that cannot be looked at is left to its reader, which says why."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
