"""Positions and outlines of the cells of a drawn field.

    python -m pytest tests/synthetic/test_plates.py -k field

Legend: n cells, K outline angles, H W pixels. Positions are (y, x) in pixels; an outline is the cell's reach in pixels
at K angles around its centre; nd is the diameter of an untreated nucleus in pixels, p the phenotype.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mscnn.synthetic.phenotypes import Phenotype

K = 256
ANGLES = np.arange(K, dtype=np.float32) * np.float32(2 * np.pi / K) - np.float32(np.pi)


class Cells(NamedTuple):
    """The cells of one field."""

    centre: np.ndarray      # (n, 2) px
    size: np.ndarray        # (n,) factor on nucleus and cell radius
    axis: np.ndarray        # (n,) angle of the long axis
    round: np.ndarray       # (n,) bool, rounded up
    monoaster: np.ndarray   # (n,) bool, rounded with a ring of DNA
    light: np.ndarray       # (n, 3) brightness factor per channel


def place_cells(p: Phenotype, height: int, width: int, nd: float, rng: np.random.Generator) -> Cells:
    """Scatter cells over a field of H x W pixels, in islands, nowhere closer than they can be."""
    margin = 1.5 * nd
    box = np.array([height, width]) + 2 * margin
    num = max(1, int(rng.poisson(p.count / 1000 * box[0] * box[1] / nd**2)))
    num_round = int(rng.binomial(num, p.rounded))
    coarse = np.maximum((box / (1.2 * nd)).astype(int), 2)
    islands = ndimage.gaussian_filter(rng.standard_normal(coarse), 1.6, mode="wrap")
    odds = np.exp(2 * p.clustering * islands / islands.std()).ravel()
    tries = rng.choice(odds.size, 8 * (num - num_round) + 1, p=odds / odds.sum())
    tries = (np.stack(np.divmod(tries, coarse[1]), 1) + rng.random((tries.size, 2))) * (box / coarse) - margin
    flat = _spread(tries, np.empty((0, 2)), num - num_round, 1.08 * nd)
    # Rounded cells hang in clumps on the edges of the islands and on one another.
    mother = flat[rng.integers(len(flat), size=6 * num_round)] if len(flat) else tries[:1].repeat(6 * num_round, 0)
    angle, reach = rng.uniform(0, 2 * np.pi, 6 * num_round), rng.uniform(0.9, 2.4, 6 * num_round) * nd
    rounded = _spread(mother + reach[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1), flat, num_round, 0.92 * nd)
    centre = np.concatenate([flat, rounded])
    n, is_round = len(centre), np.arange(len(centre)) >= len(flat)
    return Cells(
        centre, np.exp(rng.normal(0, p.nucleus_spread, n)), rng.uniform(0, np.pi, n), is_round,
        is_round & (rng.random(n) < p.monoaster), np.exp(rng.normal(0, 0.2, (n, 3))).astype(np.float32))


def _spread(tries: np.ndarray, taken: np.ndarray, num: int, gap: float) -> np.ndarray:
    """Return the first `num` of the (m, 2) tries that keep `gap` px from one another and from those taken."""
    kept = np.full((len(taken) + num, 2), np.inf)
    kept[: len(taken)] = taken
    end = start = len(taken)
    for y, x in tries:
        if end == len(kept):
            break
        if end == 0 or ((kept[:end, 0] - y) ** 2 + (kept[:end, 1] - x) ** 2).min() > gap * gap:
            kept[end] = y, x
            end += 1
    return kept[start:end]


def outline_cells(p: Phenotype, cells: Cells, nd, rng) -> np.ndarray:
    """Return the reach (n, K) float32 of each cell: an ellipse with pointed corners, cut where a neighbour is nearer."""
    n = len(cells.size)
    radius = np.where(cells.round, 0.6, p.cell_radius) * cells.size * nd
    aspect = np.maximum(1, 1 + (p.cell_aspect - 1) * rng.lognormal(0, 0.4, n))[:, None]
    turned = ANGLES - cells.axis[:, None]
    reach = radius[:, None] / np.sqrt(np.cos(turned) ** 2 / aspect + np.sin(turned) ** 2 * aspect)
    waves = np.cos(np.array([2, 3, 4])[:, None] * ANGLES + rng.uniform(0, 6.3, (n, 3, 1)))
    reach *= 1 + np.einsum("nw,nwk->nk", rng.normal(0, 0.05, (n, 3)), waves)
    corners = 8
    at = (np.arange(corners) + rng.uniform(-0.5, 0.5, (n, corners))) * (2 * np.pi / corners) + cells.axis[:, None]
    slope = rng.uniform(0.1, 0.3, (n, 1, corners)).astype(np.float32)
    tall = np.where(cells.round[:, None], 0, p.spikiness * rng.gamma(0.8, 1 / 0.8, (n, corners)))
    tall[:, [0, corners // 2]] += np.where(cells.round[:, None], 0, 0.3 * (aspect - 1))   # tips of a spindle
    away = np.abs((ANGLES[:, None] - at[:, None, :].astype(np.float32) + np.pi) % (2 * np.pi) - np.pi)
    reach *= 1 - 0.5 * p.spikiness + np.einsum("nc,nkc->nk", tall, np.exp(-away / slope))
    reach = np.minimum(reach, _borders(cells, radius))
    return ndimage.gaussian_filter1d(reach, 2.0, axis=1, mode="wrap").astype(np.float32)


def _borders(cells: Cells, radius: np.ndarray) -> np.ndarray:
    """Return the distance (n, K) to the border with the nearest flat neighbour, which divides their gap as the radii."""
    gap = cells.centre[None] - cells.centre[:, None]
    distance = np.hypot(gap[..., 0], gap[..., 1])
    np.fill_diagonal(distance, np.inf)
    near = np.argsort(distance, 1)[:, : min(9, len(radius) - 1)]
    border = radius[:, None] / (radius[:, None] + radius[near]) * np.take_along_axis(distance, near, 1)
    toward = np.take_along_axis(np.arctan2(gap[..., 0], gap[..., 1]), near, 1)
    ahead = np.cos(ANGLES - toward[..., None].astype(np.float32))
    cut = np.where((ahead > 0.05) & ~cells.round[near][..., None], border[..., None] / np.maximum(ahead, 0.05), np.inf)
    return cut.min(1, initial=np.inf)
