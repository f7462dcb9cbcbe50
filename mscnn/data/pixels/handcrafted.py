"""Handcrafted features of a field: they need no training, and a network has to do better.   mscnn features

A field is first resized to GRID pixels, its aspect kept: 256x256 stays as it is, 1024x1280 becomes 229x286.  All lengths
and areas are in pixels of that grid, so that screens of any size are measured alike.  Intensity is a share of the range of
the type (counts / 256 or / 65,536): 16-bit counts 256 times those of 8 bits give the same features.

Shapes: C channels, H W pixels.
"""

from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import ndimage, stats
from skimage.filters import threshold_otsu
from skimage.measure import regionprops_table
from skimage.morphology import disk
from skimage.transform import resize

from mscnn.core.errors import DataError, ImageError, UsageError
from mscnn.core.process_pool import spawned_pool
from mscnn.data.pixels.read_pixels import read_pixels
from mscnn.data.tables.site_table import SiteTable

PREFIX = "Image_Basic_"
NUCLEI = ("dna", "dapi", "hoechst", "nuclei")
GRID = 256 * 256                     # pixels of a field when it is measured
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
SIGMAS = (0.5, 1, 2, 4, 8)           # of Gaussians; neighbours enclose a band
RADII = (1, 2, 4, 8)                 # of the openings' discs; a nucleus of BBBC021 has a radius of some 6
SMOOTH, LEAST_NUCLEUS = 1.0, 20      # sigma before the threshold; pixels of the smallest nucleus
FLAT = 1e-9                          # a channel that varies less is constant: one count of 16 bits is 1.5e-5
_CHUNK = 8                           # sites handed to a process at once


def features(site_CHW: np.ndarray, *, channels: tuple[str, ...], nuclei: int) -> dict[str, float]:
    """Return Image_Basic_<Kind>_<Channel>[_<detail>] of one field: 19 per channel, 1 per pair of channels, 4 of nuclei.

    site_CHW: uint8 or uint16, as read; nuclei: position of the channel that shows nuclei.
    All features are finite.  A constant channel has skewness, kurtosis, bands, granularity and correlations 0, and no
    nuclei.  Without nuclei their area is 0; with one nucleus the sd of the area is 0.
    """
    grid_CHW = on_grid(site_CHW)
    measured = {}
    for channel, plane_HW in zip(channels, grid_CHW, strict=True):
        measured |= _named(channel, _moments(plane_HW) | _percentiles(plane_HW) | _bands(plane_HW) | _granularity(plane_HW))
    for one, other in combinations(range(len(channels)), 2):
        measured |= _named(channels[one], {("Correlation", channels[other]): _correlation(grid_CHW[one], grid_CHW[other])})
    return measured | _named(channels[nuclei], _nuclei(grid_CHW[nuclei]))


def nuclei_channel(channels: tuple[str, ...], asked: str | None) -> int:
    """Return the position of the channel that shows nuclei: the channel asked for, else the channel with a name of NUCLEI.

    Raises UsageError unless exactly one channel fits.
    """
    wanted = (asked.casefold(),) if asked else NUCLEI
    fitting = [number for number, name in enumerate(channels) if name.casefold() in wanted]
    if len(fitting) != 1:
        raise UsageError(f"{len(fitting)} channels are called {' or '.join(wanted)}, one has to be; name the channel that "
                         f"shows nuclei with --nuclei: {', '.join(channels)}")
    return fitting[0]


def count_nuclei(plane_HW: np.ndarray, *, clear: float) -> int:
    """Return the number of nuclei in a plane of the grid (on_grid); 0 where they stand out of no background.

    clear: robust standard deviations (1.4826 MAD) by which the mean nucleus must exceed the background's median.
    """
    smooth_HW, above_HW = _above_threshold(plane_HW)
    if not above_HW.any():
        return 0
    median = np.median(smooth_HW)
    contrast, spread = smooth_HW[above_HW].mean() - median, 1.4826 * np.median(np.abs(smooth_HW - median))
    return len(_nucleus_areas(above_HW)) if contrast > clear * spread else 0


