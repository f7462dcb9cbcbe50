"""How bright pictures are: one range of counts a plate and channel, so that a dim field looks dim beside others.

Percentiles of a field by itself would show the dimmest cells as bright as any.  The range is that of the plate's control
fields; what is brighter than they are, beyond HEADROOM, is white.     pytest tests/report/test_windows.py

Shapes: C channels, H W pixels.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

LOW, HIGH = 1.0, 99.7  # percentiles of the counts of control fields
HEADROOM = 1.3         # times the range of the controls: treated cells may be brighter
FIELDS = 4             # control fields of a plate that are read
STRIDE = 2             # every second pixel of them, in rows and columns


@dataclass(frozen=True)
class Window:
    """The counts that a picture shows from black to full."""

    low_C: np.ndarray
    high_C: np.ndarray

    def apply(self, counts_CHW: np.ndarray) -> np.ndarray:
        """Return counts as (C, H, W) float32 in 0..1."""
        low_C11, high_C11 = (np.asarray(each, np.float32)[:, None, None] for each in (self.low_C, self.high_C))
        return np.clip((counts_CHW - low_C11) / np.maximum(high_C11 - low_C11, 1), 0, 1)


def reference(sites: pd.DataFrame, is_control: np.ndarray, plates: Iterable[str]) -> dict[str, np.ndarray]:
    """Return {plate: positions of the fields that its window is measured on}, spread over the rows of the table.

    sites: Metadata_Plate of all sites.  Control fields; of a plate without any, its other fields.
    """
    chosen = {}
    for plate in sorted(set(plates)):
        on_plate = (sites["Metadata_Plate"] == plate).to_numpy()
        rows = np.flatnonzero(on_plate & is_control)
        rows = rows if len(rows) else np.flatnonzero(on_plate)
        chosen[plate] = rows[np.unique(np.linspace(0, len(rows) - 1, FIELDS).round().astype(int))]
    return chosen


def measure(rows: np.ndarray, read: Callable[[int], np.ndarray]) -> Window:
    """Return the window of fields: the median over them of the percentiles of each. read: position -> counts (C, H, W)."""
    found = [np.percentile(read(int(row))[:, ::STRIDE, ::STRIDE], [LOW, HIGH], axis=(1, 2)) for row in rows]
    low_C, high_C = np.median(found, axis=0)
    return Window(low_C, low_C + HEADROOM * (high_C - low_C))
