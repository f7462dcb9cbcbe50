import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import LedoitWolf

from mscnn.core.errors import DataError
from mscnn.evaluation.aggregate import aggregate, field_predictions, field_profiles, normalise, sphere, treatments
from mscnn.evaluation.matching import TreatmentCounts
from mscnn.evaluation.profile_table import ProfileTable
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


def profile_table(rows: list[tuple], features: list) -> ProfileTable:
    columns = ["Plate", "Well", "Week", "Compound", "Concentration", "MOA"]
    metadata = pd.DataFrame(rows, columns=[f"Metadata_{name}" for name in columns]).assign(Scored=True)
    return ProfileTable(metadata, np.array(features, float), [f"F{number}" for number in range(len(features[0]))])


# Two fields in B02 of P1, then the treatment's wells on plates and weeks of their own; b; DMSO; one without mechanism.
SCREEN = profile_table(
    [("P1", "B02", "W1", "a", 0.3, "M"), ("P1", "B02", "W1", "a", 0.3, "M"), ("P2", "B02", "W2", "a", 0.3, "M"),
     ("P2", "B03", "W2", "a", 0.3, "M"), ("P1", "B04", "W1", "b", np.nan, "N"), ("P1", "B05", "W1", "dmso", 0.0, "DMSO"),
     ("P2", "B05", "W2", "DMSO", 0.0, "DMSO"), ("P2", "B06", "W2", "c", 1.0, "")],
    [(1, 0), (5, 0), (4, 1), (20, 2), (7, 7), (0, 0), (1, 1), (9, 9)])


def test_treatments_are_medians_of_wells_that_are_means_of_fields():
    found, counted = treatments(SCREEN, "DMSO")
    assert found.frame[["Metadata_Compound", "Metadata_MOA", "Wells"]].to_numpy().tolist() == [["a", "M", 3], ["b", "N", 1]]
    assert found.frame["Batches"].tolist() == [{"W1", "W2"}, {"W1"}]
    assert found.profiles_TF.tolist() == [[4, 1], [7, 7]]  # wells of a: (3, 0), (4, 1), (20, 2)
    assert counted == TreatmentCounts(rows=8, control=2, unlabelled=1, wells=4, features=2)
    means, _ = treatments(SCREEN, "DMSO", well_rule="median", treatment_rule="mean")
    assert means.profiles_TF.tolist() == [[9, 1], [7, 7]]


def test_a_table_without_wells_takes_its_rows_for_them():
    table = dataclasses.replace(SCREEN, metadata=SCREEN.metadata.drop(columns="Metadata_Well"))
    found, _ = treatments(table, "DMSO")
    assert found.profiles_TF.tolist() == [[4.5, 0.5], [7, 7]]
    assert found.frame["Wells"].tolist() == [4, 1]


def test_treatments_that_contradict_themselves_are_named():
    rows = [("P1", "B02", "W1", "a", 0.3, "M"), ("P1", "B03", "W1", "a", 0.3, "N"), ("P1", "B04", "W1", "b", 1.0, "N")]
    with pytest.raises(DataError, match="more than one mechanism") as refusal:
        treatments(profile_table(rows, [(1,), (2,), (3,)]), "DMSO")
    assert refusal.value.details == ["a 0.3: M; N"]


@pytest.mark.parametrize(("method", "centre", "spread"), [
    ("z", np.mean, np.std),
    ("mad", np.median, lambda values: 1.4826022185056018 * np.median(np.abs(values - np.median(values)))),
    ("percentile", lambda values: np.percentile(values, 1), lambda values: np.subtract(*np.percentile(values, [99, 1])))])
def test_each_plate_is_normalised_by_its_own_controls(method, centre, spread):
    """Whatever the treated wells are: changing them changes nothing of the others."""
    rng = np.random.default_rng(0)
    rows = [(plate, f"B{n:02d}", "W1", "DMSO" if n < 9 else "a", 1.0, "M") for plate in ("P1", "P2") for n in range(12)]
    features = rng.normal(size=(24, 2)) * [[1, 5]] + np.repeat([[3, -3], [50, 60]], 12, axis=0)
    found = normalise(profile_table(rows, features), method, "DMSO").features_SF
    for start in (0, 12):
        controls = features[start:start + 9]
        for number in range(2):
            expected = (features[start:start + 12, number] - centre(controls[:, number])) / spread(controls[:, number])
            np.testing.assert_allclose(found[start:start + 12, number], expected)
    changed = features.copy()
    changed[[9, 10, 22]] = 1e6
    kept = ~np.isin(np.arange(24), [9, 10, 22])
    np.testing.assert_array_equal(normalise(profile_table(rows, changed), method, "DMSO").features_SF[kept], found[kept])


def test_a_feature_that_does_not_vary_in_the_controls_is_centred_only():
    rows = [("P1", "B02", "W1", "DMSO", 0.0, ""), ("P1", "B03", "W1", "DMSO", 0.0, ""), ("P1", "B04", "W1", "a", 1.0, "M")]
    for method in ("z", "mad", "percentile"):
        assert normalise(profile_table(rows, [(2,), (2,), (5,)]), method, "DMSO").features_SF.tolist() == [[0], [0], [3]]


def test_plates_without_controls_are_named():
    rows = [("P1", "B02", "W1", "DMSO", 0.0, ""), ("P2", "B03", "W1", "a", 1.0, "M"), ("P3", "B03", "W1", "a", 1.0, "M")]
    with pytest.raises(DataError, match="plates without a row of DMSO") as refusal:
        normalise(profile_table(rows, [(1,), (2,), (3,)]), "z", "DMSO")
    assert refusal.value.details == ["P2", "P3"]
    with pytest.raises(DataError, match="no column Metadata_Plate"):
        normalise(dataclasses.replace(SCREEN, metadata=SCREEN.metadata.drop(columns="Metadata_Plate")), "z", "DMSO")


def test_sphered_controls_are_uncorrelated_and_alike_and_treated_wells_never_enter():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(2000, 3)) @ [[2, 1, 0], [0, 0.5, 0.3], [0, 0, 4]] + 7
    rows = [("P1", "B02", "W1", "DMSO" if n < 1900 else "a", 1.0, "M") for n in range(2000)]
    mixed[1900:] += 100
    table = profile_table(rows, mixed)
    found = sphere(table, "DMSO").features_SF
    np.testing.assert_allclose(np.cov(found[:1900].T), np.eye(3), atol=0.1)  # but for the shrinkage
    distances = LedoitWolf().fit(mixed[:1900]).mahalanobis(mixed)
    np.testing.assert_allclose((found**2).sum(axis=1), distances)  # lengths are what scikit-learn's covariance measures
    np.testing.assert_allclose(found[:1900].mean(axis=0), 0, atol=1e-9)
    table.features_SF[1950:] *= 3
    np.testing.assert_array_equal(sphere(table, "DMSO").features_SF[:1950], found[:1950])
    with pytest.raises(DataError, match="1 rows of DMSO are too few"):
        sphere(table.select(np.arange(1899, 2000)), "DMSO")