def nuclei_of(channels: tuple[str, ...]) -> int | None:
    """Return the position of the channel that shows nuclei, by its name; None where no name tells."""
    try:
        return nuclei_channel(channels, None)
    except UsageError:
        return None


def of_sites(table: SiteTable, *, nuclei: int, workers: int = 1,
             advance: Callable[[int], object] = lambda number: None) -> pd.DataFrame:
    """Measure all sites; return a row per site, in the table's order.

    table: its channels are named.  workers: processes.  advance: called with the number of sites just finished.
    Raises DataError naming all images that cannot be read.
    """
    rows, damaged = [], []
    for result in _each(table, partial(_of_site, nuclei=nuclei), workers):
        (damaged if isinstance(result, str) else rows).append(result)
        advance(1)
    if damaged:
        raise DataError(f"{len(damaged)} sites cannot be read; replace their images, or take their rows out", damaged)
    return pd.DataFrame(rows)


def _each(table: SiteTable, function: Callable[[SiteTable], dict | str], workers: int) -> Iterator[dict | str]:
    """Yield the result of a function for each site, in order. Raises DataError where a process was killed."""
    sites = (table.select(np.array([site])) for site in range(len(table)))
    with spawned_pool(workers) as pool:
        try:
            yield from pool.map(function, sites, chunksize=_CHUNK)
        except BrokenProcessPool:
            raise DataError("a process was killed while it measured a field: memory was short, or an image is damaged; use "
                            "fewer --workers, or look for the image with `mscnn check`") from None


def _of_site(site: SiteTable, nuclei: int) -> dict[str, float] | str:
    """Return the features of the only site of a table, or why the site cannot be read."""
    try:
        return features(read_pixels(site, 0), channels=site.channels, nuclei=nuclei)
    except ImageError as problem:
        return "; ".join((problem.what, *problem.details))


def on_grid(site_CHW: np.ndarray) -> np.ndarray:
    """Return (C, h, w) float64 in [0, 1) of about GRID pixels, smoothed first where the field shrinks."""
    share_CHW = site_CHW / 2.0 ** (8 * site_CHW.itemsize)
    side = np.sqrt(GRID / site_CHW[0].size)
    shape = [max(1, round(side * length)) for length in site_CHW.shape[1:]]
    return np.stack([np.asarray(resize(plane_HW, shape, order=1, mode="reflect", anti_aliasing=bool(side < 1)))
                     for plane_HW in share_CHW])


def _moments(plane_HW: np.ndarray) -> dict[tuple, float]:
    moments = {("Mean",): plane_HW.mean(), ("Sd",): plane_HW.std(), ("Skewness",): 0.0, ("Kurtosis",): 0.0}
    if not _is_flat(plane_HW):
        moments |= {("Skewness",): stats.skew(plane_HW.ravel()), ("Kurtosis",): stats.kurtosis(plane_HW.ravel())}
    return moments


def _percentiles(plane_HW: np.ndarray) -> dict[tuple, float]:
    return {("Percentile", f"{rank:02}"): value
            for rank, value in zip(PERCENTILES, np.percentile(plane_HW, PERCENTILES), strict=True)}


def _bands(plane_HW: np.ndarray) -> dict[tuple, float]:
    """Return the sd of differences of Gaussians; waves 3.3 times as long as the outer sigma pass best."""
    blurred = [ndimage.gaussian_filter(plane_HW, sigma) for sigma in SIGMAS]
    return {("Band", f"{sigma}"): 0.0 if _is_flat(plane_HW) else (inner - outer).std()
            for sigma, inner, outer in zip(SIGMAS[1:], blurred, blurred[1:], strict=False)}


