"""Illumination of a plate and scale of its channels, estimated from the sums over its sites (plate_sums.py).

Shapes: S sites of a plate, N blocks of a site, C channels, K grey levels, h w blocks of b x b pixels or nodes of a small
field, P plates, D coefficients of a polynomial.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from mscnn.core.errors import UsageError
from mscnn.data.pixels.plate_sums import block_side

DEGREES = (2, 4, 6)       # of the polynomials that a field may be
FLOOR = 0.1               # a field of mean 1 is nowhere lower
DARKEST = 0.1             # percentile of a plate's blocks that no camera offset exceeds
_LOW = 0.05               # of a plate's blocks are surely background
_ROUNDS = (25, 10)        # of reweighting: for the low quantile, and then for each degree
_CELLS = 8.0              # standard deviations above the background at which a block is surely of a cell
_TUKEY = 4.7              # standard deviations at which a block no longer counts as background


@dataclass(frozen=True, kw_only=True)
class Method:
    """Settings by which plates are measured, and their counts scaled."""

    illumination: bool = True               # divide by the field
    degree: int = 0                         # of the field's polynomial; 0: 2, 4 or 6, what the sites support
    offset: float | None = None             # of the camera, counts; None: estimated, one for all plates and channels
    scaling: Literal["percentile", "mean-sd", "background"] = "percentile"  # background: 0, and 1 at twice as much
    low: float = 1.0                        # percentile that becomes 0
    high: float = 99.9                      # and 1
    transform: Literal["none", "arcsinh", "anscombe"] = "none"
    cofactor: float = 100.0                 # counts above the offset at which arcsinh turns from linear to logarithmic

    def __post_init__(self):
        if self.scaling not in ("percentile", "mean-sd", "background"):
            raise UsageError(f"scaling is percentile, mean-sd or background, got {self.scaling!r}")
        if self.transform not in ("none", "arcsinh", "anscombe"):
            raise UsageError(f"transform is none, arcsinh or anscombe, got {self.transform!r}")
        if self.scaling == "background" and self.transform != "none":
            raise UsageError(f"scaling by the background goes with transform none, got {self.transform!r}")
        if not 0 <= self.low < self.high <= 100:
            raise UsageError(f"percentiles must be 0 <= low < high <= 100, got {self.low} and {self.high}")
        if not 0 < self.cofactor < math.inf or (self.offset is not None and not 0 <= self.offset < math.inf):
            raise UsageError(f"cofactor must be more than 0, offset 0 or more, got {self.cofactor} and {self.offset}")
        if not 0 <= self.degree <= DEGREES[-1]:
            raise UsageError(f"degree must be 0 to {DEGREES[-1]}, got {self.degree}")


def percentile(counts_K: np.ndarray, values_K: np.ndarray, percent: float) -> float:
    """Return numpy.percentile of values_K, ascending, each as often as counts_K says."""
    upto_K = counts_K.cumsum()
    place = percent / 100 * (upto_K[-1] - 1)
    low, high = (values_K[np.searchsorted(upto_K, int(edge), side="right")] for edge in (np.floor(place), np.ceil(place)))
    return float(low + (high - low) * (place - np.floor(place)))


def transform(signal: np.ndarray, method: Method) -> np.ndarray:
    """Transform counts above the offset in place. Anscombe's root makes the sd of photon noise constant."""
    if method.transform == "arcsinh":
        signal /= method.cofactor
        np.arcsinh(signal, out=signal)
    elif method.transform == "anscombe":
        np.maximum(signal, 0, out=signal)
        signal += 0.375
        np.sqrt(signal, out=signal)
        signal *= 2
    return signal


def scaling(counts_K: np.ndarray, signal_K: np.ndarray, level: float, method: Method) -> tuple[float, float]:
    """Return shift and scale of a channel; scale 1 where nothing varies, so that the channel becomes 0.

    signal_K: counts above the offset, ascending, each as often as counts_K says; level: that of the background.
    """
    if method.scaling == "background":
        return level, level if level > 0 else 1.0
    values_K = transform(signal_K.astype(np.float64), method)
    if method.scaling == "percentile":
        shift, high = (percentile(counts_K, values_K, percent) for percent in (method.low, method.high))
        scale = high - shift
    else:
        shift = float(np.average(values_K, weights=counts_K))
        scale = math.sqrt(np.average(np.square(values_K - shift), weights=counts_K))
    return shift, scale if scale > 0 else 1.0


