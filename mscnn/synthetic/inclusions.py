"""Mechanisms that give a field's inclusions their shape, and leave its cells as they are.

A field has a few bright inclusions in the channel of vesicles.  All shapes have the same light, at any place and turn.
Without a mechanism an inclusion has any shape.  Statistics of pixels see little of a shape, and much of the nuisance:
wells and compounds differ in the number, light and focus of inclusions, and in all that cells look like.

    python -m pytest tests/synthetic/test_inclusions.py

Legend: n inclusions, s strokes of a shape, H W pixels. Positions are (y, x) in pixels.
"""

import zlib

import numpy as np
from scipy import ndimage

from mscnn.synthetic.grouped_cells import Look

DOSES_UM = (10.0, 3.0)      # of each compound; both are annotated with its mechanism
EFFECTS = (1.0, 0.8)        # share of a compound's strength at these doses
SIDE = 24                   # of the window of a shape
HALF_WIDTH = 1.4            # of a stroke
NUMBER = 5.0                # of inclusions whose middle is in a field of 256 x 256 pixels, or up to 12 pixels outside
LIGHT, VARIED = 220.0, 0.15  # of an inclusion, over its pixels; sd of the logarithm between inclusions
BLUR = 1.0                  # sigma in focus


def _arc(radius: float, end: float) -> list[tuple[float, float]]:
    return [(radius * np.sin(angle), radius * np.cos(angle)) for angle in np.linspace(0, end, 24)]


# By mechanism, lines through points about the middle of the window.
MECHANISMS: dict[str, list[list[tuple[float, float]]]] = {
    "Bar inclusions": [[(-10, 0), (10, 0)]],
    "Cross inclusions": [[(-7, 0), (7, 0)], [(0, -7), (0, 7)]],
    "T inclusions": [[(-8, -6), (-8, 6)], [(-8, 0), (9, 0)]],
    "L inclusions": [[(-9, -4), (7, -4), (7, 7)]],
    "Ring inclusions": [_arc(6.5, 2 * np.pi)],
    "Arc inclusions": [_arc(8, np.pi)],
    "Triangle inclusions": [[(-7, -7), (-7, 7), (6, 0), (-7, -7)]],
    "Square inclusions": [[(-6, -6), (-6, 6), (6, 6), (6, -6), (-6, -6)]],
    "Z inclusions": [[(-8, -6), (-8, 1), (8, -1), (8, 6)]],
    "V inclusions": [[(-8, -6), (8, 0), (-8, 6)]],
    "Y inclusions": [[(9, 0), (0, 0), (-7, -6)], [(0, 0), (-7, 6)]],
    "Double-bar inclusions": [[(-8, -4), (8, -4)], [(-8, 4), (8, 4)]],
}


def strength(compound: str, dose_uM: float, seed: int) -> float:
    """Return the share of inclusions that have the mechanism's shape, under a compound that has a mechanism."""
    full = np.random.default_rng([seed, 0, zlib.crc32(compound.encode())]).uniform(0.8, 1.0)
    return float(full) * EFFECTS[DOSES_UM.index(dose_uM)]


def choose_shapes(mechanism: str, share: float, num: int, rng: np.random.Generator) -> list[str]:
    """Return the mechanisms that n inclusions have their shape of: this one for the share, any of the twelve otherwise."""
    shapes, own = rng.choice([*MECHANISMS], num), rng.random(num) < share
    return [mechanism if is_own else str(shape) for shape, is_own in zip(shapes, own, strict=True)]


def draw_shape(mechanism: str, angle: float) -> np.ndarray:
    """Return a shape (SIDE, SIDE), drawn at twice the resolution and turned about its middle. Its light is 1."""
    sin, cos = np.sin(angle), np.cos(angle)
    lines = [np.array(line) @ np.array([[cos, -sin], [sin, cos]]) for line in MECHANISMS[mechanism]]
    start_s2 = np.concatenate([line[:-1] for line in lines])
    stroke_s2 = np.concatenate([np.diff(line, axis=0) for line in lines])
    places = np.stack(np.meshgrid(*2 * [np.arange(-SIDE, SIDE) / 2 + 0.25], indexing="ij"), 2)[:, :, None] - start_s2
    along = np.clip((places * stroke_s2).sum(3) / (stroke_s2**2).sum(1), 0, 1)
    distance = np.linalg.norm(places - along[..., None] * stroke_s2, axis=3).min(2)
    drawn = (distance < HALF_WIDTH).reshape(SIDE, 2, SIDE, 2).sum((1, 3))
    return drawn / drawn.sum()


def draw_inclusions(mechanism: str, share: float, look: Look, height: int, width: int,
                    rng: np.random.Generator) -> np.ndarray:
    """Draw the inclusions (H, W) float32 of a field; share: of those that have the mechanism's shape."""
    plane = np.zeros((height + 2 * SIDE, width + 2 * SIDE), np.float32)
    box = np.array([height, width]) + SIDE
    num = rng.poisson(NUMBER * look.inclusions * box.prod() / (256 + SIDE) ** 2)
    for shape in choose_shapes(mechanism, share, num, rng):
        top, left = rng.integers(box + 1)
        light = LIGHT * look.inclusion * np.exp(rng.normal(0, VARIED))
        plane[top : top + SIDE, left : left + SIDE] += light * draw_shape(shape, rng.uniform(0, 2 * np.pi))
    return ndimage.gaussian_filter(plane, BLUR * look.focus, truncate=3)[SIDE:-SIDE, SIDE:-SIDE]
