"""A scale of intensities: what turns camera counts into the network's input.

DatasetScale and PlateScale are the two there are.  Shapes: C channels, H W pixels.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from mscnn.core.errors import DataError
from mscnn.data.pixels import dataset_scale, plate_scale
from mscnn.data.pixels.scale_record import ScaleRecord


class Scale(Protocol):
    """Turn camera counts into the network's input."""

    before_crop: ClassVar[bool]  # whole fields are scaled, then cropped and turned; else the scale writes to the minibatch
    by_plate: ClassVar[bool]     # each plate has numbers of its own, so plates of another screen are measured anew

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the fields that it fits; None: any."""
        ...

    @property
    def num_channels(self) -> int | None:
        """Channels of the fields that it fits; None: any number."""
        ...

    def apply(self, site_CHW: np.ndarray, plate: str, out_CHW: np.ndarray | None = None) -> np.ndarray:
        """Scale camera counts (C, H, W) of a site to float32; return `out_CHW` if given, else a new array."""
        ...

    def covers(self, plates: Iterable[str]) -> bool:
        """Return whether it has numbers for all these plates; log those that it lacks."""
        ...

    def for_other_screen(self) -> "Scale":
        """Return the scale for a screen without reference wells, whose plates have other numbers than these."""
        ...

    def save(self, folder: Path) -> None:
        """Write what a reader of the run directory needs, if anything."""
        ...

    def to_record(self) -> ScaleRecord:
        """Return the record from which scale_from_record makes the same scale, bit for bit."""
        ...


def scale_from_record(record: ScaleRecord) -> Scale:
    """Return the scale of a record. Raises DataError where the record is not as to_record makes it."""
    mode = record.facts.get("mode")
    if mode == "plate":
        return plate_scale.from_record(record)
    if mode in dataset_scale.MODES:
        return dataset_scale.from_record(record)
    raise DataError(f"scale of mode {mode!r}, this version reads {', '.join(dataset_scale.MODES)} and plate; use the "
                    "version that wrote it")
