"""Inclusions: twelve shapes of the same light, as frequent as asked.  pytest tests/synthetic/test_inclusions.py"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from mscnn.synthetic.grouped_cells import Look, vary
from mscnn.synthetic.inclusions import DOSES_UM, LIGHT, MECHANISMS, choose_shapes, draw_inclusions, draw_shape, strength

TURNS = np.linspace(0, 2 * np.pi, 24, endpoint=False)


def shapes_drawn(monkeypatch, mechanism, share, look, *, seed=0):
    """The shapes of the inclusions of a large field, in the order that they are drawn in."""
    drawn = []
    monkeypatch.setattr("mscnn.synthetic.inclusions.draw_shape", lambda shape, _: drawn.append(shape) or np.zeros((24, 24)))
    draw_inclusions(mechanism, share, look, 2048, 2048, np.random.default_rng(seed))
    return drawn


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_shape_has_the_same_light_at_any_turn_and_fits_its_window(mechanism):
    for angle in TURNS:
        shape = draw_shape(mechanism, angle)
        assert shape.shape == (24, 24)
        assert shape.sum() == pytest.approx(1, abs=1e-6)
    edge = np.mean([draw_shape(mechanism, angle)[[0, -1]].sum() for angle in TURNS])
    assert edge < 0.01                                        # the window cuts nothing off


def test_a_shape_that_is_turned_by_a_quarter_is_the_turned_picture():
    """The picture of y down is the negative turn of numpy; edges of strokes may fall on either side of a place."""
    for mechanism in MECHANISMS:
        np.testing.assert_allclose(draw_shape(mechanism, np.pi / 2), np.rot90(draw_shape(mechanism, 0), -1), atol=0.012)


def test_a_shape_is_what_its_name_says():
    """Closed lines have a hole, and two bars are two pieces."""
    for mechanism in MECHANISMS:
        is_drawn = draw_shape(mechanism, 0) > 0
        has_hole = ndimage.binary_fill_holes(is_drawn).sum() > is_drawn.sum()
        assert has_hole == (mechanism in ("Ring inclusions", "Triangle inclusions", "Square inclusions"))
        assert ndimage.label(is_drawn, np.ones((3, 3)))[1] == (2 if mechanism == "Double-bar inclusions" else 1)


def test_all_shapes_differ_at_any_turn():
    """Of each pair, some turn of one is nearest to the other; it is still a seventh of the light away."""
    turned = {m: [draw_shape(m, angle) for angle in TURNS] for m in MECHANISMS}
    for one in MECHANISMS:
        for other in MECHANISMS:
            if one < other:
                blurred = ndimage.gaussian_filter(turned[one][0], 1)
                gap = min(np.abs(ndimage.gaussian_filter(shape, 1) - blurred).sum() / 2 for shape in turned[other])
                assert gap > 1 / 7, (one, other)


@pytest.mark.parametrize("share", [0.64, 0.8, 1.0])
def test_the_share_of_the_mechanisms_shape_is_its_strength(share):
    """And a twelfth of the rest, which has any shape; within 4 standard errors of 6000 draws."""
    counts = Counter(choose_shapes("Y inclusions", share, 6000, np.random.default_rng(0)))
    for mechanism in MECHANISMS:
        expected = (1 - share) / 12 + (share if mechanism == "Y inclusions" else 0)
        assert counts[mechanism] / 6000 == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 6000) ** 0.5)


def test_without_a_mechanism_all_shapes_are_as_frequent():
    counts = Counter(choose_shapes("", 0.0, 6000, np.random.default_rng(0)))
    assert set(counts) == {*MECHANISMS}
    assert all(abs(number - 500) < 4 * (500 * 11 / 12) ** 0.5 for number in counts.values())


def test_shapes_do_not_depend_on_the_look_but_their_number_does(monkeypatch):
    """Any look with as many inclusions: the same shapes in the same order."""
    plain, share = Look(), 0.8
    other = replace(vary(plain, np.random.default_rng(1)), inclusions=1.0)
    expected = shapes_drawn(monkeypatch, "T inclusions", share, plain)
    assert shapes_drawn(monkeypatch, "T inclusions", share, other) == expected
    number = 5 * (2048 + 24) ** 2 / (256 + 24) ** 2
    assert len(expected) == pytest.approx(number, abs=4 * number**0.5)
    more = shapes_drawn(monkeypatch, "T inclusions", share, replace(plain, inclusions=2.0))
    assert len(more) == pytest.approx(2 * number, abs=4 * (2 * number) ** 0.5)


def test_inclusions_have_the_light_that_is_asked_for_whatever_their_shape():
    """In a large field, where the edge cuts off few; 15 % between inclusions and their number are the tolerance."""
    number = 5 * 1024**2 / 280**2
    for mechanism in ("Bar inclusions", "Ring inclusions"):
        for look in (Look(), Look(inclusion=1.5, focus=1.3)):
            plane = draw_inclusions(mechanism, 1.0, look, 1024, 1024, np.random.default_rng(3))
            assert (plane.shape, plane.dtype) == ((1024, 1024), np.float32)
            assert plane.sum() / LIGHT / look.inclusion == pytest.approx(number, abs=4 * number**0.5)


def test_mechanisms_differ_less_in_what_a_field_holds_than_wells_do():
    """The mean and the spread of the pixels of a field, without noise and cells: means of mechanisms against wells."""
    measured = np.array([[_measure(mechanism, well) for well in range(24)] for mechanism in MECHANISMS])
    between_mechanisms, between_wells = measured.mean(1).std(0), measured.std(1).mean(0)
    assert (between_mechanisms < between_wells / 2).all()


def _measure(mechanism: str, well: int) -> tuple[float, float]:
    rng = np.random.default_rng([[*MECHANISMS].index(mechanism), well])
    plane = draw_inclusions(mechanism, 0.9, vary(Look(), rng), 256, 256, rng)
    return float(plane.mean()), float(plane.std())


def test_strength_falls_with_dose_and_varies_by_compound():
    strengths = np.array([[strength(f"c{number}", dose, seed=0) for dose in DOSES_UM] for number in range(20)])
    np.testing.assert_allclose(strengths[:, 1], 0.8 * strengths[:, 0])
    assert 0.8 <= strengths[:, 0].min() < strengths[:, 0].max() <= 1
    assert strength("c0", DOSES_UM[0], seed=0) == strengths[0, 0]
