"""Draw one field of fluorescent cells from a Phenotype.

    python -m pytest tests/synthetic/test_plates.py -k field

Legend as in cells.py: n cells, K outline angles, H W pixels, nd diameter of an untreated nucleus in pixels, p phenotype.
"""

import numpy as np
from scipy import ndimage

from mscnn.synthetic.cells import ANGLES, Cells, K, outline_cells, place_cells
from mscnn.synthetic.phenotypes import Phenotype

DNA, TUBULIN, ACTIN = 0, 1, 2


def render_field(phenotype: Phenotype, height: int, width: int, nucleus_px: float,
                 rng: np.random.Generator) -> np.ndarray:
    """Draw one field.

    nucleus_px: diameter of an untreated nucleus, 36 in a 1024 x 1280 field at 20x.
    Returns (3, H, W) float32 relative fluorescence, DNA, tubulin, actin: 0 is background, most cells 0.2 .. 1.
    """
    p, nd = phenotype, nucleus_px
    cells = place_cells(p, height, width, nd, rng)
    outlines = outline_cells(p, cells, nd, rng)
    reach = outlines.max(1, initial=0)[:, None] + 2
    seen = ((cells.centre > -reach) & (cells.centre < np.array([height, width]) + reach)).all(1)
    flat, balls = (Cells(*(values[seen & kind] for values in cells)) for kind in (~cells.round, cells.round))
    outlines = outlines[seen & ~cells.round]
    image = np.zeros((3, height, width), np.float32)
    grain = _grain(height, width, nd, rng)
    for i in range(len(flat.size)):
        _draw_body(image, p, flat, i, outlines[i], grain, nd)
    _draw_microtubules(image[TUBULIN], p, flat, outlines, nd, rng)
    _draw_actin(image[ACTIN], p, flat, outlines, nd, rng)
    nuclei = _draw_nuclei(image[DNA], p, flat, grain, nd, rng)
    image[TUBULIN] *= 1 - 0.35 * nuclei
    image[ACTIN] *= 1 - 0.15 * nuclei
    for i in range(len(balls.size)):
        _draw_rounded(image, p, balls, i, grain, nd, rng)
    return _focus(image, nd)


# ---- drawing


def _window(centre, reach, shape):
    """Return slices of the square of half-side `reach` px around a point, cut to the field, and polar coordinates there."""
    lo, hi = np.clip([np.floor(centre - reach), np.ceil(centre + reach) + 1], 0, shape).astype(int)
    y = np.arange(lo[0], hi[0], dtype=np.float32)[:, None] - np.float32(centre[0])
    x = np.arange(lo[1], hi[1], dtype=np.float32) - np.float32(centre[1])
    return (slice(lo[0], hi[0]), slice(lo[1], hi[1])), np.sqrt(y * y + x * x), np.arctan2(y, x)


def _bin(theta):
    return ((theta + np.float32(np.pi)) * np.float32(K / (2 * np.pi))).astype(np.intp) % K


def _draw_body(image, p: Phenotype, cells: Cells, i, outline, grain, nd):
    at, rho, theta = _window(cells.centre[i], outline.max() + 2, image.shape[1:])
    edge = outline[_bin(theta)] - rho
    inside = np.clip(edge / max(1.0, 0.05 * nd) + 0.5, 0, 1)
    thick = inside * np.clip(0.25 + edge / np.float32(0.6 * nd), 0, 1)
    ring = np.exp(-((rho / np.float32(0.5 * p.nucleus_radius * cells.size[i] * nd) - 2.2) ** 2))
    rough = 1 + 0.5 * grain[at]
    diffuse = p.tubulin_intensity * cells.light[i, TUBULIN]
    image[TUBULIN][at] += diffuse * thick * ((1.15 - p.tubulin_fibres) * rough + p.tubulin_centre * ring)
    rim = np.exp(-((edge / np.float32(0.075 * nd) - 0.7) ** 2))
    fill = p.actin_intensity * cells.light[i, ACTIN]
    image[ACTIN][at] += fill * inside * (0.65 * rough * (0.6 + 0.4 * thick) + 0.2 * ring + p.actin_rim * rim)
    image[DNA][at] += 0.012 * thick


def _draw_microtubules(tubulin, p: Phenotype, cells: Cells, outlines, nd, rng):
    """Draw wavy filaments from the surroundings of the nucleus outward, for all cells at once."""
    bundled = p.tubulin_bundling
    shape = (len(outlines), int(np.clip(4.5 * nd, 60, 150) * (1 - 0.86 * bundled)))
    start = rng.uniform(-np.pi, np.pi, shape)
    along = np.abs(np.cos(start - cells.axis[:, None]))        # straighter toward the tips of a long cell
    course = start + rng.normal(0, 1.4 - 0.5 * bundled, shape) * (1.2 - 0.5 * along)
    bend = rng.normal(0, 1.6 - 0.8 * bundled, shape) / nd
    s = np.arange(int((1.5 + 0.5 * bundled) * nd), dtype=np.float32)
    wiggle = 0.25 * np.sin(s * (rng.uniform(2, 5, shape) / nd)[..., None] + 7 * start[..., None])
    heading = (course[..., None] + bend[..., None] * s + wiggle).astype(np.float32)
    first = (rng.gamma(2.5, 0.2, shape) * nd)[..., None]
    y = first * np.sin(start)[..., None] + np.cumsum(np.sin(heading), 2)
    x = first * np.cos(start)[..., None] + np.cumsum(np.cos(heading), 2)
    light = 0.9 * p.tubulin_intensity * p.tubulin_fibres * cells.light[:, TUBULIN]
    weight = rng.lognormal(0, 0.35 + 0.2 * bundled, shape)
    _add_points(tubulin, cells, outlines, y, x, weight, light, max((0.012 + 0.04 * bundled) * nd, 0.5))