def background(blocks_Shw: np.ndarray, size: tuple[int, int], degree: int = 0) -> tuple[np.ndarray, np.ndarray, int]:
    """Fit the light between the cells, offset + level x field, as a polynomial of the place, in counts.

    All blocks of all sites are fitted at once. Their 5 % quantile, by quantile regression, finds the background; Tukey's
    biweight around it leaves out the cells, bright or not. Means and medians over sites are ten times worse: at 30 % cells
    the mean of 60 sites misses a field by up to 15 %, a Gaussian filter flattens it at the edges by 5 %.
    degree: of the polynomial; 0: the degree with the least sum of noise and misfit, estimated from two halves of the sites.
    Returns the background at blocks (h, w), at nodes from corner to corner (h, w), and the degree.
    """
    centres, nodes = _places(blocks_Shw.shape[1:], size)
    y_SN = blocks_Shw.reshape(len(blocks_Shw), -1)
    if not degree:
        degree = _choose_degree(y_SN, centres) if len(y_SN) >= 4 else DEGREES[0]
    coefficients = _fit(y_SN, centres, [step for step in DEGREES if step < degree] + [degree])[degree]
    at_blocks, at_nodes = (_design(places, degree) @ coefficients for places in (centres, nodes))
    return at_blocks.reshape(blocks_Shw.shape[1:]), at_nodes.reshape(blocks_Shw.shape[1:]), degree


def camera_offset(backgrounds_Phw: Sequence[np.ndarray], blocks_PShw: Sequence[np.ndarray]) -> float:
    """Estimate what the camera counts without light, from one channel of all plates; NaN where they show no cells.

    The light that cells add holds no offset. It has the same field as the background above the offset, so the two are
    proportional: the estimate is the offset at which that fits best, wherever the cells lie. Flat fields do not determine
    the offset, and do not need it. A plate's lowest counts are no substitute: they hold the background's light, and taken
    for the offset exaggerate the field by as much as 70 %.
    """
    from scipy.optimize import OptimizeResult, minimize_scalar  # here: it takes half a second, and most runs do without

    cells = []
    for background_hw, blocks_Shw in zip(backgrounds_Phw, blocks_PShw, strict=True):
        added_Shw = blocks_Shw - background_hw
        is_cell_Shw = added_Shw > _CELLS * _noise(added_Shw)
        number_hw = is_cell_Shw.sum(axis=0)
        cells.append((number_hw, (added_Shw * is_cell_Shw).sum(axis=0) / np.maximum(number_hw, 1)))
    if not any(number_hw.any() for number_hw, _ in cells):
        return float("nan")

    def misfit(offset: float) -> float:
        total = 0.0
        for background_hw, (number_hw, added_hw) in zip(backgrounds_Phw, cells, strict=True):
            light_hw = background_hw - offset
            factor = (number_hw * light_hw * added_hw).sum() / max((number_hw * light_hw**2).sum(), 1e-12)
            mean = (number_hw * added_hw).sum() / max(number_hw.sum(), 1)
            total += (number_hw * np.square(added_hw - factor * light_hw)).sum() / max(mean**2, 1e-12)
        return total

    darkest = min(float(np.percentile(blocks_Shw, DARKEST)) for blocks_Shw in blocks_PShw)
    result = cast(OptimizeResult, minimize_scalar(misfit, bounds=(0.0, max(darkest, 1e-9)), method="bounded"))
    return float(result.x)


