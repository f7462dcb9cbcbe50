import numpy as np
import pandas as pd

from mscnn.profiling import correction
from mscnn.profiling.profile_table import ProfileTable
from mscnn.readout import plate_controls
from mscnn.readout.tables import SiteFacts


def facts(plates, wells, is_control):
    number = len(plates)
    return SiteFacts(np.zeros(number, int), np.array(["x"] * number), np.array(plates), np.array(wells),
                     np.array(is_control))


def test_plates_are_scaled_as_profiles_are():
    rng = np.random.default_rng(0)
    plates = np.repeat(["p1", "p2"], 9)
    is_control = np.tile(np.arange(9) < 6, 2)
    features = rng.normal(size=(18, 4)) * [1, 10, 0.1, 1] + np.repeat([[0], [7]], 9, axis=0)
    features[is_control, 3] = 2.0  # does not vary in untreated wells: centred alone
    known = facts(plates, [f"b{number}" for number in range(18)], is_control)
    found = plate_controls.measure(features, known).apply(features, plates)
    names = ["Metadata_Plate", "Metadata_Compound"]
    metadata = pd.DataFrame({names[0]: plates, names[1]: np.where(is_control, "DMSO", "x")})
    expected = correction.normalise_plates(ProfileTable(metadata, features, list("abcd")), "mad", "DMSO")
    np.testing.assert_allclose(found, expected.features_SF, rtol=1e-12)


def test_a_plate_that_was_not_measured_has_the_median_scale():
    centre, spread = np.array([[1.0], [2.0], [9.0]]), np.array([[1.0], [2.0], [4.0]])
    controls = plate_controls.PlateControls(["p1", "p2", "p3"], centre, spread)
    assert controls.apply(np.array([[4.0], [4.0]]), np.array(["new", "p3"])).tolist() == [[1.0], [-1.25]]
    assert controls.covers(np.array(["p1", "p3"]))
    assert not controls.covers(np.array(["p1", "new"]))


def test_a_plate_needs_four_untreated_wells_whatever_the_number_of_fields():
    wells, is_control = ["b1", "b1", "b1", "b1", "b2", "b3", "b4", "b5"], [True] * 7 + [False]
    assert plate_controls.lacking(facts(["p"] * 8, wells, is_control)) == []
    assert plate_controls.lacking(facts(["p"] * 8, ["b1"] * 5 + wells[5:], is_control)) == ["p"]
    assert plate_controls.measure(np.zeros((8, 1)), facts(["p"] * 8, ["b1"] * 5 + wells[5:], is_control)) is None
