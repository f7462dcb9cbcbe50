"""Draw one field of arranged cells: nuclei, vesicles, cell bodies with fibres.

Legend: n cells, w pixels of a cell's window, v vesicles at most, H W pixels; along, across: pixels from the cell's centre
by its long axis.
"""

import numpy as np
from scipy import ndimage

from mscnn.synthetic.arranged_cells import (
    ACROSS,
    BAR,
    CHEVRON,
    CIRCLE,
    CROSS,
    RING,
    ROW,
    TARGET,
    TWO,
    ArrangedCells,
    place_arranged,
)
from mscnn.synthetic.arrangements import Arrangement, Look

DNA, VESICLES, BODY = 0, 1, 2
LONG, SHORT = 22.0, 16.0       # half axes of the cell
WAVE = 8.0                     # between fibres, whichever way they run
POLE = 14.0                    # from the cell's centre to the middle of its vesicles
BODY_HALF, NUCLEUS_HALF = 26, 16  # of a cell's window around its centre
BLUR = (1.0, 1.8, 1.0)         # sigma of nuclei, vesicles, bodies in focus
VESICLE_LIGHT = 16.0           # of a vesicle, over its pixels
PAD = 80                       # around the field, where cells reach that are drawn in part


def draw_arranged(a: Arrangement, look: Look, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a field (3, H, W) float32 of relative fluorescence: nuclei, vesicles, bodies; cells are 0.3 to 1."""
    cells = _seen(place_arranged(a, look, height, width, rng), height, width)
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


def _seen(cells: ArrangedCells, height: int, width: int) -> ArrangedCells:
    """Return the cells that reach into the field."""
    reach = BODY_HALF + 1
    seen = ((cells.centre > -reach) & (cells.centre < np.array([height, width]) + reach)).all(1)
    return ArrangedCells(*(values[seen] for values in cells))


def _coordinates(cells: ArrangedCells, half: int) -> tuple[np.ndarray, np.ndarray]:
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


def _nuclei(cells: ArrangedCells, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return the nuclei (n, w, w), of equal light whatever their kind."""
    kind = cells.nucleus[:, None, None]
    drawn = np.clip(7.9 - np.hypot(along, across), 0, 1)
    for this, parts in ((RING, [_ring]), (TWO, [_large, _small]), (BAR, [_bar]), (CROSS, [_cross])):
        of_kind = kind[:, 0, 0] == this
        drawn[of_kind] = sum(part(along[of_kind], across[of_kind]) for part in parts)
    return drawn * cells.light[:, 0, None, None].astype(np.float32)


def _ring(along, across) -> np.ndarray:
    return np.float32(2.0) * np.exp(-(((np.hypot(along, across) - 5.3) / 1.5) ** 2))


def _large(along, across) -> np.ndarray:
    return np.clip(6.9 - np.hypot(along + 6.5, across), 0, 1)


def _small(along, across) -> np.ndarray:
    return np.clip(4.3 - np.hypot(along - 7.5, across), 0, 1)


def _bar(along, across) -> np.ndarray:
    return np.clip(5.2 - np.abs(along), 0, 1) * np.clip(9.7 - np.abs(across), 0, 1)


def _cross(along, across) -> np.ndarray:
    one = np.clip(3.1 - np.abs(along), 0, 1) * np.clip(10.5 - np.abs(across), 0, 1)
    other = np.clip(3.1 - np.abs(across), 0, 1) * np.clip(10.5 - np.abs(along), 0, 1)
    return np.maximum(one, other)


def _bodies(cells: ArrangedCells, contrast: float, along: np.ndarray, across: np.ndarray,
            rng: np.random.Generator) -> np.ndarray:
    """Return the cell bodies (n, w, w): ellipses with fibres."""
    reach = np.sqrt((along / np.float32(LONG)) ** 2 + (across / np.float32(SHORT)) ** 2)
    inside = np.clip((1 - reach) * 8 + 0.5, 0, 1)
    phase = np.where((cells.fibres == ACROSS)[:, None, None], along, across) * np.float32(2 * np.pi / WAVE)
    target, chevron = cells.fibres == TARGET, cells.fibres == CHEVRON
    phase[target] = reach[target] * np.float32(2 * np.pi * (LONG + SHORT) / 2 / WAVE)
    phase[chevron] = (across[chevron] + np.abs(along[chevron])) * np.float32(2**0.5 * np.pi / WAVE)
    fibres = np.cos(phase + rng.uniform(0, 2 * np.pi, (len(phase), 1, 1)).astype(np.float32))
    return cells.light[:, 2, None, None].astype(np.float32) * inside * (
        np.float32(0.45) + np.float32(0.35 * min(contrast, 1.28)) * fibres)


def _add_vesicles(plane: np.ndarray, cells: ArrangedCells, rng: np.random.Generator) -> None:
    """Add the vesicles of all cells to the padded plane as points.

    Clumps, rows and circles have the same spread about their middle.
    """
    n, most = len(cells.axis), int(cells.number.max(initial=1))
    order, number = np.arange(most), cells.number[:, None]
    angle, far = rng.uniform(0, 2 * np.pi, (n, most)), 9.2 * np.sqrt(rng.random((n, most)))
    along, across = far * np.cos(angle), far * np.sin(angle)
    row, circle = (cells.vesicles == ROW)[:, None], (cells.vesicles == CIRCLE)[:, None]
    turn = rng.uniform(0, 2 * np.pi, (n, 1)) + 2 * np.pi * order / number
    along = np.where(row, rng.normal(0, 0.4, (n, most)), np.where(circle, 6.5 * np.cos(turn), along))
    across = np.where(row, (order - (number - 1) / 2) * 22.5 / number, np.where(circle, 6.5 * np.sin(turn), across))
    along = (along + POLE * cells.side[:, None]) * cells.size[:, None]
    across = across * cells.size[:, None]
    sin, cos = np.sin(cells.axis)[:, None], np.cos(cells.axis)[:, None]
    y = cells.centre[:, :1] + along * sin + across * cos + PAD
    x = cells.centre[:, 1:] + along * cos - across * sin + PAD
    light = VESICLE_LIGHT * cells.light[:, 1:2] * np.exp(rng.normal(0, 0.25, (n, most)))
    y, x, light = (values[order < number] for values in (y, x, light))
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    down, right = y - top, x - left
    for dy, dx, share in ((0, 0, (1 - down) * (1 - right)), (0, 1, (1 - down) * right), (1, 0, down * (1 - right)),
                          (1, 1, down * right)):
        np.add.at(plane, (top + dy, left + dx), light * share)
