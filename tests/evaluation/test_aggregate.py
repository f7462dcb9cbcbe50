import numpy as np
import pandas as pd

from mscnn.evaluation.aggregate import aggregate, field_predictions, field_profiles
from tests.conftest import make_table

# plate, well, compound, concentration, mechanism, probability of M
ROWS = [("P1", "B02", "a", 0.3, "M", 0.9), ("P1", "B02", "a", 0.3, "M", 0.8), ("P1", "B02", "a", 0.3, "M", 0.4),  # mean 0.7
        ("P2", "B02", "a", 0.3, "M", 0.1),                                        # well 0.1
        ("P3", "B02", "a", 0.3, "M", 0.6),                                        # well 0.6: median of wells 0.6
        ("P1", "B03", "a", 1.0, "M", 0.2),                                        # treatment 0.2
        ("P1", "B05", "a", 3.0, "M", 0.1),                                        # treatment 0.1: compound 0.3
        ("P1", "B04", "b", np.nan, "N", 0.4),                                     # concentration not given
        ("P1", "C02", "dmso", 0.0, "DMSO", 0.5)]                                  # the control is no treatment


def predictions() -> pd.DataFrame:
    table = make_table([row[:5] for row in ROWS], "plate well compound concentration mechanism")
    of_m = np.array([row[5] for row in ROWS])
    return field_predictions(table, np.stack([of_m, 1 - of_m], axis=1), ["M", "N"])


def test_columns_of_the_field_table():
    assert predictions().columns.tolist() == [
        "Metadata_Plate", "Metadata_Week", "Metadata_Well", "Metadata_Site", "Metadata_Replicate", "Metadata_Compound",
        "Metadata_Concentration", "Metadata_MOA", "Predicted_MOA", "Probability_M", "Probability_N"]
    assert predictions()["Predicted_MOA"].tolist() == ["M", "M", "N", "N", "M", "N", "N", "N", "M"]


def test_wells_are_means_treatments_medians_compounds_means():
    levels = aggregate(predictions(), "DMSO")
    assert levels["wells"]["Probability_M"].round(9).tolist() == [0.7, 0.2, 0.4, 0.1, 0.5, 0.1, 0.6]
    assert levels["treatments"]["Probability_M"].round(9).tolist() == [0.6, 0.2, 0.1, 0.4]
    assert levels["compounds"]["Probability_M"].round(9).tolist() == [0.3, 0.4]
    assert levels["treatments"]["Predicted_MOA"].tolist() == ["M", "N", "N", "N"]
    assert levels["compounds"]["Metadata_Compound"].tolist() == ["a", "b"]
    assert len(levels["fields"]) == 9


def test_order_of_fields_does_not_matter():
    shuffled = predictions().sample(frac=1, random_state=0)
    for level, table in aggregate(shuffled, "DMSO").items():
        if level != "fields":
            pd.testing.assert_frame_equal(table, aggregate(predictions(), "DMSO")[level])


def test_levels_follow_the_rules_that_are_set():
    levels = aggregate(predictions(), "DMSO", well_rule="median", treatment_rule="mean")
    assert levels["wells"]["Probability_M"].round(9).tolist() == [0.8, 0.2, 0.4, 0.1, 0.5, 0.1, 0.6]
    assert levels["treatments"]["Probability_M"].round(9).tolist() == [0.5, 0.2, 0.1, 0.4]


def test_field_profiles_are_metadata_and_activations():
    table = make_table([("a", "M"), ("b", "N")])
    profiles = field_profiles(table, np.arange(2 * 512).reshape(2, 512))
    assert [name for name in profiles if name.startswith("Image_")] == [f"Image_MCNN_Emb_{n:03d}" for n in range(1, 513)]
    assert profiles["Image_MCNN_Emb_512"].tolist() == [511, 1023]
    assert profiles["Metadata_Compound"].tolist() == ["a", "b"]


def test_a_compound_is_one_row_also_where_only_some_of_its_doses_or_wells_have_a_mechanism():
    rows = [("P1", "B02", "a", 0.3, "M", 0.9), ("P1", "B03", "a", 1.0, "", 0.3), ("P1", "B04", "b", 1.0, "", 0.6),
            ("P2", "B04", "b", 1.0, "N", 0.2)]
    table = make_table([row[:5] for row in rows], "plate well compound concentration mechanism")
    of_m = np.array([row[5] for row in rows])
    levels = aggregate(field_predictions(table, np.stack([of_m, 1 - of_m], axis=1), ["M", "N"]), "DMSO")
    assert levels["compounds"]["Metadata_Compound"].tolist() == ["a", "b"]
    assert levels["compounds"]["Metadata_MOA"].tolist() == ["M", "N"]
    assert levels["compounds"]["Probability_M"].round(9).tolist() == [0.6, 0.4]
    assert levels["treatments"]["Metadata_MOA"].tolist() == ["M", "", "N"]  # the dose of a without one is not scored
    assert levels["wells"]["Metadata_MOA"].tolist() == ["M", "", "", "N"]


def test_without_classes_the_tables_are_there_and_nothing_is_predicted():
    table = make_table([row[:5] for row in ROWS], "plate well compound concentration mechanism")
    for level, found in aggregate(field_predictions(table, np.empty((len(ROWS), 0)), []), "DMSO").items():
        assert (found["Predicted_MOA"] == "").all()
        assert not [name for name in found if name.startswith("Probability_")]
        assert len(found) == {"fields": 9, "wells": 7, "treatments": 4, "compounds": 2}[level]
