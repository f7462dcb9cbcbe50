"""Place cells in groups of four, and decide how the parts of each cell are arranged.

Legend: n cells, g groups. Positions are (y, x) in pixels, lengths in pixels.
"""

from typing import NamedTuple

import numpy as np

from mscnn.synthetic.arrangements import Arrangement, Look

GROUP = 4                                # cells of a chain or a rosette
SPACING = 36.0                           # between neighbours of a group
APART = 1.05                             # least distance of cells of two groups, in spacings
MARGIN = 24.0                            # around the field, where cells are placed too
GROUPS = 9.0                             # in 256 x 256 pixels
TRIES = 250                              # places that are tried for all groups
RINGS, TWINS, VESICLES = 0.25, 0.4, 9.0  # shares of cells, number of each cell
CLUMP, ROW, CIRCLE = 0, 1, 2             # how vesicles are arranged
ACROSS, ALONG, TARGET, CHEVRON = 0, 1, 2, 3          # how fibres run
DISC, RING, TWO, BAR, CROSS = 0, 1, 2, 3, 4          # what a nucleus looks like


class ArrangedCells(NamedTuple):
    """The cells of one field."""

    centre: np.ndarray     # (n, 2) px
    axis: np.ndarray       # (n,) angle of the long axis
    size: np.ndarray       # (n,) factor on all lengths within the cell
    light: np.ndarray      # (n, 3) brightness factor: nuclei, vesicles, bodies
    vesicles: np.ndarray   # (n,) CLUMP, ROW or CIRCLE
    side: np.ndarray       # (n,) end of the long axis where the vesicles are, 1 or -1; the larger nucleus is at -1
    number: np.ndarray     # (n,) of vesicles
    fibres: np.ndarray     # (n,) ACROSS, ALONG, TARGET or CHEVRON
    nucleus: np.ndarray    # (n,) DISC, RING, TWO, BAR or CROSS


def place_arranged(a: Arrangement, look: Look, height: int, width: int, rng: np.random.Generator) -> ArrangedCells:
    """Place groups where they keep apart, and draw the parts of each cell."""
    centre = _place_groups(a.chains, look, height, width, rng)
    n = len(centre)
    chance = rng.random((4, n))
    vesicles = _choose(chance[0], (CLUMP, ROW, CIRCLE), (a.rows, a.circles))
    straight = np.where(rng.random(n) < (1 + a.across) / 2, ACROSS, ALONG)
    fibres = _choose(chance[1], (straight, TARGET, CHEVRON), (a.targets, a.chevrons))
    plain = np.where(chance[2] < RINGS * look.rings, RING, np.where(chance[2] > 1 - TWINS * look.twins, TWO, DISC))
    nucleus = _choose(chance[3], (plain, BAR, CROSS), (a.bars, a.crosses))
    by_nucleus = np.where(rng.random(n) < (1 + a.larger_nucleus) / 2, -1, 1)
    side = np.where(nucleus == TWO, by_nucleus, rng.choice([-1, 1], n))
    number = np.clip(rng.poisson(VESICLES * look.vesicles, n), 5, 15)
    size = look.size * np.exp(rng.normal(0, 0.05, n))
    light = np.exp(rng.normal(0, 0.15, (n, 3)))
    return ArrangedCells(centre, rng.uniform(0, 2 * np.pi, n), size, light, vesicles, side, number, fibres, nucleus)


def _choose(chance_n: np.ndarray, kinds: tuple, shares: tuple[float, float]) -> np.ndarray:
    """Return the second kind for the first share of the cells, the third kind for the second share, otherwise the first."""
    return np.where(chance_n < shares[0], kinds[1], np.where(chance_n > 1 - shares[1], kinds[2], kinds[0]))


def _place_groups(chains: float, look: Look, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Return the centres (n, 2) of the cells of chains and rosettes."""
    box = np.array([height, width]) + 2 * MARGIN
    num = max(1, round(GROUPS * look.density * box.prod() / 256**2 / 1.4))
    is_chain = rng.random(num) < (1 + chains) / 2
    spacing = SPACING * look.size
    kept = np.full((GROUP * num, 2), np.inf)
    end = 0
    for place in rng.random((TRIES, 2)) * box - MARGIN:
        group = place + _group(bool(is_chain[end // GROUP]), spacing, rng)
        gaps = group[:, None] - kept[None, :end]
        if not end or (gaps**2).sum(2).min() > (APART * spacing) ** 2:
            kept[end : end + GROUP] = group
            end += GROUP
        if end == len(kept):
            break
    return kept[:end]


def _group(is_chain: bool, spacing: float, rng: np.random.Generator) -> np.ndarray:
    """Return the places (GROUP, 2) of a bent chain's cells, or of three cells around one, about their mean.

    Both have three pairs of cells at the spacing, and all other pairs at 1.7 to 2 spacings.
    """
    angles = rng.uniform(0, 2 * np.pi) + rng.choice([-1, 1]) * np.arange(3) * np.pi / 3 * (1 if is_chain else 2)
    steps = np.stack([np.sin(angles), np.cos(angles)], 1)
    shape = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0) if is_chain else steps])
    return spacing * (shape - shape.mean(0)) + rng.normal(0, 0.04 * spacing, (GROUP, 2))
