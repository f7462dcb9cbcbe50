import numpy as np
import pandas as pd
import pytest

from mscnn.report import windows

SITES = pd.DataFrame({"Metadata_Plate": ["P"] * 12 + ["Q"] * 3})
IS_CONTROL = np.arange(15) < 10


def test_a_window_is_measured_on_control_fields_spread_over_the_plate():
    found = windows.reference(SITES, IS_CONTROL, ["P", "P"])
    assert {plate: rows.tolist() for plate, rows in found.items()} == {"P": [0, 3, 6, 9]}


def test_a_plate_without_controls_is_measured_on_its_other_fields():
    assert windows.reference(SITES, IS_CONTROL, ["Q"])["Q"].tolist() == [12, 13, 14]


def test_a_dim_field_looks_dim_beside_the_control():
    """Each field by itself would be stretched from black to white."""
    ramp = np.random.default_rng(0).permutation(10_000.0 * np.arange(10_000) / 9999).reshape(1, 100, 100)
    window = windows.measure(np.array([0]), lambda row: 100 + ramp)
    assert window.apply(100 + ramp).max() == pytest.approx((10_000 - 100) / (1.3 * 9870), rel=0.01)
    assert window.apply(100 + ramp / 10).max() == pytest.approx((1000 - 100) / (1.3 * 9870), rel=0.02)


def test_the_window_is_the_median_over_fields_and_of_each_channel():
    """Of 0 to 100, 0 to 100 and 0 to 10,000 the outlier is left out; the second channel has ten times the counts."""
    ramp = np.random.default_rng(0).permutation(np.linspace(0, 100, 10_000)).reshape(100, 100)
    fields = [np.stack([ramp, 10 * ramp]), np.stack([ramp, 10 * ramp]), np.stack([100 * ramp, 1000 * ramp])]
    window = windows.measure(np.arange(3), lambda row: fields[row])
    np.testing.assert_allclose(window.low_C, [1, 10], rtol=0.2)
    np.testing.assert_allclose(window.high_C, [1 + 1.3 * 98.7, 10 + 1.3 * 987], rtol=0.01)


def test_a_channel_without_light_is_black():
    window = windows.measure(np.array([0]), lambda row: np.full((1, 8, 8), 7))
    assert not window.apply(np.full((1, 8, 8), 7)).any()
