"""Place cells in groups of four, and decide what each cell looks like.

Legend: n cells, g groups. Positions are (y, x) in pixels, lengths in pixels.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

GROUP = 4                                # cells of a chain or a rosette
SPACING = 36.0                           # between neighbours of a group
APART = 1.05                             # least distance of cells of two groups, in spacings
MARGIN = 24.0                            # around the field, where cells are placed too
GROUPS = 9.0                             # in 256 x 256 pixels
TRIES = 250                              # places that are tried for all groups
RINGS, TWINS, VESICLES = 0.25, 0.4, 9.0  # shares of cells, number of each cell
DISC, RING, TWO = 0, 1, 2                # what a nucleus looks like


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a well looks like under any mechanism: the nuisance. Relative to the mean of the screen."""

    density: float = 1.0     # of groups of cells
    size: float = 1.0        # of cells
    vesicles: float = 1.0    # number in each cell
    dna: float = 1.0         # brightness of nuclei
    vesicle: float = 1.0     # brightness of a vesicle
    body: float = 1.0        # brightness of cell bodies
    contrast: float = 1.0    # of fibres
    rings: float = 1.0       # number of nuclei that are rings
    twins: float = 1.0       # number of cells with two nuclei
    focus: float = 1.0       # blur
    inclusions: float = 1.0  # number in each field
    inclusion: float = 1.0   # brightness of an inclusion


SPREAD = Look(density=0.15, size=0.05, vesicles=0.15, dna=0.15, vesicle=0.15, body=0.15, contrast=0.15, rings=0.3,
              twins=0.15, focus=0.12, inclusions=0.2, inclusion=0.2)  # sd of the logarithm between wells, and compounds


class GroupedCells(NamedTuple):
    """The cells of one field."""

    centre: np.ndarray     # (n, 2) px
    axis: np.ndarray       # (n,) angle of the long axis
    size: np.ndarray       # (n,) factor on all lengths within the cell
    light: np.ndarray      # (n, 3) brightness factor: nuclei, vesicles, bodies
    side: np.ndarray       # (n,) end of the long axis where the vesicles are, 1 or -1; the larger nucleus is at -1
    number: np.ndarray     # (n,) of vesicles
    across: np.ndarray     # (n,) bool, fibres run across the long axis, otherwise along it
    nucleus: np.ndarray    # (n,) DISC, RING or TWO


def vary(look: Look, rng: np.random.Generator) -> Look:
    """Return a look with each number multiplied by a log-normal factor, whose spread is SPREAD."""
    return Look(**{f.name: float(getattr(look, f.name) * np.exp(rng.normal(0, getattr(SPREAD, f.name))))
                   for f in fields(Look)})


def place_grouped(look: Look, height: int, width: int, rng: np.random.Generator) -> GroupedCells:
    """Place groups where they keep apart, and draw the parts of each cell."""
    centre = _place_groups(look, height, width, rng)
    n = len(centre)
    chance = rng.random(n)
    nucleus = np.where(chance < RINGS * look.rings, RING, np.where(chance > 1 - TWINS * look.twins, TWO, DISC))
    size = look.size * np.exp(rng.normal(0, 0.05, n))
    light = np.exp(rng.normal(0, 0.15, (n, 3)))
    number = np.clip(rng.poisson(VESICLES * look.vesicles, n), 5, 15)
    return GroupedCells(centre, rng.uniform(0, 2 * np.pi, n), size, light, rng.choice([-1, 1], n), number,
                        rng.random(n) < 0.5, nucleus)


def _place_groups(look: Look, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Return the centres (n, 2) of the cells of chains and rosettes."""
    box = np.array([height, width]) + 2 * MARGIN
    num = max(1, round(GROUPS * look.density * box.prod() / 256**2 / 1.4))
    is_chain = rng.random(num) < 0.5
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
    """Return the places (GROUP, 2) of a bent chain's cells, or of three cells around one, about their mean."""
    angles = rng.uniform(0, 2 * np.pi) + rng.choice([-1, 1]) * np.arange(3) * np.pi / 3 * (1 if is_chain else 2)
    steps = np.stack([np.sin(angles), np.cos(angles)], 1)
    shape = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0) if is_chain else steps])
    return spacing * (shape - shape.mean(0)) + rng.normal(0, 0.04 * spacing, (GROUP, 2))
