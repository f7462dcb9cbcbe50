"""A picture of each treatment, and of the control of each plate, for the viewer of the report.

    pytest tests/report/test_pictures.py
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from mscnn.core import files
from mscnn.core.logs import log, progress
from mscnn.evaluation import results
from mscnn.report import composite
from mscnn.report.picture_list import TreatmentPicture
from mscnn.report.windows import Window

BUDGET = 4_000_000       # bytes of all pictures together
BYTES_PER_PIXEL = 0.45   # of a JPEG of cells of this quality, three channels
QUALITY = 80
SMALLEST, LARGEST = 96, 384  # longer sides, pixels
MOST = 1500              # pictures: more would be smaller than cells, or larger than the page may be
THREADS = 4              # that read and draw


def longest_side(composites: int, height: int, width: int) -> int:
    """Return the longer side in pixels of so many composites of fields of a size, so that all are BUDGET together."""
    share = BUDGET / max(composites, 1) / BYTES_PER_PIXEL
    side = math.isqrt(int(share * max(height, width) / min(height, width)))
    return min(max(side, SMALLEST), LARGEST)


def write(rows: Sequence[int], sites: pd.DataFrame, is_control: np.ndarray, read: Callable[[int], np.ndarray],
          windows: dict[str, Window], channels: Sequence[str], out: Path) -> list[TreatmentPicture]:
    """Write pictures of fields and their list; return the list.

    rows: positions among `sites` (Metadata_*), at most MOST of them drawn, the first ones.  read: position -> counts
    (C, H, W).  windows: of each plate.
    """
    listing = out / results.PICTURES
    folder = listing.parent
    files.make_output_folder(folder)
    listing.unlink(missing_ok=True)
    for old in folder.glob("picture-[0-9]*.jpg"):
        old.unlink()
    if len(rows) > MOST:
        log.warning("pictures of %d of %d treatments are drawn", MOST, len(rows))
    planes = composite.planes(channels)

    def draw(numbered: tuple[int, int]) -> TreatmentPicture:
        number, row = numbered
        about, counts_CHW = sites.iloc[row], read(row)
        shown_CHW = windows[str(about["Metadata_Plate"])].apply(counts_CHW)
        side = longest_side(len(rows[:MOST]) * len(planes), *counts_CHW.shape[1:])
        names, size = [], (0, 0)
        for part, channels_3 in enumerate(planes):
            image = Image.fromarray(composite.compose(shown_CHW, channels_3))
            image.thumbnail((side, side), Image.Resampling.BOX)
            names.append(f"picture-{number:04}-{part}.jpg")
            image.save(folder / names[-1], quality=QUALITY, subsampling=0, optimize=True)
            size = image.size
        dose = about["Metadata_Concentration"]
        return TreatmentPicture(
            about["Metadata_Compound"], None if pd.isna(dose) else float(dose), about["Metadata_MOA"],
            str(about["Metadata_Plate"]), str(about["Metadata_Well"]), str(about["Metadata_Site"]), bool(is_control[row]),
            names, [[None if channel is None else channels[channel] for channel in each] for each in planes], *size)

    drawn = []
    with progress(len(rows[:MOST]), "drawing pictures", unit="picture") as bar, ThreadPoolExecutor(THREADS) as threads:
        for picture in threads.map(draw, enumerate(rows[:MOST], start=1)):
            drawn.append(picture)
            bar.advance()
    files.write_json(listing, [picture.to_json() for picture in drawn])
    return drawn