def _granularity(plane_HW: np.ndarray) -> dict[tuple, float]:
    """Return the share of intensity above the darkest pixel that each larger opening takes away: a granularity spectrum.

    As in CellProfiler, but openings are plain, without reconstruction.
    """
    light = plane_HW.mean() - plane_HW.min()
    if _is_flat(plane_HW):
        return {("Granularity", f"{radius}"): 0.0 for radius in RADII}
    left = [plane_HW.mean(), *(opened(plane_HW, radius).mean() for radius in RADII)]
    return {("Granularity", f"{radius}"): (before - after) / light
            for radius, before, after in zip(RADII, left, left[1:], strict=False)}


def opened(plane_HW: np.ndarray, radius: int) -> np.ndarray:
    """Return the opening of a plane by a disc, equal to scipy's grey_opening of skimage's disk(radius) to the last bit.

    (H, W) -> (H, W); edges are mirrored, as in scipy.
    """
    return _over_disc(_over_disc(plane_HW, radius, np.minimum), radius, np.maximum)


def _over_disc(plane_HW: np.ndarray, radius: int, extreme: np.ufunc) -> np.ndarray:
    """Return the least, or the largest, value in a disc about each pixel.

    The disc is cut into columns.  A column is an interval of rows, and each interval comes from the interval before it.
    """
    height, width = plane_HW.shape
    padded = np.pad(plane_HW, radius, mode="symmetric")
    heights = np.asarray(disk(radius)).sum(axis=0) // 2         # half the height of each column of the disc
    found_HW, interval = None, padded[radius:radius + height].copy()  # of rows, over half 0
    for half in range(radius + 1):
        for start in (radius - half, radius + half):
            extreme(interval, padded[start:start + height], out=interval)
        for column in np.flatnonzero(heights == half):
            part_HW = interval[:, column:column + width]
            found_HW = part_HW.copy() if found_HW is None else extreme(found_HW, part_HW, out=found_HW)
    assert found_HW is not None
    return found_HW


def _correlation(one_HW: np.ndarray, other_HW: np.ndarray) -> float:
    if _is_flat(one_HW) or _is_flat(other_HW):
        return 0.0
    return float(np.corrcoef(one_HW.ravel(), other_HW.ravel())[0, 1])


def _nuclei(plane_HW: np.ndarray) -> dict[tuple, float]:
    """Return number, mean and sd of area, and share of the field, of parts above Otsu's threshold.

    Nuclei that touch are one part.
    """
    areas = _nucleus_areas(_above_threshold(plane_HW)[1])
    return {("NucleusCount",): len(areas), ("NucleusArea", "mean"): areas.mean() if len(areas) else 0.0,
            ("NucleusArea", "sd"): areas.std() if len(areas) else 0.0, ("NucleusCover",): areas.sum() / plane_HW.size}


def _above_threshold(plane_HW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a plane of the grid, smoothed, and which of its pixels are above Otsu's threshold: none of a constant one."""
    smooth_HW = ndimage.gaussian_filter(plane_HW, SMOOTH)
    is_flat = _is_flat(plane_HW)
    return smooth_HW, np.zeros(plane_HW.shape, bool) if is_flat else smooth_HW > threshold_otsu(smooth_HW)


def _nucleus_areas(above_HW: np.ndarray) -> np.ndarray:
    """Return the areas in pixels of the parts that are large enough for a nucleus."""
    parts_HW = np.asarray(ndimage.label(above_HW)[0])  # pyright: ignore[reportIndexIssue]  (a pair: no output is given)
    areas = regionprops_table(parts_HW, properties=("area",))["area"]
    return areas[areas >= LEAST_NUCLEUS]


def _is_flat(plane_HW: np.ndarray) -> bool:
    return np.ptp(plane_HW) < FLAT


def _named(channel: str, kinds: dict[tuple, float]) -> dict[str, float]:
    """Name features by kind and channel: {("Percentile", "05"): 0.1} -> {"Image_Basic_Percentile_DNA_05": 0.1}."""
    return {PREFIX + "_".join((kind, channel, *detail)): float(value) for (kind, *detail), value in kinds.items()}
