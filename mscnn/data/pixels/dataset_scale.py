"""Mean and standard deviation of each channel, and the step from camera counts to the network's input.

Shapes: C channels, H W pixels, S sites."""

from dataclasses import dataclass

import numpy as np

STRIP = 32  # rows: a strip stays in the cache while it is converted, shifted and scaled, 4 times as fast as whole fields


@dataclass(frozen=True)
class DatasetScale:
    """(counts - mean) / sd of each channel; in mode "field" mean and sd are those of the field itself."""

    mode: str
    mean: tuple[float, ...]
    sd: tuple[float, ...]

    def apply(self, site_CHW: np.ndarray, out_CHW: np.ndarray | None = None) -> np.ndarray:
        """Camera counts (C, H, W) -> float32 of about mean 0 and standard deviation 1, in `out_CHW` if given."""
        if self.mode == "field":
            mean, sd = statistics(moments(site_CHW)[None])
        else:
            mean, sd = self.mean, self.sd
        out_CHW = np.empty(site_CHW.shape, np.float32) if out_CHW is None else out_CHW
        for counts_HW, out_HW, shift, scale in zip(site_CHW, out_CHW, np.float32(mean), np.float32(sd), strict=True):
            for row in range(0, len(out_HW), STRIP):
                strip = out_HW[row:row + STRIP]
                np.copyto(strip, counts_HW[row:row + STRIP])
                strip -= shift
                strip /= scale
        return out_CHW


def moments(site_CHW: np.ndarray) -> np.ndarray:
    """(C, 3) float64: number of pixels, sum and sum of squares of a channel, exact for 8 and 16 bits up to 2M pixels."""
    flat = site_CHW.reshape(len(site_CHW), -1)
    sums = flat.sum(axis=1, dtype=np.uint64)
    squares = np.stack([np.square(channel, dtype=np.uint64).sum() for channel in flat])
    return np.stack([np.full(len(flat), flat.shape[1]), sums, squares], axis=1).astype(np.float64)


def statistics(moments_SC3: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Moments of sites (S, C, 3) -> mean and standard deviation of each channel over all their pixels.

    A channel without any variation gets sd 1, so that it becomes 0 and not infinite.
    """
    pixels, total, squares = moments_SC3.sum(axis=0).T
    mean = total / pixels
    variance = np.maximum(squares / pixels - mean**2, 0.0)
    sd = np.where(variance > 0, np.sqrt(variance), 1.0)
    return tuple(mean.tolist()), tuple(sd.tolist())


def sample(num_sites: int, limit: int) -> np.ndarray:
    """Positions of at most `limit` sites, spread evenly over the table."""
    return np.unique(np.linspace(0, num_sites - 1, min(num_sites, limit)).round().astype(int))
