"""Sums over the sites of a plate, exact for any number of processes.

Shapes: S sites of a plate, C channels, K grey levels, H W pixels, h w blocks of b x b pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLOCKS = 64  # about so many along the longer side


@dataclass(eq=False)
class PlateSums:
    """Exact integers over the sites of one plate, so that shares of the sites, measured anywhere, add up to the same bits.

    Sites are kept apart, each in a slot of its own: only their distribution tells background from cells.  At 64 blocks a
    site of 3 channels takes 59 kB.
    """

    histogram_CK: np.ndarray  # int64, of camera counts
    blocks_SChw: np.ndarray   # uint32, sum over each block; zero until the site is added
    pixels_SChw: np.ndarray   # uint16, the pixel in the middle of each block, which has a known share of the light
    seen_S: np.ndarray        # int64, 1 where the site has been added
    size: tuple[int, int]     # height and width of a site

    @classmethod
    def empty(cls, num_sites: int, channels: int, size: tuple[int, int], dtype: np.dtype) -> "PlateSums":
        """Return sums with a slot for each of so many sites, none of them added yet. dtype: uint8 or uint16."""
        blocks = (num_sites, channels, *(side // block_side(size) for side in size))
        return cls(np.zeros((channels, 2 ** (8 * np.dtype(dtype).itemsize)), np.int64), np.zeros(blocks, np.uint32),
                   np.zeros(blocks, np.uint16), np.zeros(num_sites, np.int64), size)

    def add(self, site_CHW: np.ndarray, slot: int) -> None:
        """Add the camera counts of a site; slot: its place among the plate's reference sites."""
        assert site_CHW.shape[1:] == self.size, (site_CHW.shape, self.size)
        assert not self.seen_S[slot], f"slot {slot} is taken"
        b, (h, w) = block_side(self.size), self.blocks_SChw.shape[2:]
        for channel, pixels in enumerate(site_CHW):
            self.histogram_CK[channel] += np.bincount(pixels.ravel(), minlength=self.histogram_CK.shape[1])
            rows = np.add.reduceat(pixels[:h * b], np.arange(0, h * b, b), axis=0, dtype=np.uint32)
            self.blocks_SChw[slot, channel] = np.add.reduceat(rows[:, :w * b], np.arange(0, w * b, b), axis=1)
            self.pixels_SChw[slot, channel] = pixels[b // 2:h * b:b, b // 2:w * b:b]
        self.seen_S[slot] += 1

    def merge(self, other: "PlateSums") -> "PlateSums":
        """Return the sums over the sites of both; no site may be in both."""
        pairs = zip(self.to_arrays(), other.to_arrays(), strict=True)
        return PlateSums.from_arrays([mine + theirs for mine, theirs in pairs], self.size)

    def to_arrays(self) -> list[np.ndarray]:
        """Return arrays that add up, entry by entry, over shares of the sites; exact in float64 too."""
        return [self.histogram_CK, self.blocks_SChw, self.pixels_SChw, self.seen_S]

    @classmethod
    def from_arrays(cls, arrays: Sequence[np.ndarray], size: tuple[int, int]) -> "PlateSums":
        """Return the sums from the arrays of to_arrays, or from their sum over shares of the sites."""
        histogram_CK, blocks_SChw, pixels_SChw, seen_S = arrays
        assert seen_S.max(initial=0) <= 1, "a site was measured twice"
        return cls(histogram_CK.astype(np.int64), blocks_SChw.astype(np.uint32), pixels_SChw.astype(np.uint16),
                   seen_S.astype(np.int64), size)

    def block_means(self, channel: int) -> np.ndarray:
        """Return the mean of each block (S, h, w), float64 counts."""
        return self.blocks_SChw[:, channel] / float(block_side(self.size) ** 2)


def block_side(size: tuple[int, int]) -> int:
    """Return the side of a block in pixels; what is left over at the lower and right edge is not summed."""
    return max(1, round(max(size) / BLOCKS))
