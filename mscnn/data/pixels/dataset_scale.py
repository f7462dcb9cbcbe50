"""Mean and standard deviation of each channel, and the step from camera counts to the network's input.

Shapes: C channels, H W pixels, S sites.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from mscnn.core.errors import DataError
from mscnn.data.pixels.scale_record import ScaleRecord

MODES = ("dataset", "field")
STRIP = 32  # rows: a strip stays in the cache while it is converted, shifted and scaled, 4 times as fast as whole fields


@dataclass(frozen=True)
class DatasetScale:
    """(counts - mean) / sd of each channel: of the whole data set, or of each field (--normalise field)."""

    mode: str                # "dataset": mean and sd of the training side; "field": of each field itself
    mean: tuple[float, ...]  # counts, of each channel; empty in mode "field"
    sd: tuple[float, ...]    # likewise
    before_crop: ClassVar[bool] = False
    by_plate: ClassVar[bool] = False

    @property
    def size(self) -> None:
        """Return None: fields of any size fit."""

    @property
    def num_channels(self) -> int | None:
        """Return how many channels fields must have; None: any number."""
        return len(self.mean) if self.mode == "dataset" else None

    def apply(self, site_CHW: np.ndarray, plate: str = "", out_CHW: np.ndarray | None = None) -> np.ndarray:
        """Scale camera counts (C, H, W) to float32 of about mean 0 and standard deviation 1, in `out_CHW` if given."""
        if self.mode == "field":
            mean, sd = statistics(moments(site_CHW)[None])
        else:
            mean, sd = self.mean, self.sd
        out_CHW = np.empty(site_CHW.shape, np.float32) if out_CHW is None else out_CHW
        for counts_HW, out_HW, shift, scale in zip(site_CHW, out_CHW, np.array(mean, np.float32), np.array(sd, np.float32),
                                                   strict=True):
            for row in range(0, len(out_HW), STRIP):
                strip = out_HW[row:row + STRIP]
                np.copyto(strip, counts_HW[row:row + STRIP])
                strip -= shift
                strip /= scale
        return out_CHW

    def covers(self, plates: Iterable[str]) -> bool:
        """Return True: plates do not matter."""
        return True

    def for_other_screen(self) -> "DatasetScale":
        """Return the same scale."""
        return self

    def save(self, folder: Path) -> None:
        """Write nothing: the numbers are in the checkpoint."""

    def to_record(self) -> ScaleRecord:
        """Return mode, means and standard deviations."""
        return ScaleRecord({"mode": self.mode, "mean": list(self.mean), "sd": list(self.sd)})


def from_record(record: ScaleRecord) -> DatasetScale:
    """Return the scale that to_record described. Raises DataError where the facts are not of that form."""
    facts = record.facts
    if set(facts) != {"mode", "mean", "sd"} or facts["mode"] not in MODES or record.arrays \
            or not all(isinstance(facts[name], list | tuple) for name in ("mean", "sd")):
        raise DataError(f"scale with {', '.join(map(str, facts))}; it has mode, mean and sd; use the version that wrote it")
    scale = DatasetScale(facts["mode"], tuple(facts["mean"]), tuple(facts["sd"]))
    is_number = [isinstance(value, float) and math.isfinite(value) for value in (*scale.mean, *scale.sd)]
    if not all(is_number) or len(scale.mean) != len(scale.sd) or (scale.mode == "field") != (not scale.mean) \
            or min(scale.sd, default=1) <= 0:
        raise DataError(f"scale of mode {scale.mode} with mean {scale.mean} and sd {scale.sd}; train again")
    return scale


def moments(site_CHW: np.ndarray) -> np.ndarray:
    """Return (C, 3) float64: number, sum and sum of squares of a channel's pixels; exact for 16 bits up to 2M pixels."""
    flat = site_CHW.reshape(len(site_CHW), -1)
    sums = flat.sum(axis=1, dtype=np.uint64)
    squares = np.stack([np.square(channel, dtype=np.uint64).sum() for channel in flat])
    return np.stack([np.full(len(flat), flat.shape[1]), sums, squares], axis=1).astype(np.float64)


def statistics(moments_SC3: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel over all pixels of the sites, from their moments (S, C, 3).

    A channel without variation gets sd 1, so that it becomes 0 and not infinite.
    """
    pixels, total, squares = moments_SC3.sum(axis=0).T
    mean = total / pixels
    variance = np.maximum(squares / pixels - mean**2, 0.0)
    sd = np.where(variance > 0, np.sqrt(variance), 1.0)
    return tuple(mean.tolist()), tuple(sd.tolist())
