"""Draw the cells of one field: nuclei, vesicles, cell bodies with fibres.

    python -m pytest tests/synthetic/test_grouped_render.py

Legend: n cells, w pixels of a cell's window, v vesicles at most, H W pixels; along, across: pixels from the cell's centre
by its long axis.
"""

import numpy as np
from scipy import ndimage

from mscnn.synthetic.grouped_cells import RING, TWO, GroupedCells, Look, place_grouped

DNA, VESICLES, BODY = 0, 1, 2
LONG, SHORT = 22.0, 16.0       # half axes of the cell
WAVE = 8.0                     # between fibres
POLE = 14.0                    # from the cell's centre to the middle of its vesicles
BODY_HALF, NUCLEUS_HALF = 26, 16  # of a cell's window around its centre
BLUR = (1.0, 1.8, 1.0)         # sigma of nuclei, vesicles, bodies in focus
VESICLE_LIGHT = 16.0           # of a vesicle, over its pixels
PAD = 80                       # around the field, where cells reach that are drawn in part


def draw_grouped(look: Look, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a field (3, H, W) float32 of relative fluorescence: nuclei, vesicles, bodies; cells are 0.3 to 1."""
    cells = _seen(place_grouped(look, height, width, rng), height, width)
    image = np.zeros((3, height + 2 * PAD, width + 2 * PAD), np.float32)
    _paste(image[DNA], cells.centre, NUCLEUS_HALF, _nuclei(cells, *_coordinates(cells, NUCLEUS_HALF)))
    _paste(image[BODY], cells.centre, BODY_HALF, _bodies(cells, look.contrast, *_coordinates(cells, BODY_HALF), rng))
    _add_vesicles(image[VESICLES], cells, rng)
    edge = 8
    seen = image[:, PAD - edge : PAD + height + edge, PAD - edge : PAD + width + edge]
    light = (look.dna, look.vesicle, look.body)
    sharp = [ndimage.gaussian_filter(plane * np.float32(bright), sigma * look.focus, truncate=3)
             for plane, bright, sigma in zip(seen, light, BLUR, strict=True)]
    return np.stack(sharp)[:, edge:-edge, edge:-edge]


def _seen(cells: GroupedCells, height: int, width: int) -> GroupedCells:
    """Return the cells that reach into the field."""
    reach = BODY_HALF + 1
    seen = ((cells.centre > -reach) & (cells.centre < np.array([height, width]) + reach)).all(1)
    return GroupedCells(*(values[seen] for values in cells))


def _coordinates(cells: GroupedCells, half: int) -> tuple[np.ndarray, np.ndarray]:
    """Return along and across (n, w, w) float32 of the pixels around each cell, w = 2 half + 1."""
    offset = np.arange(-half, half + 1) - (cells.centre % 1)[:, :, None]
    y, x = (offset / cells.size[:, None, None]).astype(np.float32).transpose(1, 0, 2)
    sin, cos = (f(cells.axis).astype(np.float32)[:, None, None] for f in (np.sin, np.cos))
    y, x = y[:, :, None], x[:, None, :]
    return x * cos + y * sin, y * cos - x * sin


def _paste(plane: np.ndarray, centre: np.ndarray, half: int, windows: np.ndarray) -> None:
    """Add the windows (n, w, w) to the padded plane."""
    for (top, left), window in zip(np.floor(centre).astype(int) + PAD - half, windows, strict=True):
        plane[top : top + 2 * half + 1, left : left + 2 * half + 1] += window


def _nuclei(cells: GroupedCells, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return the nuclei (n, w, w), of equal light whatever their kind."""
    drawn = np.clip(7.9 - np.hypot(along, across), 0, 1)
    for kind, draw in ((RING, _ring), (TWO, _two)):
        of_kind = cells.nucleus == kind
        drawn[of_kind] = draw(along[of_kind], across[of_kind])
    return drawn * cells.light[:, 0, None, None].astype(np.float32)


def _ring(along, across) -> np.ndarray:
    return np.float32(2.0) * np.exp(-(((np.hypot(along, across) - 5.3) / 1.5) ** 2))


def _two(along, across) -> np.ndarray:
    return np.clip(6.9 - np.hypot(along + 6.5, across), 0, 1) + np.clip(4.3 - np.hypot(along - 7.5, across), 0, 1)


def _bodies(cells: GroupedCells, contrast: float, along: np.ndarray, across: np.ndarray,
            rng: np.random.Generator) -> np.ndarray:
    """Return the cell bodies (n, w, w): ellipses with fibres."""
    reach = np.sqrt((along / np.float32(LONG)) ** 2 + (across / np.float32(SHORT)) ** 2)
    inside = np.clip((1 - reach) * 8 + 0.5, 0, 1)
    phase = np.where(cells.across[:, None, None], along, across) * np.float32(2 * np.pi / WAVE)
    fibres = np.cos(phase + rng.uniform(0, 2 * np.pi, (len(phase), 1, 1)).astype(np.float32))
    return cells.light[:, 2, None, None].astype(np.float32) * inside * (
        np.float32(0.45) + np.float32(0.35 * min(contrast, 1.28)) * fibres)


def _add_vesicles(plane: np.ndarray, cells: GroupedCells, rng: np.random.Generator) -> None:
    """Add the vesicles of all cells to the padded plane as points, in a clump at one end of each cell."""
    n, most = len(cells.axis), int(cells.number.max(initial=1))
    kept = np.arange(most) < cells.number[:, None]
    angle, far = rng.uniform(0, 2 * np.pi, (n, most)), 9.2 * np.sqrt(rng.random((n, most)))
    along = (far * np.cos(angle) + POLE * cells.side[:, None]) * cells.size[:, None]
    across = far * np.sin(angle) * cells.size[:, None]
    sin, cos = np.sin(cells.axis)[:, None], np.cos(cells.axis)[:, None]
    y = cells.centre[:, :1] + along * sin + across * cos + PAD
    x = cells.centre[:, 1:] + along * cos - across * sin + PAD
    light = VESICLE_LIGHT * cells.light[:, 1:2] * np.exp(rng.normal(0, 0.25, (n, most)))
    y, x, light = (values[kept] for values in (y, x, light))
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    down, right = y - top, x - left
    for dy, dx, share in ((0, 0, (1 - down) * (1 - right)), (0, 1, (1 - down) * right), (1, 0, down * (1 - right)),
                          (1, 1, down * right)):
        np.add.at(plane, (top + dy, left + dx), light * share)