def normalised(light_hw: np.ndarray) -> np.ndarray:
    """Return light in any unit as a float32 field of mean 1 (by trapezoids), nowhere below FLOOR; flat if it is dark."""
    weight = np.ones(light_hw.shape)
    for edge in (weight[0], weight[-1], weight[:, 0], weight[:, -1]):
        edge /= 2
    mean = np.average(light_hw, weights=weight)
    if mean <= 0:
        return np.ones(light_hw.shape, np.float32)
    raised = np.maximum(light_hw / mean, 2 * FLOOR)
    return np.maximum(raised / np.average(raised, weights=weight), FLOOR).astype(np.float32)


def _places(shape: tuple[int, int], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return (2, N) rows and columns of block centres and of nodes; the outermost pixels of a site are at -1 and 1."""
    b = block_side(size)
    centres = [((np.arange(count) + 0.5) * b - 0.5) / max(side - 1, 1) * 2 - 1
               for count, side in zip(shape, size, strict=True)]
    nodes = [np.linspace(-1, 1, count) for count in shape]
    centres_2N, nodes_2N = (np.stack(np.meshgrid(*axes, indexing="ij")).reshape(2, -1) for axes in (centres, nodes))
    return centres_2N, nodes_2N


def _design(places: np.ndarray, degree: int) -> np.ndarray:
    """Return (N, D) products of Legendre polynomials of total degree at most `degree`."""
    powers = np.add.outer(np.arange(degree + 1), np.arange(degree + 1)).ravel()
    return np.polynomial.legendre.legvander2d(places[0], places[1], [degree, degree])[:, powers <= degree]


def _fit(y_SN: np.ndarray, places: np.ndarray, degrees: Sequence[int]) -> dict[int, np.ndarray]:
    """Return the coefficients for each degree. Each fit starts from the one before, so that no high degree fits cells."""
    design, fits = _design(places, DEGREES[0]), {}
    fitted_N = np.full(y_SN.shape[1], np.quantile(y_SN, _LOW))
    spread = np.median(np.abs(y_SN - fitted_N)) + 1e-9
    for turn in range(_ROUNDS[0]):  # quantile regression by reweighting, its kink sharpened step by step
        rest_SN = y_SN - fitted_N
        kink = 1e-3 * spread * 10 ** max(0.0, 2 - turn / 4)
        fitted_N = design @ _solve(design, np.where(rest_SN > 0, _LOW, 1 - _LOW) / np.maximum(np.abs(rest_SN), kink), y_SN)
    noise = _noise(y_SN - fitted_N)
    for degree in degrees:
        design = _design(places, degree)
        for _ in range(_ROUNDS[1]):
            weights_SN = np.square(np.clip(1 - np.square((y_SN - fitted_N) / (_TUKEY * noise + 1e-6)), 0, None))
            fits[degree] = _solve(design, weights_SN, y_SN)
            fitted_N = design @ fits[degree]
    return fits


def _noise(rest: np.ndarray) -> float:
    """Return the standard deviation of the background, from the residuals below it: no cell is there."""
    return 1.4826 * float(np.median(-rest[rest <= 0])) if (rest <= 0).any() else 0.0


def _solve(design_ND: np.ndarray, weights_SN: np.ndarray, y_SN: np.ndarray) -> np.ndarray:
    """Solve weighted least squares over all sites at once: all of them share the design."""
    normal = (design_ND * weights_SN.sum(axis=0)[:, None]).T @ design_ND
    return np.linalg.lstsq(normal, design_ND.T @ np.einsum("sn,sn->n", weights_SN, y_SN), rcond=None)[0]


def _choose_degree(y_SN: np.ndarray, places: np.ndarray) -> int:
    """Return the degree with the least noise and misfit.

    Noise: how far two halves of the sites differ.  Misfit: how far both differ, alike, from their highest degree.
    """
    halves = [_fit(part, places, DEGREES) for part in np.array_split(y_SN, 2)]
    ones, others = ({degree: _design(places, degree) @ fit[degree] for degree in DEGREES} for fit in halves)
    most = DEGREES[-1]
    errors = {degree: np.square(ones[degree] - others[degree]).mean()  # four times that of both: caution
              + ((ones[degree] - ones[most]) * (others[degree] - others[most])).mean() for degree in DEGREES}
    return min(DEGREES, key=errors.__getitem__)