def _draw_actin(actin, p: Phenotype, cells: Cells, outlines, nd, rng):
    """Draw stress fibres, nearly parallel to the long axis, and clots of actin, for all cells at once."""
    light = p.actin_intensity * cells.light[:, ACTIN]
    shape = (len(outlines), 14)
    axis = (cells.axis[:, None] + rng.normal(0, 0.15, shape))[..., None]
    along = np.linspace(-1.6 * nd, 1.6 * nd, int(4 * nd)) * rng.uniform(0.3, 1, shape)[..., None]
    along = along + rng.normal(0, 0.4 * nd, shape)[..., None]
    across = rng.normal(0, 0.7 * nd, shape)[..., None]
    y, x = along * np.sin(axis) + across * np.cos(axis), along * np.cos(axis) - across * np.sin(axis)
    weight = rng.lognormal(0, 0.4, shape)
    _add_points(actin, cells, outlines, y, x, weight, 0.7 * p.actin_fibres * light, max(0.02 * nd, 0.35))
    angle = rng.uniform(-np.pi, np.pi, shape)
    out = np.sqrt(rng.random(shape)) * np.take_along_axis(outlines, _bin(angle), 1)
    y, x = (out * np.sin(angle))[..., None], (out * np.cos(angle))[..., None]
    weight = rng.lognormal(0, 0.7, shape)
    _add_points(actin, cells, outlines, y, x, weight, p.actin_puncta * light, max(0.06 * nd, 0.35))


def _add_points(channel, cells: Cells, outlines, y, x, weight, light, blur):
    """Spread the points inside their own cell over the pixels of one channel, then blur by `blur` px.

    y, x: (n, m, s) px from the cell's centre; weight: (n, m), relative; light: (n,) mean over the cell's area.
    """
    cell = np.arange(len(outlines))[:, None, None]
    inside = np.hypot(y, x) < outlines[cell, _bin(np.arctan2(y, x))] - 0.3
    total = light * np.pi * (outlines**2).mean(1)
    weight = weight * (total / np.maximum((weight * inside.sum(2)).sum(1), 1e-6))[:, None]
    w = np.broadcast_to(weight[..., None], inside.shape)[inside]
    y, x = (y + cells.centre[cell, 0])[inside] + 1, (x + cells.centre[cell, 1])[inside] + 1   # one pixel of border
    height, width = channel.shape[0] + 2, channel.shape[1] + 2
    kept = (y >= 0) & (y < height - 1) & (x >= 0) & (x < width - 1)
    y, x, w = y[kept], x[kept], w[kept]
    iy, ix = y.astype(np.intp), x.astype(np.intp)
    fy, fx = y - iy, x - ix
    canvas = np.zeros(height * width)
    for dy, dx, part in ((0, 0, (1 - fy) * (1 - fx)), (0, 1, (1 - fy) * fx), (1, 0, fy * (1 - fx)), (1, 1, fy * fx)):
        canvas += np.bincount((iy + dy) * width + ix + dx, w * part, canvas.size)
    canvas = canvas.reshape(height, width)[1:-1, 1:-1].astype(np.float32)
    channel += ndimage.gaussian_filter(canvas, blur, truncate=3)


def _draw_nuclei(dna, p: Phenotype, cells: Cells, grain, nd, rng) -> np.ndarray:
    """Add the nuclei of all cells to the DNA channel; returns their (H, W) float32 footprint in 0..1."""
    footprint = np.zeros_like(dna)
    for i, radius in enumerate(p.nucleus_radius * cells.size * nd):
        axis = cells.axis[i] + rng.normal(0, 0.3)
        for offset, angle, r in _nuclear_parts(p, radius, axis, rng):
            centre = cells.centre[i] + offset * np.array([np.sin(angle), np.cos(angle)])
            _draw_nucleus(dna, footprint, p, centre, r, axis, p.dna_intensity * cells.light[i, DNA], grain, nd, rng)
    return footprint


