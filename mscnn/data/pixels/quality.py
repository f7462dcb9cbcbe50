"""Measures of the quality of one field: focus, saturation, intensity, debris and number of cells.   mscnn check

The measures are those of Bray et al. 2012 (J. Biomol. Screen. 17, 266-274, "Workflow and metrics for image quality control
in large-scale high-content screens") that need no segmentation, a measure of debris, and the number of nuclei.

Shapes: C channels, H W pixels, h w blocks.
"""

import numpy as np
from scipy import fft

from mscnn.data.pixels import handcrafted

PREFIX = "Quality_"
CELLS = PREFIX + "Cells"
FOCUS, SATURATED, INTENSITY, LOW, HIGH, DEBRIS = KINDS = "Focus", "Saturated", "Intensity", "P05", "P99", "Debris"
COARSEST = 8      # CellProfiler's spectrum ends at waves of 8 pixels of the shorter side: finer ones hold noise
PILE_UP = 0.02    # of a channel's maximum: pixels at the maximum are saturated where they outnumber those so far below it
BLOCKS = 32       # a side in blocks; a patch has 2x2 of them, and so 1/256 of the field
CLEAR = 4.0       # robust sds by which nuclei must exceed the background: the upper half of plain noise exceeds it by 1


def column(kind: str, channel: str) -> str:
    """Return the name of the column of a kind of KINDS: Quality_Focus_DNA."""
    return f"{PREFIX}{kind}_{channel}"


def columns(channels: tuple[str, ...]) -> list[str]:
    """Return the names of all that `measure` measures, in its order."""
    return [CELLS, *(column(kind, channel) for channel in channels for kind in KINDS)]


def measure(site_CHW: np.ndarray, *, nuclei: int | None) -> list[float]:
    """Return the number of cells and, for each channel, the measures of KINDS; NaN where one cannot be measured.

    site_CHW: uint8 or uint16, as read.  nuclei: position of the channel that shows nuclei; None: cells are not counted.
    All pixels are measured, but nuclei are counted on the grid of handcrafted.py.
    """
    cells = float("nan") if nuclei is None else float(count_cells(site_CHW[nuclei]))
    return [cells, *(number for plane_HW in site_CHW for number in measure_channel(plane_HW))]


def measure_channel(plane_HW: np.ndarray) -> tuple[float, ...]:
    """Return the measures of KINDS of one channel.

    Focus: power_slope.  Saturated: saturated_share.  Intensity, P05 and P99: the median, the 5th and the 99th percentile,
    counts; the 5th stands for the background.  Debris: brightest_patch above the 5th percentile, counts: cells seldom fill
    a patch with their brightest parts, debris does.
    """
    counts_K = np.bincount(plane_HW.ravel())
    low, median, high = np.searchsorted(np.cumsum(counts_K), plane_HW.size * np.array([0.05, 0.5, 0.99])).tolist()
    return (power_slope(plane_HW), saturated_share(counts_K), float(median), float(low), float(high),
            max(0.0, brightest_patch(plane_HW) - low))


def power_slope(plane_HW: np.ndarray) -> float:
    """Return the slope of the power spectrum on logarithmic axes: CellProfiler's PowerLogLogSlope; NaN without detail.

    Power is summed over rings of whole frequencies, from 2 waves a field to an eighth of the shorter side (Bray et al.
    2012; CellProfiler's MeasureImageQuality and centrosome.radial_power_spectrum).  Blur makes it more negative.
    NaN: the channel is constant, or its shorter side is below 32 pixels.
    """
    height, width = plane_HW.shape
    last = min(height, width) // COARSEST  # rings 2 to last - 1
    if last < 4 or plane_HW.min() == plane_HW.max():
        return float("nan")
    spectrum = np.asarray(fft.rfft2(plane_HW.astype(np.float32) - np.float32(plane_HW.mean())))[:, :last]
    rows = np.minimum(np.arange(height), height - np.arange(height))
    near = rows < last
    rings = np.floor(np.hypot(rows[near, None], np.arange(last))).astype(int) + 1
    twice = np.where(np.arange(last) > 0, 2.0, 1.0)  # rfft2 leaves out the mirror images of these columns
    power = np.bincount(rings.ravel(), (np.abs(spectrum[near]).astype(float) ** 2 * twice).ravel())[2:last]
    is_there = power > 0
    if is_there.sum() < 2:
        return float("nan")
    return float(np.polyfit(np.log(np.arange(2, last)[is_there]), np.log(power[is_there]), 1)[0])


def saturated_share(counts_K: np.ndarray) -> float:
    """Return the share of pixels at a channel's maximum where they pile up there, else 0.

    counts_K: number of pixels at each count, from 0.  At the end of a camera's or a type's range, pixels pile up: more are
    at the maximum than in the PILE_UP below it.  So the range need not be known: 12-bit cameras write 16-bit files.  A
    constant channel is not saturated, it is empty.
    """
    there = np.flatnonzero(counts_K)
    if len(there) < 2:
        return 0.0
    high = int(there[-1])
    below = counts_K[high - max(1, round(PILE_UP * high)):high].sum()
    return float(counts_K[high] / counts_K.sum()) if counts_K[high] > below else 0.0


def brightest_patch(plane_HW: np.ndarray) -> float:
    """Return the mean of the brightest patch of 2x2 blocks, counts; patches overlap by a block."""
    height, width = (max(1, length // BLOCKS) for length in plane_HW.shape)
    rows, across = plane_HW.shape[0] // height, plane_HW.shape[1] // width
    cut_HW = plane_HW[:rows * height, :across * width]
    blocks_hw = cut_HW.reshape(rows, height, across, width).sum(axis=(1, 3), dtype=np.int64) / (height * width)
    pairs_hw = blocks_hw[1:] + blocks_hw[:-1]
    return float((pairs_hw[:, 1:] + pairs_hw[:, :-1]).max() / 4)


def count_cells(plane_HW: np.ndarray) -> int:
    """Return the number of nuclei of a channel, as handcrafted features count them; 0 where only noise is there."""
    grid_HW = handcrafted.on_grid(plane_HW[None])[0]
    return handcrafted.count_nuclei(grid_HW, clear=CLEAR)
