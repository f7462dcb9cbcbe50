"""Arranged cells: a mechanism moves parts, and leaves their amounts.  pytest tests/synthetic/test_arranged_render.py"""


import numpy as np
import pytest
from scipy import ndimage

from mscnn.synthetic import arranged_cells as cells_of
from mscnn.synthetic.arranged_cells import GROUP, SPACING, TWO, place_arranged
from mscnn.synthetic.arranged_render import BODY, DNA, VESICLES, draw_arranged
from mscnn.synthetic.arrangements import DMSO, DOSES_UM, MECHANISMS, RARE, Arrangement, Look, arrangement


def place(a, *, fields=12):
    """The cells of several fields of 256 x 256."""
    return [place_arranged(a, Look(), 256, 256, np.random.default_rng([seed])) for seed in range(fields)]


def one_cell(monkeypatch, **parts):
    """A field of 64 x 64 with one cell at its centre, long axis along x, in the average light."""
    cell = {"centre": [[32.0, 32.0]], "axis": [0.0], "size": [1.0], "light": [[1.0, 1.0, 1.0]], "vesicles": [0],
            "side": [1], "number": [9], "fibres": [0], "nucleus": [0]} | {name: [value] for name, value in parts.items()}
    made = cells_of.ArrangedCells(**{name: np.array(value) for name, value in cell.items()})
    monkeypatch.setattr("mscnn.synthetic.arranged_render.place_arranged", lambda *_: made)
    return draw_arranged(DMSO, Look(), 64, 64, np.random.default_rng(0))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_mechanism_leaves_cells_vesicles_and_light_as_they_are(mechanism):
    """Of 12 fields with some 35 cells each; the tolerance is 5 standard errors of independent cells."""
    untreated, treated = (place(a) for a in (DMSO, MECHANISMS[mechanism]))
    for number, tolerance in ((lambda c: len(c.axis), 0.08), (lambda c: c.number.sum(), 0.1),
                              (lambda c: c.light.sum(), 0.1)):
        one, other = (sum(number(c) for c in cells) for cells in (untreated, treated))
        assert other / one == pytest.approx(1, abs=tolerance)


def test_cells_keep_apart_and_groups_have_the_spacing():
    for cells in place(DMSO):
        gaps = np.linalg.norm(cells.centre[:, None] - cells.centre[None], axis=2) + 1e9 * np.eye(len(cells.centre))
        assert gaps.min() > 0.75 * SPACING                       # 4 % of the spacing is the jitter of each coordinate
        assert np.median(gaps.min(1)) == pytest.approx(SPACING, rel=0.1)


@pytest.mark.parametrize(("chains", "most"), [(1.0, 2), (-1.0, 3)])
def test_chains_and_rosettes_differ_in_the_cell_with_most_neighbours(chains, most):
    for cells in place(Arrangement(chains=chains), fields=3):
        for group in cells.centre.reshape(-1, GROUP, 2):
            gaps = np.linalg.norm(group[:, None] - group[None], axis=2)
            near = ((gaps > 0) & (gaps < 1.35 * SPACING)).sum(1)  # second neighbours are at 1.7 spacings
            assert near.max() == most
            assert near.sum() == 6                               # three pairs in both


def test_rare_responders_are_as_rare_as_asked():
    cells = place(MECHANISMS["Rows of vesicles"], fields=30)
    share = np.mean(np.concatenate([c.vesicles == cells_of.ROW for c in cells]))
    assert share == pytest.approx(RARE, abs=0.05)                # about 1000 cells: sd 0.014


def test_vesicles_are_beside_the_nucleus_that_the_mechanism_names():
    for name, side in (("Larger nucleus", -1), ("Smaller nucleus", 1)):
        for cells in place(MECHANISMS[name], fields=4):
            assert (cells.side[cells.nucleus == TWO] == side).all()
    either = np.concatenate([c.side[c.nucleus == TWO] for c in place(DMSO)])
    assert abs(either.mean()) < 0.3