def _nuclear_parts(p: Phenotype, radius, axis, rng) -> list[tuple[float, float, float]]:
    """Draw (distance from the cell's centre, angle, radius) of the lobes, twins and micronuclei of one cell, in px."""
    kind = rng.random()
    if kind < p.fragmented:
        num = int(rng.integers(3, 7))
        angles = 2 * np.pi * (np.arange(num) + rng.uniform(0, 0.6, num)) / num
        parts = [(radius * rng.uniform(0.45, 0.8), angle, radius * rng.uniform(0.32, 0.58)) for angle in angles]
    elif kind < p.fragmented + p.binucleate:
        parts = [(0.78 * radius, axis + side * np.pi / 2, 0.8 * radius) for side in (-1, 1)]
    else:
        parts = [(rng.uniform(0, 0.3) * radius, rng.uniform(-np.pi, np.pi), radius)]
    return parts + [(radius * rng.uniform(1.15, 1.5), rng.uniform(-np.pi, np.pi), radius * rng.uniform(0.15, 0.3))
                    for _ in range(rng.poisson(p.micronuclei))]


def _draw_nucleus(dna, footprint, p: Phenotype, centre, radius, axis, light, grain, nd, rng):
    aspect = 1 + (p.nucleus_aspect - 1) * rng.uniform(0.3, 1.7)
    wobble = rng.normal(0, p.nucleus_rough, 4) @ np.cos(np.outer([2, 3, 4, 5], ANGLES) + rng.uniform(0, 6.3, (4, 1)))
    outline = radius / np.sqrt(np.cos(ANGLES - axis) ** 2 / aspect + np.sin(ANGLES - axis) ** 2 * aspect) * (1 + wobble)
    at, rho, theta = _window(centre, outline.max() + 2, dna.shape)
    edge = outline.astype(np.float32)[_bin(theta)] - rho
    inside = np.clip(edge / max(1.0, 0.07 * nd) + 0.5, 0, 1)
    value = inside * (0.75 + 0.25 * np.clip(edge / np.float32(0.35 * nd), 0, 1)) * (1 + p.chromatin * 2 * grain[at])
    if radius > 0.3 * nd:
        for _ in range(rng.integers(1, 4)):
            angle, out = rng.uniform(-np.pi, np.pi), rng.uniform(0.1, 0.55) * radius
            far2 = rho**2 + np.float32(out * out) - 2 * np.float32(out) * rho * np.cos(theta - np.float32(angle))
            value *= 1 - p.nucleoli * np.exp(-far2 / np.float32(2 * (0.13 * radius) ** 2))
    dna[at] = np.maximum(dna[at], light * value)
    footprint[at] = np.maximum(footprint[at], inside)


def _draw_rounded(image, p: Phenotype, cells: Cells, i, grain, nd, rng):
    """Draw a round cell above the layer, bright and soft in all channels: metaphase bar, or ring and single aster."""
    radius = 0.58 * nd * cells.size[i]
    at, rho, theta = _window(cells.centre[i], radius * 1.5, image.shape[1:])
    ball = np.clip((radius - rho) / (rng.uniform(0.2, 0.5) * nd) + 0.5, 0, 1)
    spin = theta - cells.axis[i]
    if cells.monoaster[i]:
        dna = np.exp(-(((rho - rng.uniform(0.26, 0.36) * nd) / (0.11 * nd)) ** 2)) * (1 + 0.7 * grain[at])
        spokes = np.exp(-rho / (0.17 * nd)) * (1.3 + 0.3 * np.cos(9 * spin))
    else:
        u, v = rho * np.cos(spin), rho * np.sin(spin)
        dna = 1.5 * np.exp(-((u / (0.13 * nd)) ** 2) - (v / (0.38 * nd)) ** 2)
        spokes = 1.3 * np.exp(-(((np.abs(u) - 0.22 * nd) / (0.16 * nd)) ** 2) - (v / (0.2 * nd)) ** 2)
    rim = np.exp(-(((rho - 0.85 * radius) / (0.12 * nd)) ** 2))
    light = cells.light[i] * (p.dna_intensity, p.tubulin_intensity, p.actin_intensity)
    image[DNA][at] += light[DNA] * (1.6 * dna + 0.25 * ball)
    image[TUBULIN][at] += light[TUBULIN] * (1.6 * ball + 1.8 * spokes)
    image[ACTIN][at] += light[ACTIN] * (1.5 * ball + 1.0 * rim)


# ---- texture and optics


def _grain(height, width, nd, rng) -> np.ndarray:
    """Draw cloudy noise (H, W) float32, sd 0.5, with structures of about a tenth of a nucleus."""
    noise = ndimage.gaussian_filter(rng.standard_normal((height, width), np.float32), max(0.055 * nd, 0.5), truncate=3)
    return np.clip(noise / noise.std(), -2.5, 2.5) * np.float32(0.5)


def _focus(image: np.ndarray, nd: float) -> np.ndarray:
    """Blur as a microscope does: nine tenths of the light sharp, the rest spread wide, from above and below the focus."""
    out = np.empty_like(image)
    for channel, plane in enumerate(image):
        box = max(3, int(1.4 * nd))
        wide = ndimage.uniform_filter(ndimage.uniform_filter(plane, box, mode="nearest"), box, mode="nearest")
        out[channel] = 0.9 * ndimage.gaussian_filter(plane, max(0.028 * nd, 0.3), truncate=3) + 0.1 * wide
    return out
