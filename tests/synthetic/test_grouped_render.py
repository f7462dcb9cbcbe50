"""Cells in groups: where they are, and what each part looks like.  pytest tests/synthetic/test_grouped_render.py"""

import numpy as np
import pytest
from scipy import ndimage

from mscnn.synthetic import grouped_cells
from mscnn.synthetic.grouped_cells import GROUP, SPACING, GroupedCells, Look, place_grouped
from mscnn.synthetic.grouped_render import BODY, DNA, VESICLES, draw_grouped


def place(*, fields=12):
    """The cells of several fields of 256 x 256."""
    return [place_grouped(Look(), 256, 256, np.random.default_rng([seed])) for seed in range(fields)]


def one_cell(monkeypatch, **parts):
    """A field of 64 x 64 with one cell at its centre, long axis along x, in the average light."""
    cell = {"centre": [[32.0, 32.0]], "axis": [0.0], "size": [1.0], "light": [[1.0, 1.0, 1.0]], "side": [1], "number": [9],
            "across": [True], "nucleus": [0]} | {name: [value] for name, value in parts.items()}
    made = GroupedCells(**{name: np.array(value) for name, value in cell.items()})
    monkeypatch.setattr("mscnn.synthetic.grouped_render.place_grouped", lambda *_: made)
    return draw_grouped(Look(), 64, 64, np.random.default_rng(0))


def test_cells_keep_apart_and_groups_have_the_spacing():
    for cells in place():
        gaps = np.linalg.norm(cells.centre[:, None] - cells.centre[None], axis=2) + 1e9 * np.eye(len(cells.centre))
        assert gaps.min() > 0.75 * SPACING                       # 4 % of the spacing is the jitter of each coordinate
        assert np.median(gaps.min(1)) == pytest.approx(SPACING, rel=0.1)


def test_half_of_the_groups_are_chains_and_half_are_rosettes():
    """In a chain a cell has at most two neighbours, in a rosette one has three; both have three pairs."""
    most = []
    for cells in place(fields=24):
        for group in cells.centre.reshape(-1, GROUP, 2):
            gaps = np.linalg.norm(group[:, None] - group[None], axis=2)
            near = ((gaps > 0) & (gaps < 1.35 * SPACING)).sum(1)  # second neighbours are at 1.7 spacings
            assert near.sum() == 6
            most.append(near.max())
    assert set(most) == {2, 3}
    assert np.mean(most) == pytest.approx(2.5, abs=4 * 0.5 / len(most) ** 0.5)


def test_parts_of_cells_are_as_frequent_as_in_the_average_look():
    """Rings a quarter, twins two fifths, fibres and vesicles either way; the tolerance is 4 standard errors."""
    cells = place(fields=24)
    n = sum(len(c.axis) for c in cells)
    for share, of_cells in ((0.25, lambda c: c.nucleus == grouped_cells.RING), (0.5, lambda c: c.across),
                            (0.4, lambda c: c.nucleus == grouped_cells.TWO), (0.5, lambda c: c.side == 1)):
        found = np.concatenate([of_cells(c) for c in cells]).mean()
        assert found == pytest.approx(share, abs=4 * (share * (1 - share) / n) ** 0.5)


@pytest.mark.parametrize("kind", ["RING", "TWO"])
def test_nuclei_of_all_kinds_have_the_light_of_a_disc(monkeypatch, kind):
    disc, other = (one_cell(monkeypatch, nucleus=nucleus)[DNA].sum() for nucleus in (0, getattr(grouped_cells, kind)))
    assert other / disc == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("side", [1, -1])
def test_vesicles_are_at_their_end_of_the_cell(monkeypatch, side):
    plane = one_cell(monkeypatch, side=side, number=400)[VESICLES]
    assert ndimage.center_of_mass(plane) == pytest.approx((32, 32 + 14 * side), abs=1)


def test_fibres_run_as_they_are_called(monkeypatch):
    """Across the long axis, which is x, light changes along x, and the reverse."""
    for across, changing in ((True, 1), (False, 0)):
        inside = one_cell(monkeypatch, across=across)[BODY][24:41, 22:43]
        slope = [np.abs(np.diff(inside, axis=axis)).mean() for axis in (0, 1)]
        assert slope[changing] > 3 * slope[1 - changing]


def test_a_turned_cell_is_the_turned_picture(monkeypatch):
    upright, flat = (one_cell(monkeypatch, axis=axis, nucleus=grouped_cells.TWO)[DNA] for axis in (np.pi / 2, 0.0))
    np.testing.assert_allclose(upright, flat.T, atol=1e-4)


def test_the_nucleus_is_where_the_cell_is_to_a_fraction_of_a_pixel(monkeypatch):
    plane = one_cell(monkeypatch, centre=[32.4, 31.7])[DNA]
    assert ndimage.center_of_mass(plane) == pytest.approx((32.4, 31.7), abs=0.05)