@pytest.mark.parametrize("kind", ["RING", "TWO", "BAR", "CROSS"])
def test_nuclei_of_all_kinds_have_the_light_of_a_disc(monkeypatch, kind):
    disc, other = (one_cell(monkeypatch, nucleus=nucleus)[DNA].sum() for nucleus in (0, getattr(cells_of, kind)))
    assert other / disc == pytest.approx(1, abs=0.1)


def test_vesicles_have_the_same_light_and_spread_however_they_are_arranged(monkeypatch):
    """The spread of a clump is random: the mean of 20 cells."""
    y, x = np.mgrid[:64, :64]
    light, spread = {}, {}
    for vesicles in (cells_of.CLUMP, cells_of.ROW, cells_of.CIRCLE):
        plane = one_cell(monkeypatch, vesicles=vesicles, number=400)[VESICLES]
        middle = (plane * x).sum() / plane.sum(), (plane * y).sum() / plane.sum()
        light[vesicles] = plane.sum()
        spread[vesicles] = (plane * ((x - middle[0]) ** 2 + (y - middle[1]) ** 2)).sum() / plane.sum()
        assert middle == pytest.approx((32 + 14, 32), abs=1)     # at the pole
    assert max(light.values()) / min(light.values()) < 1.05
    assert max(spread.values()) / min(spread.values()) < 1.15


def test_fibres_run_as_they_are_called(monkeypatch):
    """Across the long axis, which is x, light changes along x, and the reverse."""
    for fibres, changing in ((cells_of.ACROSS, 1), (cells_of.ALONG, 0)):
        inside = one_cell(monkeypatch, fibres=fibres)[BODY][24:41, 22:43]
        slope = [np.abs(np.diff(inside, axis=axis)).mean() for axis in (0, 1)]
        assert slope[changing] > 3 * slope[1 - changing]


def test_a_turned_cell_is_the_turned_picture(monkeypatch):
    upright = one_cell(monkeypatch, axis=np.pi / 2, vesicles=cells_of.ROW, number=12)[DNA]
    flat = one_cell(monkeypatch, axis=0.0, vesicles=cells_of.ROW, number=12)[DNA]
    np.testing.assert_allclose(upright, flat.T, atol=1e-4)


def test_the_nucleus_is_where_the_cell_is_to_a_fraction_of_a_pixel(monkeypatch):
    plane = one_cell(monkeypatch, centre=[32.4, 31.7])[DNA]
    assert ndimage.center_of_mass(plane) == pytest.approx((32.4, 31.7), abs=0.05)


def test_strength_falls_with_dose_and_varies_by_compound():
    strengths = np.array([[arrangement(f"c{number}", "Fibres across", dose, seed=0).across for dose in DOSES_UM]
                          for number in range(20)])
    assert (strengths[:, 0] > strengths[:, 1]).all()
    assert 0.8 <= strengths[:, 0].min() < strengths[:, 0].max() <= 1
    assert arrangement("c", "", DOSES_UM[0], seed=0) == DMSO


def test_fibres_of_a_chevron_are_as_far_apart_as_straight_ones_and_turn_at_the_middle(monkeypatch):
    """The wave vector of each half, by a Fourier transform that is padded to 64 pixels: a period of 8 has 8 there."""
    inside = one_cell(monkeypatch, fibres=cells_of.CHEVRON)[BODY][24:40]
    turned = []
    for half in (inside[:, 16:32], inside[:, 33:49]):
        power = np.abs(np.fft.fft2(half - half.mean(), s=(64, 64)))[:, :32]
        y, x = np.unravel_index(power.argmax(), power.shape)
        y = y - 64 if y > 32 else y
        assert np.hypot(y, x) == pytest.approx(8, abs=1.5)        # 16 pixels resolve no more
        turned.append(y * x)
    assert turned[0] * turned[1] < 0                              # the slopes are opposite
